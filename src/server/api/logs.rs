//! Delivery logs, of one webhook and of an account.

use axum::{extract::State, response::Response};
use http::HeaderMap;

use crate::{
    domain::{
        log_entry::{LogEntry, Status},
        page::Page,
    },
    server::{
        Shared,
        answer::read,
        door::{Account, OfWebhook},
        problem::{Fault, INVALID_QUERY, Problem},
        query::{Query, opaque},
    },
    webhooks::{AccountLogEntry, LogFilter},
};

/// The values of `status`.
const STATUS: [(&str, Status); 2] = [("success", Status::Success), ("failed", Status::Failed)];

/// A webhook's delivery log: its newest 50 attempts of the last 90 days, newest first.
#[utoipa::path(
    get, operation_id = "listWebhookLogs", path = "/v1/accounts/{account}/webhooks/{id}/logs", tag = "logs", security(("key" = ["logs:read"])),
    params(
        ("account" = String, Path), ("id" = String, Path),
        ("status" = Option<Status>, Query, description = "Only attempts with this status"),
        ("event" = Option<String>, Query, description = "Only attempts of this event type"),
        ("identifier" = Option<String>, Query, description = "Only attempts of events with this identifier: its value, or `name=value`"),
        ("limit" = Option<u8>, Query), ("after" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<LogEntry>)),
    extensions(("x-problems" = json!(["no-such-webhook"]))),
)]
pub(super) async fn of_webhook(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let filter = LogFilter {
        status: query.one_of("status", &STATUS),
        event: query.text("event"),
        identifier: query.text("identifier"),
    };
    let part = query.part();
    query.end()?;
    let page = app.webhooks.logs(&account, id, &filter, part.after.as_deref(), part.limit).await?;
    Ok(read(&headers, &opaque(page)))
}

/// The attempts of events with an identifier, over all webhooks of an account, newest first.
#[utoipa::path(
    get, operation_id = "listAccountLogs", path = "/v1/accounts/{account}/logs", tag = "logs", security(("key" = ["logs:read"])),
    params(
        ("account" = String, Path),
        ("identifier" = String, Query, description = "An identifier's value, or `name=value`"),
        ("limit" = Option<u8>, Query), ("after" = Option<String>, Query),
    ),
    responses((status = 200, body = Page<AccountLogEntry>)),
)]
pub(super) async fn of_account(
    State(app): State<Shared>,
    Account(account): Account,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let identifier = query.text("identifier").filter(|text| !text.is_empty());
    let part = query.part();
    query.end()?;
    let Some(identifier) = identifier else {
        let fault = Fault::of_parameter("identifier", "is needed: the value to look for, such as a messageId");
        return Err(Problem::of_faults(&INVALID_QUERY, vec![fault]));
    };
    let page = app.webhooks.account_logs(&account, &identifier, part.after.as_deref(), part.limit).await?;
    Ok(read(&headers, &opaque(page)))
}
