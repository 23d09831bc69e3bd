//! Webhooks and their logs as tables for a terminal.

use super::super::output::{clean, fits, flexible, milliseconds, render, table, time};
use crate::{
    domain::{
        event::Identifiers,
        identifier::Identifier,
        log_entry::{LogEntry, PhasesMs, Status},
    },
    webhooks::{AuthenticationView, FailedDelivery, HeldDelivery, View},
};

/// The log switches to its layout for narrow terminals if the error column would be narrower than this.
const ERROR_LEAST: u16 = 24;
/// The index of the error among the log's columns.
const ERROR: usize = 5;

/// One webhook, a line for each of its settings.
pub(super) fn webhook(view: &View, width: Option<u16>) -> String {
    let rows = [
        ("ID", view.id.to_string()),
        ("Account", view.account.to_string()),
        ("URL", clean(view.url.as_str()).into_owned()),
        ("Events", clean(&view.events.join(", ")).into_owned()),
        ("Authentication", authentication(&view.authentication)),
        ("Description", clean(&view.description).into_owned()),
        ("Active", active(view)),
        ("Revision", view.revision.to_string()),
        ("Added", time(&view.created_at) + " UTC"),
        ("Edited", time(&view.updated_at) + " UTC"),
    ];
    let rows = rows.map(|(name, value)| [name.to_owned(), value]);
    render(flexible(table(["", ""], rows), [1]), width)
}

/// Advice for a webhook that was added without authentication.
pub(super) fn advice_to_authenticate(view: &View) -> String {
    let View { account, id, .. } = view;
    format!(
        "This webhook has no authentication. Authentication is strongly recommended, so that your endpoint can verify \
         that a request is genuine:\n\
         lynkhook webhook edit --account {account} {id} --bearer-token-file FILE   (or --header-file FILE)"
    )
}

/// Webhooks, a line each; or as blocks, one below the other, if the lines are wider than the terminal.
pub(super) fn webhooks(views: &[View], width: Option<u16>) -> String {
    let row = |view: &View| {
        let (url, events, description) =
            (clean(view.url.as_str()), clean(&view.events.join(", ")).into_owned(), &view.description);
        let authentication = authentication(&view.authentication);
        [view.id.to_string(), active(view), url.into_owned(), events, authentication, clean(description).into_owned()]
    };
    let header = ["ID", "Active", "URL", "Events", "Authentication", "Description"];
    let table = table(header, views.iter().map(row));
    if fits(&table, width, None) {
        return render(table, width);
    }
    views.iter().map(|view| webhook(view, width)).collect::<Vec<_>>().join("\n")
}

/// A delivery log, in the order given. In a narrow terminal, the identifiers and the error are below the event.
pub(in crate::cli) fn log(entries: &[LogEntry], width: Option<u16>) -> String {
    let header = ["Status", "Event", "HTTP Status", "Attempt", "Duration", "Error", "Identifiers", "Time (UTC)"];
    let row = |entry: &LogEntry| {
        let [status, event, http, attempt, duration, error, time] = cells(entry);
        [status, event, http, attempt, duration, error, identifiers(&entry.identifiers, "=").join("\n"), time]
    };
    let wide = table(header, entries.iter().map(row));
    if fits(&wide, width, Some((ERROR, ERROR_LEAST))) {
        return render(flexible(wide, [ERROR]), width);
    }
    let header = ["Status", "Event\nIdentifiers, Error", "HTTP\nStatus", "Attempt", "Duration", "Time\n(UTC)"];
    let row = |entry: &LogEntry| {
        let [status, event, http, _, duration, error, time] = cells(entry);
        let mut about = vec![event];
        about.extend(entry.redelivery.map(|count| format!("redelivery {count}")));
        // The blank lets a long identifier move to a line of its own, unbroken, so that it can be copied.
        about.extend(identifiers(&entry.identifiers, ": "));
        about.extend((!error.is_empty()).then_some(error));
        [status, about.join("\n"), broken(&http), entry.attempt.to_string(), duration, broken(&time)]
    };
    render(flexible(table(header, entries.iter().map(row)), [1]), width)
}

/// Failed deliveries, a line each; or as blocks if the lines are wider than the terminal. The first line of a block is
/// the delivery's id alone, so that it can be copied as a whole.
pub(super) fn failed_deliveries(deliveries: &[FailedDelivery], width: Option<u16>) -> String {
    let header =
        ["Delivery", "Event", "HTTP Status", "Attempt", "Error", "Identifiers", "Envelope (bytes)", "Failed (UTC)"];
    let cells = |delivery: &FailedDelivery| {
        [
            delivery.delivery_id.clone(),
            clean(&delivery.event).into_owned(),
            delivery.http_status.to_string(),
            attempt(delivery.attempt, delivery.redelivery),
            clean(delivery.error.as_deref().unwrap_or_default()).into_owned(),
            identifiers(&delivery.identifiers, "=").join("\n"),
            delivery.envelope_bytes.to_string(),
            time(&delivery.failed_at),
        ]
    };
    lines_or_blocks(header, deliveries.iter().map(cells).collect(), width)
}

