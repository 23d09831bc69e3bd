//! Words and figures as pages show them.

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::{
    domain::{
        event::Identifiers,
        identifier::Identifier,
        log_entry::{HttpStatus, LogEntry, Status},
        text::{visible, visible_block},
    },
    webhooks::View,
};

/// The most characters of a text of a stranger that a page shows on a line.
const LINE_MAX: usize = 300;

/// A moment, for a `<time>`: the script shows it in the reader's own zone beside UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// RFC 3339.
    pub(super) machine: String,
    /// `26 Mar 2026, 14:32:00 UTC`.
    pub(super) utc: String,
}

impl Moment {
    /// The moment of a timestamp of ours. A text that is none is shown as it is.
    pub(super) fn new(timestamp: &str) -> Self {
        let utc = DateTime::parse_from_rfc3339(timestamp)
            .map_or_else(|_| line(timestamp), |time| time.to_utc().format("%-d %b %Y, %H:%M:%S UTC").to_string());
        Self { machine: timestamp.to_owned(), utc }
    }
}

/// A stranger's text on one line, its control characters visible.
pub(super) fn line(text: &str) -> String {
    visible(text, LINE_MAX)
}

/// A stranger's text of several lines. Line breaks and tabs stay.
pub(super) fn lines(text: &str) -> String {
    visible_block(text, usize::MAX)
}

/// The name of a webhook on the screen: its description, or the host of its URL.
pub(super) fn title(view: &View) -> String {
    let description = view.description.trim();
    line(if description.is_empty() { view.url.host() } else { description })
}

/// `87 ms`, `1.2 s`.
pub(super) fn milliseconds(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms} ms");
    }
    // Rounded down, so that 9,999 ms are not shown as the time limit.
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// `1 event`, `12 events`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {many}", thousands(number)) }
}

/// `1,234`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `812 bytes`, `1.2 KiB`.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        count(bytes, "byte", "bytes")
    } else {
        format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024)
    }
}

/// The time that a field of the type `datetime-local` has, in UTC: `2026-03-26T14:32`, with or without seconds.
pub(super) fn typed_time(text: &str) -> Option<DateTime<Utc>> {
    let with = |form| NaiveDateTime::parse_from_str(text, form).ok();
    with("%Y-%m-%dT%H:%M:%S").or_else(|| with("%Y-%m-%dT%H:%M")).map(|time| time.and_utc())
}

/// An attempt of the log, as pages show it.
pub(super) struct Attempt {
    pub(super) is_success: bool,
    pub(super) event: String,
    /// The status, or `Network Error`.
    pub(super) http_status: String,
    /// Its number, from 1.
    pub(super) number: u8,
    pub(super) duration: String,
    /// Empty if there is none.
    pub(super) error: String,
    pub(super) identifiers: Vec<Label>,
    pub(super) time: Moment,
}

/// An identifier.
pub(super) struct Label {
    pub(super) name: String,
    pub(super) value: String,
    /// Whether the value is shown as it is, so that it can be copied.
    pub(super) is_exact: bool,
}

impl Label {
    /// Identifiers, each with its name.
    pub(super) fn all(identifiers: &Identifiers) -> Vec<Self> {
        let label = |(name, value): (&String, &Identifier)| {
            let shown = line(value.as_str());
            Self { name: line(name), is_exact: shown == value.as_str(), value: shown }
        };
        identifiers.iter().map(label).collect()
    }

    /// The label of the button that copies it.
    pub(super) fn copy(&self) -> String {
        format!("Copy {}", self.name)
    }
}

impl Attempt {
    pub(super) fn new(entry: &LogEntry) -> Self {
        Self {
            is_success: entry.status == Status::Success,
            event: line(&entry.event),
            http_status: entry.http_status.to_string(),
            number: entry.attempt,
            duration: milliseconds(entry.duration_ms),
            error: entry.error.as_deref().map(line).unwrap_or_default(),
            identifiers: Label::all(&entry.identifiers),
            time: Moment::new(&entry.time),
        }
    }

