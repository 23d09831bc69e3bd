//! Webhooks of an account: list, add, read, edit, switch, test, delete.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION};
use secrecy::SecretString;

use super::{log_change, shapes};
use crate::{
    domain::page::Page,
    server::{
        Shared,
        answer::{asked_revision, json, read, read_revision, with_revision},
        body::{self, JSON, MERGE_PATCH},
        door::{Account, OfWebhook, Who},
        failures::with_judged,
        fields::{Fields, Member},
        problem::{INVALID, Problem},
        query::{Query, opaque},
    },
    webhooks::{Deleted, Edit, Enabled, Listed, NewAuthentication, NewWebhook, Preview, Purged, Tested, View},
};

/// An account's webhooks, oldest first.
///
/// One that cannot be read is an item with `"unreadable": true`.
#[utoipa::path(
    get, operation_id = "listWebhooks", path = "/v1/accounts/{account}/webhooks", tag = "webhooks", security(("key" = ["webhooks:read"])),
    params(("account" = String, Path), ("limit" = Option<u8>, Query), ("after" = Option<String>, Query)),
    responses((status = 200, body = Page<Listed>)),
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Account(account): Account,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let part = query.part();
    query.end()?;
    let page = app.webhooks.list_page(&account, part.after.as_deref(), part.limit).await?;
    Ok(read(&headers, &opaque(page)))
}

/// Adds a webhook.
///
/// With `dryRun=true` it is only judged: the answer is 200 with what would be saved, or the faults.
#[utoipa::path(
    post, operation_id = "addWebhook", path = "/v1/accounts/{account}/webhooks", tag = "webhooks", security(("key" = ["webhooks:write"])),
    params(("account" = String, Path), ("dryRun" = Option<bool>, Query)),
    request_body(content = shapes::NewWebhook, content_type = "application/json"),
    responses(
        (status = 201, body = View, headers(("Location" = String), ("ETag" = String))),
        (status = 200, description = "A dry run: what would be saved", body = Preview),
    ),
    extensions(("x-problems" = json!(["invalid", "webhook-limit"]))),
)]
pub(super) async fn add(
    State(app): State<Shared>,
    Account(account): Account,
    Who(caller): Who,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let dry_run = query.flag("dryRun");
    query.end()?;
    let held = body::read(&app, request, app.settings.body_max_bytes, &[JSON]).await?;
    let mut fields = Fields::of_body(&held.bytes)?;
    let url = fields.text("url");
    if url.is_none() {
        fields.need("url", "is needed: the https URL that receives the events");
    }
    let new = NewWebhook {
        url: url.unwrap_or_default(),
        events: fields.read("events", "an array of strings").value(),
        authentication: authentication(&mut fields).value().unwrap_or(NewAuthentication::None),
        description: fields.text("description").unwrap_or_default(),
        active: fields.read("active", "true or false").value().unwrap_or(true),
    };
    let faults = fields.end();
    if !faults.is_empty() {
        let judged = app.webhooks.judge_new(&account, new).await;
        return Err(Problem::of_faults(&INVALID, with_judged(faults, &judged)));
    }
    if dry_run {
        return Ok(json(StatusCode::OK, &app.webhooks.judge_new(&account, new).await?));
    }
    let view = app.webhooks.add(&account, new).await?;
    log_change(
        &caller,
        Some(&account),
        "webhook added",
        &view.id.to_string(),
        "url events authentication description active",
    );
    let mut response = with_revision(json(StatusCode::CREATED, &view), view.revision);
    let place = format!("/v1/accounts/{account}/webhooks/{}", view.id);
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&place).expect("an account and an id are plain"));
    Ok(response)
}

