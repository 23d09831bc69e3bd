//! The lists of deliveries that are kept whole: those that wait, and those that failed for good.

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    about::About,
    notice::Notice,
    page::{Look, page},
    visitor::{Hook, Visiting},
    words::{Label, Moment, count, line, size, thousands},
};
use crate::{
    server::{
        Shared,
        query::{Query, cursor},
    },
    webhooks::{FailedDelivery, HeldDelivery},
};

/// The deliveries of a page.
const LIMIT: usize = 50;

#[derive(Template)]
#[template(path = "screen/held.html", config = "src/server/askama.toml")]
struct HeldList<'a> {
    look: &'a Look,
    about: About,
    rows: Vec<HeldRow>,
    total: u64,
    /// `12 events`.
    count: String,
    next: Option<String>,
}

/// A delivery that waits.
struct HeldRow {
    event_id: String,
    address: String,
    since: Moment,
    attempt: u8,
    size: String,
}

#[derive(Template)]
#[template(path = "screen/failed.html", config = "src/server/askama.toml")]
struct FailedList<'a> {
    look: &'a Look,
    about: About,
    rows: Vec<FailedRow>,
    total: u64,
    /// `37 deliveries`.
    count: String,
    /// `Redeliver all 37`.
    button: String,
    /// The time of the oldest in UTC, as a field for a time takes it.
    oldest: String,
    next: Option<String>,
}

/// A delivery that failed for good.
struct FailedRow {
    delivery: String,
    event_id: String,
    address: String,
    event: String,
    error: String,
    identifiers: Vec<Label>,
    time: Moment,
}

/// The deliveries that wait, oldest first.
pub(super) async fn held(
    State(app): State<Shared>,
    Visiting(visitor): Visiting,
    Hook(id): Hook,
    mut query: Query,
) -> Result<Response, Notice> {
    let after = query.part().after;
    query.end()?;
    let look = &*visitor.look;
    let about = About::of(look, app.webhooks.show(&visitor.account, id).await?);
    let found = app.webhooks.held(&visitor.account, id, after.as_deref(), LIMIT).await?;
    let list = HeldList {
        look,
        rows: found.items.iter().map(|held| HeldRow::new(held, &about)).collect(),
        total: found.total,
        count: count(found.total, "event", "events"),
        next: found.next.map(|position| about.at(format!("/held?after={}", cursor(&position)))),
        about,
    };
    Ok(page(StatusCode::OK, &list))
}

/// The deliveries that failed for good, newest first.
pub(super) async fn failed(
    State(app): State<Shared>,
    Visiting(visitor): Visiting,
    Hook(id): Hook,
    mut query: Query,
) -> Result<Response, Notice> {
    let after = query.part().after;
    query.end()?;
    let look = &*visitor.look;
    let about = About::of(look, app.webhooks.show(&visitor.account, id).await?);
    let found = app.webhooks.failed(&visitor.account, id, None, after.as_deref(), LIMIT).await?;
    let list = FailedList {
        look,
        rows: found.items.into_iter().map(|failed| FailedRow::new(failed, &about)).collect(),
        total: found.total,
        count: count(found.total, "delivery", "deliveries"),
        button: format!("Redeliver all {}", thousands(found.total)),
        oldest: found.oldest.and_then(|time| time.get(..19).map(str::to_owned)).unwrap_or_default(),
        next: found.next.map(|position| about.at(format!("/failed?after={}", cursor(&position)))),
        about,
    };
    Ok(page(StatusCode::OK, &list))
}

impl HeldRow {
    fn new(held: &HeldDelivery, about: &About) -> Self {
        Self {
            event_id: line(about.event_id(&held.delivery_id)),
            address: about.delivery(&held.delivery_id),
            since: Moment::new(&held.held_at),
            attempt: held.attempt,
            size: size(held.envelope_bytes),
        }
    }
}

impl FailedRow {
    fn new(failed: FailedDelivery, about: &About) -> Self {
        Self {
            event_id: line(about.event_id(&failed.delivery_id)),
            address: about.delivery(&failed.delivery_id),
            event: line(&failed.event),
            error: failed.error.as_deref().map(line).unwrap_or_default(),
            identifiers: Label::all(&failed.identifiers),
            time: Moment::new(&failed.failed_at),
            delivery: failed.delivery_id,
        }
    }
}
