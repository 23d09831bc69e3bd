//! One delivery: its attempts, its identifiers, and its payload as it is sent.

use askama::Template;
use axum::{
    extract::{FromRequestParts, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_DISPOSITION, request::Parts};

use super::{
    about::About,
    logs::Group,
    notice::Notice,
    page::{Look, page},
    visitor::{Hook, Visiting, Visitor},
    words::{Label, Moment, count, line, lines, size},
};
use crate::{
    domain::{
        log_entry::{LogEntry, Status},
        webhook::WebhookId,
    },
    server::{
        Shared,
        answer::typed,
        body::JSON,
        door::parameter,
        problem::{NO_SUCH_DELIVERY, Problem},
        query::Query,
    },
    webhooks::{KeptDelivery, WebhooksError},
};

/// The bytes of a payload that the page shows.
const SHOWN_BYTES: usize = 64 << 10;

/// The delivery of the path.
pub(super) struct DeliveryId(String);

impl FromRequestParts<Shared> for DeliveryId {
    type Rejection = Notice;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Notice> {
        parameter(parts, app, "delivery").await.map(Self).map_err(|_| Notice::NOT_FOUND)
    }
}

#[derive(Template)]
#[template(path = "screen/delivery.html", config = "src/server/askama.toml")]
struct Page<'a> {
    look: &'a Look,
    about: About,
    delivery: String,
    /// The event's id, which receivers get as `webhook-id`.
    event_id: String,
    state: Progress,
    /// `None` if neither the log nor a failed delivery says it.
    event: Option<String>,
    identifiers: Vec<Label>,
    groups: Vec<Group>,
    /// `2 attempts, newest first`.
    caption: String,
    payload: Payload,
}

/// The state of a delivery.
enum Progress {
    Delivered,
    /// It failed for good; `is_kept` if it can be sent again.
    Failed {
        is_kept: bool,
        error: String,
    },
    /// It waits since then.
    Held {
        since: Moment,
    },
    /// It is tried again.
    Retried,
}

/// The payload, or the reason why it is not shown.
enum Payload {
    Whole {
        text: String,
        /// The text as it is sent, if a copy of it is exact.
        exact: Option<String>,
    },
    /// It is long: its beginning, and its size.
    Long {
        beginning: String,
        size: String,
    },
    NotKept,
    NotAllowed,
}

/// The page of a delivery that is in the log, waits, or is kept as failed.
pub(super) async fn show(
    State(app): State<Shared>,
    Visiting(visitor): Visiting,
    Hook(id): Hook,
    DeliveryId(delivery): DeliveryId,
    query: Query,
) -> Result<Response, Notice> {
    query.end()?;
    let (account, look) = (&visitor.account, &*visitor.look);
    let summary = app.webhooks.summary(account, id).await?;
    let about = About::new(look, &summary.webhook);
    let kept = match about.is_active {
        Some(_) => app.webhooks.kept_delivery(account, id, &delivery).await?,
        None => None,
    };
    let log: Vec<_> = summary.log.iter().filter(|entry| entry.delivery_id == delivery).collect();
    if kept.is_none() && log.is_empty() {
        return Err(Problem::new(&NO_SUCH_DELIVERY, "").into());
    }
    let newest = log.first();
    let (event, identifiers) = match (&kept, newest) {
        (Some(KeptDelivery::Failed(failed)), _) => (Some(&failed.event), Some(&failed.identifiers)),
        (_, newest) => (newest.map(|entry| &entry.event), newest.map(|entry| &entry.identifiers)),
    };
    let page_of = Page {
        look,
        event_id: line(about.event_id(&delivery)),
        state: Progress::new(kept.as_ref(), newest.copied()),
        event: event.map(|event| line(event)),
        identifiers: identifiers.map(Label::all).unwrap_or_default(),
        groups: Group::all(log.iter().copied(), &about, &[]),
        caption: count(log.len() as u64, "attempt", "attempts"),
        payload: Payload::new(&app, &visitor, id, &delivery, kept.as_ref()).await?,
        delivery,
        about,
    };
    Ok(page(StatusCode::OK, &page_of))
}

/// The payload of a delivery that waits or failed, byte for byte, as a file.
pub(super) async fn payload(
    State(app): State<Shared>,
    Visiting(visitor): Visiting,
    Hook(id): Hook,
    DeliveryId(delivery): DeliveryId,
    query: Query,
) -> Result<Response, Notice> {
    query.end()?;
    if !visitor.look.may_read_payloads {
        return Err(Notice::NO_PAYLOADS);
    }
    let envelope = match app.webhooks.failed_envelope(&visitor.account, id, &delivery).await {
        Err(WebhooksError::NoSuchDelivery { .. }) => {
            app.webhooks.held_envelope(&visitor.account, id, &delivery).await?
        }
        found => found?,
    };
    let mut response = typed(StatusCode::OK, JSON, envelope);
    let file = HeaderValue::from_static("attachment; filename=\"payload.json\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, file);
    Ok(response)
}

impl Progress {
    fn new(kept: Option<&KeptDelivery>, newest: Option<&LogEntry>) -> Self {
        match (kept, newest) {
            (Some(KeptDelivery::Failed(failed)), _) => {
                Self::Failed { is_kept: true, error: failed.error.as_deref().map(line).unwrap_or_default() }
            }
            (Some(KeptDelivery::Held(held)), _) => Self::Held { since: Moment::new(&held.held_at) },
            (None, Some(entry)) if entry.status == Status::Success => Self::Delivered,
            (None, Some(entry)) if entry.last => {
                Self::Failed { is_kept: false, error: entry.error.as_deref().map(line).unwrap_or_default() }
            }
            (None, _) => Self::Retried,
        }
    }
}

impl Payload {
    async fn new(
        app: &Shared,
        visitor: &Visitor,
        id: WebhookId,
        delivery: &str,
        kept: Option<&KeptDelivery>,
    ) -> Result<Self, Notice> {
        let account = &visitor.account;
        let envelope = match kept {
            None => return Ok(Self::NotKept),
            Some(_) if !visitor.look.may_read_payloads => return Ok(Self::NotAllowed),
            Some(KeptDelivery::Failed(_)) => app.webhooks.failed_envelope(account, id, delivery).await,
            Some(KeptDelivery::Held(_)) => app.webhooks.held_envelope(account, id, delivery).await,
        };
        match envelope {
            // It was sent a moment ago.
            Err(WebhooksError::NoSuchDelivery { .. }) => Ok(Self::NotKept),
            envelope => Ok(Self::of(&envelope?)),
        }
    }

    fn of(envelope: &Bytes) -> Self {
        if envelope.len() > SHOWN_BYTES {
            let beginning = lines(&String::from_utf8_lossy(&envelope[..SHOWN_BYTES]));
            return Self::Long { beginning, size: size(envelope.len() as u64) };
        }
        // An attribute of a page keeps neither carriage returns nor NUL.
        let exact = str::from_utf8(envelope).ok().filter(|text| !text.contains(['\r', '\0']));
        Self::Whole { text: lines(&String::from_utf8_lossy(envelope)), exact: exact.map(str::to_owned) }
    }
}