/// Reads the member `authentication`.
fn authentication(fields: &mut Fields<'_>) -> Member<NewAuthentication> {
    let value = match fields.raw("authentication") {
        Member::Absent => return Member::Absent,
        Member::Null => return Member::Null,
        Member::Value(value) => value,
    };
    let mut inner = Fields::of(value, fields.pointer("authentication"));
    let kind = inner.text("type");
    let needed = |inner: &mut Fields<'_>, name: &'static str| {
        let text = inner.text(name);
        if text.is_none() {
            inner.need(name, "is needed");
        }
        text.unwrap_or_default()
    };
    let read = match kind.as_deref() {
        Some("none") => NewAuthentication::None,
        Some("bearer") => NewAuthentication::Bearer(SecretString::from(needed(&mut inner, "token"))),
        Some("header") => {
            let name = needed(&mut inner, "name");
            NewAuthentication::Header { name, value: SecretString::from(needed(&mut inner, "value")) }
        }
        _ => {
            if !inner.is_faulty("/authentication") {
                inner.fault("type", "must be `none`, `bearer` or `header`");
            }
            // The members of each type are known here, so that only the type is named as the fault.
            for name in ["token", "name", "value"] {
                inner.raw(name);
            }
            NewAuthentication::None
        }
    };
    let faults = inner.end();
    if faults.is_empty() {
        return Member::Value(read);
    }
    fields.extend(faults);
    Member::Absent
}

/// One webhook.
#[utoipa::path(
    get, operation_id = "getWebhook", path = "/v1/accounts/{account}/webhooks/{id}", tag = "webhooks", security(("key" = ["webhooks:read"])),
    params(("account" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = View, headers(("ETag" = String, description = "The revision"))),
    ),
    extensions(("x-problems" = json!(["no-such-webhook"]))),
)]
pub(super) async fn show(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let view = app.webhooks.show(&account, id).await?;
    Ok(read_revision(&headers, view.revision, &view))
}

/// Changes a webhook by a merge patch. The change applies from the next attempt.
///
/// With If-Match it applies only to that revision; without, to the newest. A patch without members changes nothing, the
/// revision included.
#[utoipa::path(
    patch, operation_id = "editWebhook", path = "/v1/accounts/{account}/webhooks/{id}", tag = "webhooks", security(("key" = ["webhooks:write"])),
    params(("account" = String, Path), ("id" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body(content(
        (shapes::WebhookPatch = "application/merge-patch+json"), (shapes::WebhookPatch = "application/json"),
    )),
    responses((status = 200, body = View, headers(("ETag" = String, description = "The new revision")))),
    extensions(("x-problems" = json!(["invalid", "no-such-webhook", "edit-conflict", "revision-changed"]))),
)]
pub(super) async fn edit(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.end()?;
    let revision = asked_revision(request.headers())?;
    let held = body::read(&app, request, app.settings.body_max_bytes, &[MERGE_PATCH, JSON]).await?;
    let mut fields = Fields::of_body(&held.bytes)?;
    let stays = |fields: &mut Fields<'_>, name: &'static str| fields.fault(name, "cannot be removed");
    let url = fields.read("url", "a string");
    let events = fields.read("events", "an array of strings");
    let active = fields.read("active", "true or false");
    for (name, is_null) in [
        ("url", matches!(url, Member::Null)),
        ("events", matches!(events, Member::Null)),
        ("active", matches!(active, Member::Null)),
    ] {
        if is_null {
            stays(&mut fields, name);
        }
    }
    let edit = Edit {
        url: url.value(),
        events: events.value(),
        authentication: match authentication(&mut fields) {
            Member::Absent => None,
            Member::Null => Some(NewAuthentication::None),
            Member::Value(given) => Some(given),
        },
        description: match fields.read("description", "a string") {
            Member::Absent => None,
            Member::Null => Some(String::new()),
            Member::Value(given) => Some(given),
        },
        active: active.value(),
        revision,
    };
    let changed = edit.fields().join(" ");
    let faults = fields.end();
    if !faults.is_empty() {
        return Err(Problem::of_faults(&INVALID, with_judged(faults, &app.webhooks.judge_edit(edit))));
    }
    let view = app.webhooks.edit(&account, id, edit).await?;
    if !changed.is_empty() {
        log_change(&caller, Some(&account), "webhook edited", &id.to_string(), &changed);
    }
    Ok(with_revision(json(StatusCode::OK, &view), view.revision))
}