/// Held deliveries, in the same form.
pub(super) fn held_deliveries(deliveries: &[HeldDelivery], width: Option<u16>) -> String {
    let header = ["Delivery", "Next attempt", "Envelope (bytes)", "Held (UTC)"];
    let cells = |delivery: &HeldDelivery| {
        [
            delivery.delivery_id.clone(),
            attempt(delivery.attempt, delivery.redelivery),
            delivery.envelope_bytes.to_string(),
            time(&delivery.held_at),
        ]
    };
    lines_or_blocks(header, deliveries.iter().map(cells).collect(), width)
}

fn lines_or_blocks<const N: usize>(header: [&str; N], cells: Vec<[String; N]>, width: Option<u16>) -> String {
    let wide = table(header, cells.iter().cloned());
    if fits(&wide, width, None) {
        return render(wide, width);
    }
    let block = |cells: [String; N]| {
        let mut named = header.into_iter().zip(cells);
        let (_, id) = named.next().expect("there is a first column");
        let rows = named.map(|(name, value)| [format!("  {name}"), value]);
        id + "\n" + &render(flexible(table(["", ""], rows), [1]), width)
    };
    cells.into_iter().map(block).collect::<Vec<_>>().join("\n")
}

/// One entry as a line, for a log that grows.
pub(super) fn log_line(entry: &LogEntry) -> String {
    let [status, event, http, attempt, duration, error, time] = cells(entry);
    let about = identifiers(&entry.identifiers, "=").into_iter().chain((!error.is_empty()).then_some(error));
    let about = about.fold(String::new(), |line, part| line + "  " + &part);
    format!("{time}  {status:<7}  {event}  {http:<13}  attempt {attempt}  {duration:>7}{about}")
}

/// The result of a test, in one line.
pub(super) fn tested(entry: &LogEntry) -> String {
    let took = milliseconds(entry.duration_ms);
    let phases = phases(entry.phases_ms.unwrap_or_default());
    match (&entry.error, entry.status) {
        (None, Status::Success) => format!("Success: HTTP {} in {took}{phases}\n", entry.http_status),
        (error, _) => format!("Failed: {} after {took}{phases}\n", clean(error.as_deref().unwrap_or("unknown"))),
    }
}

/// ` (dns 2 ms, connect 10 ms)`; nothing if no phase was finished.
fn phases(phases: PhasesMs) -> String {
    let PhasesMs { dns, connect, tls, first_byte } = phases;
    let named = [("dns", dns), ("connect", connect), ("tls", tls), ("firstByte", first_byte)];
    let parts: Vec<_> =
        named.into_iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {}", milliseconds(ms)))).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Status, event, HTTP status, attempt, duration, error, time.
fn cells(entry: &LogEntry) -> [String; 7] {
    let status = match entry.status {
        Status::Success => "success",
        Status::Failed => "failed",
    };
    [
        status.to_owned(),
        clean(&entry.event).into_owned(),
        entry.http_status.to_string(),
        attempt(entry.attempt, entry.redelivery),
        milliseconds(entry.duration_ms),
        clean(entry.error.as_deref().unwrap_or_default()).into_owned(),
        time(&entry.time),
    ]
}

/// `2`, `1 (redelivery 3)`.
fn attempt(number: u8, redelivery: Option<u32>) -> String {
    redelivery.map_or_else(|| number.to_string(), |count| format!("{number} (redelivery {count})"))
}

/// `messageId=6601abc123def4567890abcd`, one for each.
fn identifiers(identifiers: &Identifiers, separator: &str) -> Vec<String> {
    let shown = |(name, value): (&String, &Identifier)| format!("{name}{separator}{}", value.as_str());
    identifiers.iter().map(|identifier| clean(&shown(identifier)).into_owned()).collect()
}

/// Puts each word on a line of its own.
fn broken(text: &str) -> String {
    text.replace(' ', "\n")
}

fn active(view: &View) -> String {
    if view.active { "yes" } else { "no" }.to_owned()
}

fn authentication(view: &AuthenticationView) -> String {
    match view {
        AuthenticationView::None => "none".to_owned(),
        AuthenticationView::Bearer { token } => format!("bearer token {}", clean(token)),
        AuthenticationView::Header { name, value } => format!("header {}: {}", clean(name), clean(value)),
    }
}

#[cfg(test)]
pub(super) mod tests;
