//! The delivery log of a webhook: its newest attempts, those of one delivery together.

use std::collections::{BTreeSet, HashSet};

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    about::About,
    notice::Notice,
    page::{Look, page},
    visitor::{Hook, Visiting},
    words::{Attempt, Moment, count, line, thousands},
};
use crate::{
    domain::{
        event::TEST_EVENT,
        log_entry::{LogEntry, Status},
    },
    server::{Shared, query::Query},
    webhooks::{FailedDelivery, Listed, LogFilter},
};

/// The failed deliveries that the log can offer to redeliver; the list of failed deliveries has the others.
const FAILED: usize = 100;
/// Values of the field `status`, each with its meaning.
const STATUS: [(&str, Option<Status>); 3] =
    [("", None), ("success", Some(Status::Success)), ("failed", Some(Status::Failed))];

#[derive(Template)]
#[template(path = "screen/logs.html", config = "src/server/askama.toml")]
struct Logs<'a> {
    look: &'a Look,
    about: About,
    /// One line about the change that was just made.
    flash: Option<String>,
    failed: Option<Failed>,
    held: Option<Held>,
    filter: LogFilter,
    /// The event types to filter by.
    events: BTreeSet<String>,
    groups: Vec<Group>,
    /// The attempts that the filter chose, and all of the log.
    chosen: usize,
    total: usize,
}

/// The deliveries that failed for good.
struct Failed {
    /// `3 failed deliveries`.
    count: String,
    /// `Redeliver all 3`.
    button: String,
    is_one: bool,
    newest: Option<String>,
}

/// The deliveries that wait.
struct Held {
    /// `12 events`.
    count: String,
    is_one: bool,
    oldest: Option<Moment>,
}

/// The attempts of one delivery, or of one of its redeliveries, newest first.
pub(super) struct Group {
    /// The delivery's id, as redelivering takes it.
    pub(super) delivery: String,
    /// The event's id.
    pub(super) event_id: String,
    pub(super) address: String,
    pub(super) redelivery: Option<u32>,
    pub(super) attempts: Vec<Attempt>,
    /// Whether the delivery is kept, so that it can be sent again.
    pub(super) is_kept: bool,
}

impl Group {
    /// The groups of a log, ordered by their newest attempt.
    pub(super) fn all<'a>(
        log: impl Iterator<Item = &'a LogEntry>,
        about: &About,
        failed: &[FailedDelivery],
    ) -> Vec<Self> {
        let kept: HashSet<_> = failed.iter().map(|failed| (&*failed.delivery_id, failed.redelivery)).collect();
        let mut groups: Vec<Self> = Vec::new();
        for entry in log {
            let key = (&*entry.delivery_id, entry.redelivery);
            let attempt = Attempt::new(entry);
            match groups.iter_mut().find(|group| (&*group.delivery, group.redelivery) == key) {
                Some(group) => group.attempts.push(attempt),
                None => groups.push(Self {
                    delivery: entry.delivery_id.clone(),
                    event_id: line(about.event_id(&entry.delivery_id)),
                    address: about.delivery(&entry.delivery_id),
                    redelivery: entry.redelivery,
                    attempts: vec![attempt],
                    is_kept: kept.contains(&key),
                }),
            }
        }
        groups
    }
}

impl Logs<'_> {
    fn is_filtered(&self) -> bool {
        self.filter != LogFilter::default()
    }

    /// `5 attempts of 3 deliveries`.
    fn caption(&self) -> String {
        let deliveries: HashSet<_> = self.groups.iter().map(|group| &group.delivery).collect();
        let [chosen, deliveries] = [self.chosen, deliveries.len()].map(|number| number as u64);
        format!("{} of {}", count(chosen, "attempt", "attempts"), count(deliveries, "delivery", "deliveries"))
    }

    /// `The log has 50 attempts.`
    fn all(&self) -> String {
        count(self.total as u64, "attempt", "attempts")
    }

    fn has_status(&self, status: Status) -> bool {
        self.filter.status == Some(status)
    }

    fn has_event(&self, event: &str) -> bool {
        self.filter.event.as_deref() == Some(event)
    }
}

/// The log, or the part of it that the filter chooses.
pub(super) async fn show(
    State(app): State<Shared>,
    Visiting(visitor): Visiting,
    Hook(id): Hook,
    mut query: Query,
) -> Result<Response, Notice> {
    let mut text = |name| query.text(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let (event, identifier) = (text("event"), text("identifier"));
    let filter = LogFilter { status: query.one_of("status", &STATUS).flatten(), event, identifier };
    let redelivered = query.parsed("redelivered");
    query.end()?;
    let (account, look) = (&visitor.account, &*visitor.look);
    let summary = app.webhooks.summary(account, id).await?;
    let about = About::new(look, &summary.webhook);
    // Of a webhook that cannot be read, nothing can be sent again or switched on.
    let is_read = about.is_active.is_some();
    let failed = match summary.failed {
        1.. if is_read => app.webhooks.failed(account, id, None, None, FAILED).await?.items,
        _ => Vec::new(),
    };
    let chosen: Vec<_> = summary.log.iter().filter(|entry| filter.matches(entry)).collect();
    let groups = Group::all(chosen.iter().copied(), &about, &failed);
    let mut events: BTreeSet<String> = summary.log.iter().map(|entry| entry.event.clone()).collect();
    events.extend(filter.event.clone());
    if let Listed::Read(view) = &summary.webhook {
        events.extend(view.events.iter().cloned().chain([TEST_EVENT.to_owned()]));
    }
    // A name that is not shown as it is cannot be chosen. No event type of a catalogue has one.
    events.retain(|event| line(event) == *event);
    let logs = Logs {
        look,
        flash: redelivered.map(|count| queued_again(count, about.is_active)),
        failed: (is_read && summary.failed > 0).then(|| Failed {
            count: count(summary.failed, "failed delivery", "failed deliveries"),
            button: format!("Redeliver all {}", thousands(summary.failed)),
            is_one: summary.failed == 1,
            newest: failed.first().and_then(|failed| failed.error.as_deref()).map(line),
        }),
        held: (is_read && summary.held > 0).then(|| Held {
            count: count(summary.held, "event", "events"),
            is_one: summary.held == 1,
            oldest: summary.oldest_held.as_deref().map(Moment::new),
        }),
        filter,
        events,
        groups,
        chosen: chosen.len(),
        total: summary.log.len(),
        about,
    };
    Ok(page(StatusCode::OK, &logs))
}

/// `37 deliveries are queued again.`
fn queued_again(number: u64, is_active: Option<bool>) -> String {
    let queued = match number {
        0 => return "No failed delivery was left to send again.".to_owned(),
        1 => "1 delivery is queued again.".to_owned(),
        many => format!("{} deliveries are queued again.", thousands(many)),
    };
    match (is_active, number) {
        (Some(false), 1) => queued + " It waits until you switch the webhook on.",
        (Some(false), _) => queued + " They wait until you switch the webhook on.",
        _ => queued,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_queued_again_is_told_in_words() {
        assert_eq!(queued_again(1, Some(true)), "1 delivery is queued again.");
        assert_eq!(queued_again(1370, Some(true)), "1,370 deliveries are queued again.");
        assert_eq!(
            queued_again(2, Some(false)),
            "2 deliveries are queued again. They wait until you switch the webhook on."
        );
        assert_eq!(queued_again(0, Some(false)), "No failed delivery was left to send again.");
    }
}