    /// `HTTP 200`, or `Network Error`.
    pub(super) fn http(&self) -> String {
        let is_code = self.http_status.starts_with(|first: char| first.is_ascii_digit());
        if is_code { format!("HTTP {}", self.http_status) } else { self.http_status.clone() }
    }

    /// The style of its status.
    pub(super) fn class(&self) -> &'static str {
        if self.is_success { "good" } else { "bad" }
    }

    /// `Success` or `Failure`.
    pub(super) fn status(&self) -> &'static str {
        if self.is_success { "Success" } else { "Failure" }
    }
}

/// The next step for an endpoint's owner after a failed attempt.
pub(super) fn advice(entry: &LogEntry) -> Option<&'static str> {
    if entry.status == Status::Success {
        return None;
    }
    let begins = |words: &str| entry.error.as_deref().is_some_and(|error| error.starts_with(words));
    Some(match entry.http_status {
        HttpStatus::Code(401 | 403) => {
            "The endpoint refused the request's authentication. Compare the token or header here with what it expects."
        }
        HttpStatus::Code(404 | 410) => {
            "The endpoint has nothing at this path. Compare the URL with the endpoint's own."
        }
        HttpStatus::Code(405) => {
            "The endpoint does not accept POST at this path. Compare the URL with the endpoint's own."
        }
        HttpStatus::Code(413) => "The endpoint accepts only smaller requests. Raise its limit for bodies.",
        HttpStatus::Code(429) => "The endpoint limits how often it is called. Raise its limit for webhooks.",
        HttpStatus::Code(300..=399) => {
            "Redirects are not followed. Enter the URL to which the endpoint redirects, if it is yours."
        }
        HttpStatus::Code(400..=499) => {
            "The endpoint refused the request. Its own log may say why; its answer is below, if it sent one."
        }
        HttpStatus::Code(_) => "The endpoint failed. Its own log may say why.",
        HttpStatus::NoResponse(_) if begins("nothing was sent") => return None,
        HttpStatus::NoResponse(_) if begins("DNS") => "Compare the host name in the URL with the endpoint's own.",
        HttpStatus::NoResponse(_) if begins("TLS") => {
            "The endpoint needs a valid certificate for its host name, from a public authority, with its whole chain."
        }
        HttpStatus::NoResponse(_) if begins("timed out") => {
            "The endpoint should respond within 10 seconds: let it answer first, and do slow work afterwards. If it was not \
             reached at all, check its firewall."
        }
        HttpStatus::NoResponse(_) => {
            "No complete answer came. Check that the endpoint runs, is reachable from the internet over HTTPS with a valid \
             certificate, and answers within 10 seconds."
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(milliseconds(0), "0 ms");
        assert_eq!(milliseconds(999), "999 ms");
        assert_eq!(milliseconds(1000), "1.0 s");
        assert_eq!(milliseconds(9999), "9.9 s");
        assert_eq!(count(1, "event", "events"), "1 event");
        assert_eq!(count(0, "event", "events"), "0 events");
        assert_eq!(count(1_234_567, "event", "events"), "1,234,567 events");
        assert_eq!(count(214, "event", "events"), "214 events");
        assert_eq!(
            (size(1), size(1023), size(1024), size(2047)),
            ("1 byte".to_owned(), "1,023 bytes".to_owned(), "1.0 KiB".to_owned(), "1.9 KiB".to_owned())
        );
    }

    #[test]
    fn a_typed_time_is_utc_with_or_without_seconds() {
        let time = |text| typed_time(text).map(|time| time.to_rfc3339());
        assert_eq!(time("2026-03-26T14:32"), Some("2026-03-26T14:32:00+00:00".to_owned()));
        assert_eq!(time("2026-03-26T14:32:05"), Some("2026-03-26T14:32:05+00:00".to_owned()));
        for bad in ["", "2026-03-26", "14:32", "2026-03-26T14:32:00Z", "2026-03-26T14:32+02:00", "2026-13-26T14:32"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_is_told_in_utc() {
        let moment = Moment::new("2026-03-26T14:32:00.045Z");
        assert_eq!(moment.utc, "26 Mar 2026, 14:32:00 UTC");
        assert_eq!(Moment::new("yesterday\u{202e}").utc, line("yesterday\u{202e}"));
    }
}
