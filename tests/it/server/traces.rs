//! A trace context that came over HTTP goes with its event to the log line of its attempt and to the receiver.

use serde_json::{Value, json};

use super::{
    events::event,
    support::{Api, with_json},
};
use crate::{
    support::*,
    watch::traces::{logged, received, telling_worker},
};

const BATCH: &str = "/v1/accounts/acme/events/batch";

/// A trace context that differs by this number.
fn trace(number: u8) -> String {
    format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033{number:02x}-01")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_a_request_or_of_an_event_in_a_batch_is_kept_and_a_repetition_changes_nothing() {
    for is_sent in [false, true] {
        let receiver = Receiver::start().await;
        receiver.plan_each("/hook", |_| Answer::Status(200));
        let api = Api::start(&receiver).await;
        api.add("acme", &receiver.url("/hook")).await;
        let worker = telling_worker(&api.here, is_sent);
        let single = || event(&api, TRANSCRIPT);
        let keyed = |number| single().header("idempotency-key", "k").header("traceparent", trace(number));
        let envelope: Value = serde_json::from_str(TRANSCRIPT).unwrap();
        let events = [Some(trace(5)), Some("none".to_owned()), None]
            .map(|trace| json!({"envelope": envelope, "traceparent": trace}));
        // A batch's own header is no event's.
        let batch = with_json(api.request(reqwest::Method::POST, BATCH), &json!({"events": events}));
        let mut sent = 0;
        for (request, expected) in [
            (single().header("traceparent", trace(1)), vec![Some(trace(1))]),
            (single().header("traceparent", "none"), vec![None]),
            (single().header("traceparent", &b"00-\xff"[..]), vec![None]),
            (single().header("traceparent", trace(2)).header("traceparent", trace(2)), vec![None]),
            (keyed(3), vec![Some(trace(3))]),
            (keyed(4), vec![]),
            (batch.header("traceparent", trace(6)), vec![Some(trace(5)), None, None]),
        ] {
            assert_eq!(api.send(request).await.status, 202);
            sent += expected.len();
            receiver.wait_for("/hook", sent, SOON).await;
            api.here.drained().await;
            let lines = logged(&worker, "attempt", sent).await;
            let mut last: Vec<Option<&str>> = lines[sent - expected.len()..].iter().map(Value::as_str).collect();
            let mut headers = received(&receiver, "/hook").split_off(sent - expected.len());
            // The events of a batch are delivered side by side.
            last.sort();
            headers.sort();
            let mut expected = expected;
            expected.sort();
            assert_eq!(last, expected.iter().map(Option::as_deref).collect::<Vec<_>>());
            assert_eq!(headers, if is_sent { expected } else { vec![None; expected.len()] });
        }
        assert_eq!(receiver.requests("/hook").len(), sent);
    }
}
