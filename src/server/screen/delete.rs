//! Deletes a webhook, after a page that says what goes with it.

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    form::Form,
    notice::Notice,
    page::{Look, go_to, page},
    visitor::{Hook, Managing},
    words::{count, title},
};
use crate::{
    server::{Shared, query::Query},
    webhooks::{Listed, WebhooksError},
};

#[derive(Template)]
#[template(path = "screen/delete.html", config = "src/server/askama.toml")]
struct Ask<'a> {
    look: &'a Look,
    path: String,
    /// Its id, if its settings cannot be read.
    name: String,
    /// `None` if its settings cannot be read.
    url: Option<String>,
    /// `50 attempts`; `None` if there are none.
    attempts: Option<String>,
    /// The deliveries that wait; `None` if there are none.
    held: Option<String>,
    /// The failed deliveries; `None` if there are none.
    failed: Option<String>,
}

/// The page that asks.
pub(super) async fn ask(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    query: Query,
) -> Result<Response, Notice> {
    query.end()?;
    let found = app.webhooks.summary(&visitor.account, id).await?;
    let (name, url) = match &found.webhook {
        Listed::Read(view) => (title(view), Some(view.url.as_str().to_owned())),
        Listed::Unreadable { .. } => (id.to_string(), None),
    };
    let some = |number: u64, one, many| (number > 0).then(|| count(number, one, many));
    let ask = Ask {
        look: &visitor.look,
        path: format!("/webhooks/{id}/delete"),
        name,
        url,
        attempts: some(found.log.len() as u64, "attempt", "attempts"),
        held: some(found.held, "event that waits to be sent", "events that wait to be sent"),
        failed: some(
            found.failed,
            "failed delivery that can be sent again",
            "failed deliveries that can be sent again",
        ),
    };
    Ok(page(StatusCode::OK, &ask))
}

/// Deletes the webhook. If another visitor has just done that, the wish is fulfilled.
pub(super) async fn delete(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    _: Form,
) -> Result<Response, Notice> {
    match app.webhooks.delete(&visitor.account, id, None).await {
        Ok(_) => visitor.log("webhook deleted", id, ""),
        Err(WebhooksError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(go_to(&visitor.look.at("/webhooks?done=deleted")))
}
