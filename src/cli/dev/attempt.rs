//! One attempt on one line: the request as the receiver saw it, and the step that follows.

use std::time::Duration;

use http::{HeaderName, header};
use serde::Deserialize;

use super::{
    parts::Arrival,
    receiver::{Answer, Received},
};
use crate::domain::{
    event::TEST_EVENT,
    outcome::{NetworkFault, Outcome, Phase},
    retry::{Next, Schedule},
    webhook::mask,
};

/// The longest id or path on a line; longer ones are cut.
const SHOWN_MAX: usize = 64;

/// Headers that every request has, or that the HTTP client may add; any other is the webhook's own.
const COMMON_HEADERS: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::USER_AGENT,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The settings that decide the step after an attempt.
pub(super) struct Rules {
    pub(super) schedule: Schedule,
    /// The time limit for an answer.
    pub(super) timeout: Duration,
}

/// The line for an attempt of the demonstration. Its expected content is known, so the line shows whether each part is
/// right.
pub(super) fn of_demonstration(received: &Received, arrival: &Arrival, proof: &str, rules: &Rules) -> String {
    let tick = |right| if right { '✓' } else { '✗' };
    let proof = format!("{proof} {}", tick(arrival.authentic));
    let carried = format!("attempt {}  {proof:<15}  body {}", received.count, tick(arrival.identical));
    line(received, arrival.after, &carried, rules)
}

/// The line for any other attempt: the content of its request. The receiver cannot know the attempt's number, only how
/// often it has seen the event in this run.
pub(super) fn of_others(received: &Received, after: Duration, rules: &Rules) -> String {
    let (count, bytes) = (received.count, received.body.len());
    line(received, after, &format!("seen {count}x  {}  {bytes} bytes", carried(received)), rules)
}

fn line(received: &Received, after: Duration, carried: &str, rules: &Rules) -> String {
    let Answer { status, after: delay } = received.answer;
    let late = if delay.is_zero() { String::new() } else { format!(" after {} s", delay.as_secs()) };
    format!(
        "{:>8.3} s  {:<7} {:<15}  {carried}  {}{late}: {}",
        after.as_secs_f64(),
        shown(&received.path),
        shown(received.webhook_id()),
        status.as_u16(),
        following(received, rules),
    )
}

/// The step that follows, by the worker's own rule. It takes each time that the event was seen for one attempt.
fn following(received: &Received, rules: &Rules) -> String {
    let Answer { status, after } = received.answer;
    let outcome = if after > rules.timeout {
        Outcome::NetworkError(NetworkFault::TimedOut { after: rules.timeout, phase: Phase::Waiting })
    } else {
        Outcome::Response { status: status.as_u16() }
    };
    if is_test(&received.body) {
        return if status.is_success() { "the test succeeded".into() } else { "the test failed".into() };
    }
    let attempt = u8::try_from(received.count).unwrap_or(u8::MAX);
    match rules.schedule.decide(&outcome, attempt, 0.0) {
        Next::Delivered => "delivered".into(),
        Next::Retry { after: delay } if after > rules.timeout => {
            let given_up = rules.timeout.as_secs();
            format!("too late, timed out at {given_up} s; retry ~{} s later", delay.as_secs_f64())
        }
        Next::Retry { after: delay } => format!("retry in ~{} s", delay.as_secs_f64()),
        Next::Failed if status.is_client_error() => "failed; a client error is not retried".into(),
        Next::Failed if status.is_redirection() => "failed; redirects are not followed".into(),
        Next::Failed => "failed; no attempt is left".into(),
    }
}

/// The authentication of a request, masked.
fn carried(received: &Received) -> String {
    if let Some(token) = received.header(header::AUTHORIZATION.as_str()).strip_prefix("Bearer ") {
        return format!("bearer token {}", mask(token));
    }
    let own = received.headers.iter().find(|(name, _)| !COMMON_HEADERS.contains(name));
    own.map_or_else(
        || "no secret".to_owned(),
        |(name, value)| format!("{} {}", shown(name.as_str()), mask(value.to_str().unwrap_or_default())),
    )
}

fn is_test(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Envelope {
        event: String,
    }
    serde_json::from_slice::<Envelope>(body).is_ok_and(|envelope| envelope.event == TEST_EVENT)
}

fn shown(text: &str) -> &str {
    text.get(..SHOWN_MAX).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::{HeaderMap, StatusCode};

    use super::*;

    fn received(count: u32, status: u16, after_s: u64) -> Received {
        Received {
            at: Instant::now(),
            path: "/x".to_owned(),
            headers: HeaderMap::new(),
            body: "{}".into(),
            count,
            answer: Answer { status: StatusCode::from_u16(status).unwrap(), after: Duration::from_secs(after_s) },
        }
    }

    #[test]
    fn a_line_names_the_next_step_by_the_workers_own_rule() {
        let schedule = Schedule::new(vec![Duration::from_secs(2), Duration::from_secs(4)]);
        let rules = Rules { schedule, timeout: Duration::from_secs(10) };
        for (count, status, after_s, expected) in [
            (1, 200, 0, "delivered"),
            (1, 503, 0, "retry in ~2 s"),
            (2, 503, 0, "retry in ~4 s"),
            (3, 503, 0, "failed; no attempt is left"),
            (1, 404, 0, "failed; a client error is not retried"),
            (1, 302, 0, "failed; redirects are not followed"),
            (1, 200, 12, "too late, timed out at 10 s; retry ~2 s later"),
        ] {
            assert_eq!(following(&received(count, status, after_s), &rules), expected);
        }
        let test = Received { body: r#"{"event":"webhook.test"}"#.into(), ..received(1, 503, 0) };
        assert_eq!(following(&test, &rules), "the test failed");
    }

    #[test]
    fn a_secret_is_shown_masked_with_the_name_of_its_header() {
        let mut request = received(1, 200, 0);
        request.headers.insert("webhook-id", "e1".parse().unwrap());
        assert_eq!(carried(&request), "no secret");
        request.headers.insert("x-key", "0123456789abcdef".parse().unwrap());
        assert_eq!(carried(&request), "x-key ••••cdef");
        request.headers.insert("authorization", "Bearer short".parse().unwrap());
        assert_eq!(carried(&request), "bearer token ••••");
    }
}
