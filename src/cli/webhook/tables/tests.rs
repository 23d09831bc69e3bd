//! The tables at the usual widths of terminals.

use super::*;
use crate::domain::url::EndpointUrl;

/// A log entry of a plain success, changed.
pub(in crate::cli::webhook) fn entry(change: impl FnOnce(&mut LogEntry)) -> LogEntry {
    let mut entry: LogEntry = serde_json::from_value(serde_json::json!({
        "status": "success", "event": "transcript.created", "httpStatus": 200, "attempt": 1, "durationMs": 120,
        "error": null, "identifiers": {"messageId": "6601abc123def4567890abcd"}, "time": "2026-03-26T14:32:00.045Z",
        "deliveryId": "e1.wh_019a1b2c-0000-7000-8000-000000000001", "final": true,
        "phasesMs": {"dns": 1, "connect": 2, "tls": 3, "firstByte": 114}
    }))
    .unwrap();
    change(&mut entry);
    entry
}

fn failed(error: &str) -> LogEntry {
    entry(|entry| {
        entry.status = Status::Failed;
        entry.http_status = serde_json::from_value("Network Error".into()).unwrap();
        entry.duration_ms = 10_003;
        entry.attempt = 3;
        entry.redelivery = Some(1);
        entry.error = Some(error.to_owned());
        entry.phases_ms = None;
    })
}

fn view(url: &str) -> View {
    View {
        id: "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap(),
        account: "acme".parse().unwrap(),
        url: EndpointUrl::from_saved(url).unwrap(),
        events: vec!["transcript.created".to_owned()],
        authentication: AuthenticationView::Header { name: "X-Key".to_owned(), value: "••••".to_owned() },
        description: "CRM sync".to_owned(),
        active: true,
        revision: 1,
        created_at: "2026-03-26T14:00:00.000Z".to_owned(),
        updated_at: "2026-03-26T14:00:00.000Z".to_owned(),
    }
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

#[test]
fn a_log_fits_its_terminal_with_every_field() {
    let entries = [entry(|_| {}), failed("timed out after 10 s while looking up the host name")];
    for width in [80, 100, 120, 149, 150, 160, 200] {
        let text = log(&entries, Some(width));
        assert!(widest(&text) <= width.into(), "{width}:\n{text}");
        for whole in [
            "Status",
            "Event",
            "Identifiers",
            "Attempt",
            "Duration",
            "Error",
            "transcript.created",
            "10.0 s",
            "6601abc123def4567890abcd",
            "redelivery 1",
        ] {
            assert!(text.contains(whole), "{whole} at {width}:\n{text}");
        }
    }
    let piped = log(&entries, None);
    assert_eq!(piped.lines().count(), 3, "one line an entry:\n{piped}");
    assert!(piped.contains("messageId=6601abc123def4567890abcd  2026-03-26 14:32:00\n"), "{piped}");
}

#[test]
fn failed_deliveries_are_a_table_if_it_fits_and_otherwise_blocks_with_an_unbroken_id() {
    let delivery = |redelivery| FailedDelivery {
        delivery_id: "0-1774535520000-0-0123456789abcdef.wh_019a1b2c-0000-7000-8000-000000000001".to_owned(),
        event_id: "0-1774535520000-0-0123456789abcdef".parse().unwrap(),
        event: "transcript.created".to_owned(),
        redelivery,
        attempt: 3,
        failed_at: "2026-03-26T14:32:06.100Z".to_owned(),
        http_status: serde_json::from_value(503.into()).unwrap(),
        error: Some("HTTP 503 Service Unavailable".to_owned()),
        identifiers: [("messageId".to_owned(), "m1".into())].into(),
        envelope_bytes: 512,
    };
    let deliveries = [delivery(None), delivery(Some(2))];
    let piped = failed_deliveries(&deliveries, None);
    assert_eq!(piped.lines().count(), 3, "one line a delivery:\n{piped}");
    assert!(piped.contains("  3 (redelivery 2)  HTTP 503 Service Unavailable  messageId=m1  512 "), "{piped}");
    let narrow = failed_deliveries(&deliveries, Some(80));
    assert!(widest(&narrow) <= 80, "{narrow}");
    assert_eq!(narrow.lines().filter(|line| *line == deliveries[0].delivery_id).count(), 2, "{narrow}");
    assert!(narrow.contains("\n  Failed (UTC)      2026-03-26 14:32:06\n"), "{narrow}");
}

#[test]
fn webhooks_are_a_table_if_it_fits_and_otherwise_blocks() {
    let views = [view("https://hooks.example.com/a"), view("https://hooks.example.com/b")];
    assert_eq!(webhooks(&views, None).lines().count(), 3);
    assert_eq!(webhooks(&views, Some(200)).lines().count(), 3);
    let narrow = webhooks(&views, Some(80));
    assert!(widest(&narrow) <= 80, "{narrow}");
    assert!(narrow.contains("ID              wh_019a1b2c-0000-7000-8000-000000000001\n"), "{narrow}");
    assert!(narrow.contains("\n\nID "), "{narrow}");
    let long = webhook(&view(&format!("https://hooks.example.com/{}", "x".repeat(200))), Some(80));
    assert!(widest(&long) <= 80, "{long}");
}

#[test]
fn a_followed_entry_is_one_line() {
    assert_eq!(
        log_line(&entry(|_| {})),
        "2026-03-26 14:32:00  success  transcript.created  200            attempt 1   120 ms  messageId=6601abc123def4567890abcd"
    );
    let hostile = failed("\u{1b}[2J\nfake");
    assert_eq!(
        log_line(&hostile),
        r"2026-03-26 14:32:00  failed   transcript.created  Network Error  attempt 3 (redelivery 1)   10.0 s  messageId=6601abc123def4567890abcd  \u{1b}[2J\nfake"
    );
}

#[test]
fn the_result_of_a_test_has_the_status_and_the_time_of_each_phase() {
    assert_eq!(
        tested(&entry(|_| {})),
        "Success: HTTP 200 in 120 ms (dns 1 ms, connect 2 ms, tls 3 ms, firstByte 114 ms)\n"
    );
    assert_eq!(tested(&failed("connection refused")), "Failed: connection refused after 10.0 s\n");
}