/// Deletes a webhook with its log, and its held and failed deliveries.
#[utoipa::path(
    delete, operation_id = "deleteWebhook", path = "/v1/accounts/{account}/webhooks/{id}", tag = "webhooks", security(("key" = ["webhooks:write"])),
    params(("account" = String, Path), ("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Deleted)),
    extensions(("x-problems" = json!(["no-such-webhook", "revision-changed"]))),
)]
pub(super) async fn delete(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    Who(caller): Who,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let deleted = app.webhooks.delete(&account, id, asked_revision(&headers)?).await?;
    log_change(&caller, Some(&account), "webhook deleted", &id.to_string(), "");
    Ok(json(StatusCode::OK, &deleted))
}

/// Switches a webhook on. Its held deliveries are delivered, oldest first, or dropped.
#[utoipa::path(
    post, operation_id = "enableWebhook", path = "/v1/accounts/{account}/webhooks/{id}/enable", tag = "webhooks",
    security(("key" = ["webhooks:write"])),
    params(("account" = String, Path), ("id" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = shapes::Enable, content_type = "application/json"),
    responses((status = 200, body = Enabled, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-webhook", "edit-conflict", "revision-changed", "body"]))),
)]
pub(super) async fn enable(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.end()?;
    let revision = asked_revision(request.headers())?;
    let held = body::read_optional(&app, request, app.settings.body_max_bytes).await?;
    let mut fields = Fields::of_optional_body(&held.bytes)?;
    let discard_held = fields.read("discardHeld", "true or false").value().unwrap_or(false);
    fields.end_or(&INVALID)?;
    let enabled = app.webhooks.enable(&account, id, discard_held, revision).await?;
    log_change(&caller, Some(&account), "webhook enabled", &id.to_string(), "active");
    Ok(with_revision(json(StatusCode::OK, &enabled), enabled.view.revision))
}

/// Switches a webhook off. Its deliveries are held.
#[utoipa::path(
    post, operation_id = "disableWebhook", path = "/v1/accounts/{account}/webhooks/{id}/disable", tag = "webhooks",
    security(("key" = ["webhooks:write"])),
    params(("account" = String, Path), ("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = View, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-webhook", "edit-conflict", "revision-changed", "body"]))),
)]
pub(super) async fn disable(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.end()?;
    let revision = asked_revision(request.headers())?;
    no_members(&app, request).await?;
    let view = app.webhooks.disable(&account, id, revision).await?;
    log_change(&caller, Some(&account), "webhook disabled", &id.to_string(), "active");
    Ok(with_revision(json(StatusCode::OK, &view), view.revision))
}

/// Sends the test event at once, even while the webhook is off, and answers what happened.
///
/// The attempt's log entry is kept; request and response are not.
#[utoipa::path(
    post, operation_id = "testWebhook", path = "/v1/accounts/{account}/webhooks/{id}/test", tag = "webhooks",
    security(("key" = ["webhooks:write"])),
    params(("account" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "The test was made; `status` says whether it succeeded", body = Tested)),
    extensions(("x-problems" = json!(["no-such-webhook", "body"]))),
)]
pub(super) async fn test(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.end()?;
    no_members(&app, request).await?;
    // Tests are counted of webhooks that exist, so that made-up ids take no memory.
    app.webhooks.show(&account, id).await?;
    app.rates.take_test(&account, id)?;
    let tested = app.webhooks.test(&app.sender, &account, id).await?;
    log_change(&caller, Some(&account), "webhook tested", &id.to_string(), "");
    Ok(json(StatusCode::OK, &tested))
}

/// Deletes all webhooks of an account, with their logs, deliveries, and portal sessions.
#[utoipa::path(
    delete, operation_id = "purgeAccount", path = "/v1/accounts/{account}", tag = "accounts", security(("key" = ["admin"])),
    params(("account" = String, Path)),
    responses((status = 200, body = Purged)),
)]
pub(super) async fn purge(
    State(app): State<Shared>,
    Account(account): Account,
    Who(caller): Who,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let purged = app.webhooks.purge(&account).await?;
    log_change(&caller, Some(&account), "account purged", account.as_str(), "");
    Ok(json(StatusCode::OK, &purged))
}

/// Reads a body that must be absent or `{}`.
async fn no_members(app: &Shared, request: Request) -> Result<(), Problem> {
    let held = body::read_optional(app, request, app.settings.body_max_bytes).await?;
    Fields::of_optional_body(&held.bytes)?.end_or(&INVALID)
}
