//! Switches a webhook on or off. If deliveries wait, the visitor decides whether they are sent or discarded.

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    form::Form,
    notice::Notice,
    page::{Look, go_to, page},
    visitor::{Hook, Managing, Visitor},
    words::{Moment, count, title},
};
use crate::{
    domain::webhook::WebhookId,
    server::{Shared, query::Query},
};

#[derive(Template)]
#[template(path = "screen/switch.html", config = "src/server/askama.toml")]
struct Ask<'a> {
    look: &'a Look,
    path: String,
    title: String,
    /// `12 events`.
    held: String,
    is_one: bool,
    number: u64,
    revision: u64,
    oldest: Option<Moment>,
}

/// The question what becomes of the deliveries that wait.
pub(super) async fn ask(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    query: Query,
) -> Result<Response, Notice> {
    query.end()?;
    question(&app, &visitor, id).await
}

/// Switches the webhook: `to` is `on` or `off`; `held` is `send` or `discard`, and is asked for if deliveries wait. The
/// question has their number and the webhook's revision: if more wait by now, it is asked again, and if somebody else has
/// changed the webhook, nothing is discarded.
pub(super) async fn switch(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    Form(form): Form,
) -> Result<Response, Notice> {
    let account = &visitor.account;
    let done = match (form.text("to"), form.text("held")) {
        ("off", _) => {
            app.webhooks.disable(account, id, None).await?;
            "off"
        }
        ("on", "") => {
            if app.webhooks.held(account, id, None, 1).await?.total > 0 {
                return question(&app, &visitor, id).await;
            }
            app.webhooks.enable(account, id, false, None).await?;
            "on"
        }
        ("on", "send") => {
            app.webhooks.enable(account, id, false, None).await?;
            "on-sent"
        }
        ("on", "discard") => {
            let revision = form.text("revision").parse().map_err(|_| Notice::STALE)?;
            let told: u64 = form.text("number").parse().map_err(|_| Notice::STALE)?;
            if app.webhooks.held(account, id, None, 1).await?.total > told {
                return question(&app, &visitor, id).await;
            }
            app.webhooks.enable(account, id, true, Some(revision)).await?;
            "on-discarded"
        }
        _ => return Err(Notice::STALE),
    };
    visitor.log(if done == "off" { "webhook disabled" } else { "webhook enabled" }, id, "active");
    Ok(go_to(&visitor.look.at(format!("/webhooks?done={done}"))))
}

async fn question(app: &Shared, visitor: &Visitor, id: WebhookId) -> Result<Response, Notice> {
    let view = app.webhooks.show(&visitor.account, id).await?;
    let held = app.webhooks.held(&visitor.account, id, None, 1).await?;
    if view.active || held.total == 0 {
        return Ok(go_to(&visitor.look.at("/webhooks")));
    }
    let ask = Ask {
        look: &visitor.look,
        path: format!("/webhooks/{id}/switch"),
        title: title(&view),
        is_one: held.total == 1,
        number: held.total,
        revision: view.revision,
        held: count(held.total, "event", "events"),
        oldest: held.oldest.as_deref().map(Moment::new),
    };
    Ok(page(StatusCode::OK, &ask))
}
