//! Links to the settings screen, and the sessions that they opened.

use axum::{
    extract::{Request, State},
    response::Response,
};
use chrono::DateTime;
use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    access::{NewLink, NewTheme, SessionView, WhichSession},
    domain::{
        page::{NotAPosition, Page},
        portal::PortalAccess,
    },
    server::{
        Shared,
        answer::{json, read},
        body::{self, JSON},
        door::{Account, Who},
        failures::with_judged,
        fields::{Fields, Member},
        problem::{Fault, INVALID, INVALID_QUERY, Problem},
        query::{Query, opaque},
    },
};

/// A link, which its user opens once within five minutes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PortalLink {
    /// The address to which to send the browser.
    url: String,
    /// When the link ends, used or not (RFC 3339, UTC, ms).
    expires_at: String,
}

/// The number of sessions that ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Ended {
    /// Their number. Links that were not used ended too, and are not counted.
    ended: u64,
}

/// Makes a link to the settings screen of an account.
///
/// The link's address is a page with one button, which opens the webhooks of the account, once and within five minutes.
/// A link that was used leads back to `returnUrl`. The script `/embed.js` shows the screen in a frame of the platform's own
/// page, whose origin is `embedOrigin`.
///
/// A link never allows more than the key: `manage` needs `webhooks:write`, and `payloads` needs `payloads:read`.
#[utoipa::path(
    post, operation_id = "createPortalLink", path = "/v1/accounts/{account}/portal-links", tag = "portal", security(("key" = ["portal"])),
    params(("account" = String, Path)),
    request_body(content = NewLink, content_type = "application/json"),
    responses((status = 201, body = PortalLink)),
    extensions(("x-problems" = json!(["invalid"]))),
)]
pub(super) async fn new_link(
    State(app): State<Shared>,
    Account(account): Account,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.end()?;
    let held = body::read(&app, request, app.settings.body_max_bytes, &[JSON]).await?;
    let mut fields = Fields::of_body(&held.bytes)?;
    let access = fields.read::<PortalAccess>("access", "`read` or `manage`").value();
    if access.is_none() {
        fields.need("access", "is needed: `read` or `manage`");
    }
    let new = NewLink {
        access: access.unwrap_or(PortalAccess::Read),
        payloads: fields.read("payloads", "true or false").value().unwrap_or(false),
        user: fields.text("user"),
        embed_origin: fields.text("embedOrigin"),
        return_url: fields.text("returnUrl"),
        theme: theme(&mut fields),
    };
    let mut faults = with_judged(fields.end(), &app.portal.judge_link(&caller, new.clone()));
    if matches!(account.as_str(), "." | "..") {
        faults.push(Fault::at("", "browsers cannot reach the pages of an account named `.` or `..`"));
    }
    let Some(public_url) = &app.settings.public_url else {
        let detail =
            "portal links need the setting `server.public_url`, the address at which browsers reach this server";
        faults.push(Fault::at("", detail));
        return Err(Problem::of_faults(&INVALID, faults));
    };
    if !faults.is_empty() {
        return Err(Problem::of_faults(&INVALID, faults));
    }
    let link = app.portal.new_link(&caller, &account, new).await?;
    let token = link.token.expose_secret();
    let shape =
        PortalLink { url: format!("{public_url}/accounts/{account}/enter?link={token}"), expires_at: link.expires_at };
    Ok(json(StatusCode::CREATED, &shape))
}

fn theme(fields: &mut Fields<'_>) -> Option<NewTheme> {
    let Member::Value(value) = fields.raw("theme") else { return None };
    let mut inner = Fields::of(value, fields.pointer("theme"));
    let theme = NewTheme {
        mode: inner.read("mode", "`system`, `light` or `dark`").value(),
        accent: inner.text("accent"),
        accent_dark: inner.text("accentDark"),
        radius: inner.read("radius", "a whole number of pixels").value(),
        gutters: inner.read("gutters", "a whole number of pixels").value(),
        product_name: inner.text("productName"),
    };
    let faults = inner.end();
    fields.extend(faults);
    Some(theme)
}

/// The portal sessions of an account that have not ended.
#[utoipa::path(
    get, operation_id = "listPortalSessions", path = "/v1/accounts/{account}/portal-sessions", tag = "portal", security(("key" = ["portal"])),
    params(("account" = String, Path), ("limit" = Option<u8>, Query), ("after" = Option<String>, Query)),
    responses((status = 200, body = Page<SessionView>)),
)]
pub(super) async fn sessions(
    State(app): State<Shared>,
    Account(account): Account,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let part = query.part();
    query.end()?;
    if part.after.as_deref().is_some_and(|after| !is_position(after)) {
        return Err(Problem::of_faults(&INVALID_QUERY, vec![Fault::of_parameter("after", NotAPosition.to_string())]));
    }
    let all = app.portal.sessions(&account).await?;
    let position = |session: &SessionView| format!("{}/{}", session.expires_at, session.id);
    let rest =
        all.into_iter().skip_while(|session| part.after.as_ref().is_some_and(|after| position(session) <= *after));
    Ok(read(&headers, &opaque(Page::first(rest, part.limit, position))))
}

/// Whether this is a position in a list of sessions: the end of one, and its id.
fn is_position(text: &str) -> bool {
    text.split_once('/').is_some_and(|(end, id)| DateTime::parse_from_rfc3339(end).is_ok() && !id.contains('/'))
}

/// Ends all portal sessions of an account at once, and its unused links.
#[utoipa::path(
    delete, operation_id = "endPortalSessions", path = "/v1/accounts/{account}/portal-sessions", tag = "portal", security(("key" = ["portal"])),
    params(("account" = String, Path)),
    responses((status = 200, body = Ended)),
)]
pub(super) async fn end_sessions(
    State(app): State<Shared>,
    Account(account): Account,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let ended = app.portal.end(&account, WhichSession::All).await?;
    Ok(json(StatusCode::OK, &Ended { ended }))
}
