//! The routes under `/v1`, one file for each noun. A handler reads the request, calls `webhooks`, `queue`, `access` or
//! `producer`, and answers with the shape that it got.

mod event_types;
mod events;
mod kept;
mod key;
mod logs;
mod portal;
mod queue;
mod shapes;
mod webhooks;

use utoipa_axum::{router::OpenApiRouter, routes};

use super::Shared;
use crate::{access::Caller, domain::account::AccountId};

/// All routes under `/v1`, with their part of the document.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(event_types::list))
        .routes(routes!(event_types::show))
        .routes(routes!(event_types::schema))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::show, webhooks::edit, webhooks::delete))
        .routes(routes!(webhooks::enable))
        .routes(routes!(webhooks::disable))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::purge))
        .routes(routes!(logs::of_webhook))
        .routes(routes!(logs::of_account))
        .routes(routes!(kept::held))
        .routes(routes!(kept::held_envelope))
        .routes(routes!(kept::failed))
        .routes(routes!(kept::redeliver))
        .routes(routes!(kept::failed_envelope))
        .routes(routes!(events::enqueue))
        .routes(routes!(events::enqueue_batch))
        .routes(routes!(portal::new_link))
        .routes(routes!(portal::sessions, portal::end_sessions))
        .routes(routes!(queue::status))
        .routes(routes!(queue::rejected))
        .routes(routes!(queue::requeue))
        .routes(routes!(queue::drop_rejected))
        .routes(routes!(key::show))
}

/// Writes the line that each change has in the log: who changed what. `fields` are names, never values.
fn log_change(caller: &Caller, account: Option<&AccountId>, what: &'static str, of: &str, fields: &str) {
    let account = account.map_or("", AccountId::as_str);
    tracing::info!(key = caller.id.as_str(), account, changed = what, of, fields, "changed over the API");
}
