//! Sends failed deliveries again: one, all, or those since a time.

use std::time::{Duration, Instant};

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    about::About,
    form::{Fields, Form},
    notice::Notice,
    page::{Look, go_to, page},
    visitor::{Hook, Managing},
    words::{thousands, typed_time},
};
use crate::{
    server::{
        Shared,
        query::{cursor, position},
    },
    webhooks::Which,
};

/// The page answers after about this time, and offers to go on with the rest.
const ANSWER_AFTER: Duration = Duration::from_secs(2);

/// Some are queued again, and some are left.
#[derive(Template)]
#[template(path = "screen/redeliver.html", config = "src/server/askama.toml")]
struct Rest<'a> {
    look: &'a Look,
    about: About,
    /// The number of deliveries that the whole series has queued again.
    done: u64,
    /// The same for people.
    shown: String,
    /// The time of the choice; empty: all.
    since: &'a str,
    until: String,
}

/// Queues failed deliveries again. The form has `delivery` (an id), `all`, or `since` (a time); when it goes on with
/// the rest, also `until` and the number `done` of the form before.
pub(super) async fn redeliver(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    Form(form): Form,
) -> Result<Response, Notice> {
    let without = if form.has("since") { Notice::NO_TIME } else { Notice::STALE };
    let which = choice(&form).ok_or(without)?;
    let mut until = match form.text("until") {
        "" => None,
        text => Some(position(text).ok_or(Notice::STALE)?),
    };
    let mut done: u64 = form.text("done").parse().unwrap_or(0);
    let began = Instant::now();
    loop {
        let part = app.webhooks.redeliver_some(&visitor.account, id, &which, until.as_deref()).await?;
        done = done.saturating_add(part.redelivered);
        until = part.until;
        if until.is_none() || began.elapsed() >= ANSWER_AFTER {
            break;
        }
    }
    visitor.log("failed deliveries redelivered", id, "");
    let look = &*visitor.look;
    let about = About::of(look, app.webhooks.show(&visitor.account, id).await?);
    let Some(until) = until else { return Ok(go_to(&about.at(format!("/logs?redelivered={done}")))) };
    let rest = Rest { look, about, done, shown: thousands(done), since: form.text("since"), until: cursor(&until) };
    Ok(page(StatusCode::OK, &rest))
}

/// The choice of a form; `None` if it has none, or no time.
fn choice(form: &Fields) -> Option<Which> {
    match (form.has("all"), form.has("since"), form.text("delivery")) {
        (true, ..) => Some(Which::All),
        (_, true, _) => typed_time(form.text("since")).map(Which::Since),
        (_, _, "") => None,
        (.., delivery) => Some(Which::One(delivery.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::Listed;

    #[test]
    fn the_form_that_goes_on_has_the_same_choice_and_the_bound_of_the_series() {
        let look = Look { form_token: "t0ken".to_owned(), ..Look::default() };
        let id = "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap();
        let webhook = Listed::Unreadable { id, reason: String::new(), unreadable: true };
        for (since, choice) in
            [("", "name=\"all\" value=\"true\""), ("2026-03-26T14:32", "name=\"since\" value=\"2026-03-26T14:32\"")]
        {
            let about = About::new(&look, &webhook);
            let rest = Rest { look: &look, about, done: 1500, shown: thousands(1500), since, until: "c1x".to_owned() };
            let html = rest.render().unwrap();
            for text in [
                "1,500 deliveries are queued again",
                choice,
                "name=\"until\" value=\"c1x\"",
                "name=\"done\" value=\"1500\"",
                "t0ken",
            ] {
                assert!(html.contains(text), "{text} is not in {html}");
            }
        }
    }
}
