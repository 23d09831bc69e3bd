//! Enqueueing over HTTP: the bytes of an envelope, its id, its trace, and batches.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::{Api, Reply};
use crate::support::*;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const EVENTS: &str = "/v1/accounts/acme/events";
const BATCH: &str = "/v1/accounts/acme/events/batch";

pub(super) fn event(api: &Api, body: impl Into<reqwest::Body>) -> RequestBuilder {
    api.request(Method::POST, EVENTS).header("content-type", "application/json").body(body)
}

async fn batch(api: &Api, query: &str, body: impl Into<reqwest::Body>) -> Reply {
    let request = api.request(Method::POST, &format!("{BATCH}{query}"));
    api.send(request.header("content-type", "application/json").body(body)).await
}

/// The fields of each entry in the queue, oldest first.
pub(super) async fn entries(here: &Installation) -> Vec<Vec<(String, String)>> {
    let entries: Vec<(String, Vec<(String, String)>)> = here.cli(&format!("XRANGE {} - +", here.key("queue"))).await;
    entries.into_iter().map(|(_, fields)| fields).collect()
}

/// A field of an entry.
pub(super) fn field<'a>(entry: &'a [(String, String)], name: &str) -> Option<&'a str> {
    entry.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
}

fn text<'a>(reply: &'a Reply, pointer: &str) -> &'a str {
    reply.json.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {reply:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_reaches_its_receiver_byte_for_byte_under_the_id_that_was_answered() {
    let receiver = Receiver::start().await;
    receiver.plan_each("/hook", |_| Answer::Status(200));
    let api = Api::start(&receiver).await;
    api.add("acme", &receiver.url("/hook")).await;
    let _worker = api.here.program.worker([]);
    let around = |data: &str, more: &str| {
        format!(
            "{{ \"event\" :\t\"transcript.created\",\r\n \"timestamp\":\"2026-03-26T14:32:00.000Z\"{more}, \"data\":{data} }}\n "
        )
    };
    let bodies = [
        TRANSCRIPT.to_owned(),
        around("{}", ""),
        around(r#"{"n": [1e400, -0, 1.0, 10000000000000000000000000000001]}"#, ""),
        around(r#"{"a":1,"a":2,"":"é漢🎈\ud800\u0000\/"}"#, r#","x":1,"x":2"#),
        envelope_of(1 << 20),
    ];
    assert_eq!(bodies[4].len(), 1 << 20);
    let mut sent = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let derived = api.send(event(&api, body.clone())).await;
        let own = api.send(event(&api, body.clone()).header("webhook-id", format!("own-{index}"))).await;
        assert_eq!((derived.status, own.status), (202, 202), "{derived:?} {own:?}");
        assert_eq!(own.json, json!({"id": format!("own-{index}")}));
        for reply in [derived, own] {
            assert_eq!(reply.header("idempotent-replayed"), None);
            sent.push((text(&reply, "/id").to_owned(), body));
        }
    }
    let requests = receiver.wait_for("/hook", sent.len(), SOON).await;
    for (id, body) in sent {
        let with_id: Vec<_> = requests.iter().filter(|request| request.header("webhook-id") == Some(&id)).collect();
        let [request] = with_id[..] else { panic!("{} requests with the id {id}", with_id.len()) };
        assert!(request.body == body.as_bytes(), "{id}: {:?}", &request.body[..100]);
    }
    let too_large = api.send(event(&api, envelope_of((1 << 20) + 1))).await;
    too_large.problem(413, "too-large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_and_an_own_id_reach_the_entry_and_a_faulty_id_is_refused() {
    let api = Api::start(&Receiver::start().await).await;
    let longest = "i".repeat(64);
    api.send(event(&api, TRANSCRIPT).header("traceparent", TRACE).header("webhook-id", &longest)).await;
    let entry = &entries(&api.here).await[0];
    assert_eq!((field(entry, "traceparent"), field(entry, "id")), (Some(TRACE), Some(&*longest)));
    for faulty in ["", "a b", "a.b", &"i".repeat(65)] {
        let reply = api.send(event(&api, TRANSCRIPT).header("webhook-id", faulty)).await;
        reply.problem(400, "malformed");
    }
    let twice = event(&api, TRANSCRIPT).header("webhook-id", "a").header("webhook-id", "b");
    api.send(twice).await.problem(400, "malformed");
    // A trace that is none is no reason to lose an event.
    let reply = api.send(event(&api, TRANSCRIPT).header("traceparent", "none")).await;
    assert_eq!(reply.status, 202);
    let entries = entries(&api.here).await;
    assert_eq!((entries.len(), field(&entries[1], "traceparent")), (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_envelope_is_refused_with_each_fault_at_its_place_and_none_is_enqueued() {
    let api = Api::start(&Receiver::start().await).await;
    for (body, status, name, places) in [
        (
            r#"{"event":"transcript.create","timestamp":5}"#,
            422,
            "invalid-envelope",
            &["#/event", "#/timestamp", "#/data"][..],
        ),
        (
            r#"{"event":"transcript.created","event":"transcript.created","timestamp":"2026-03-26T14:32:00.000Z","data":{}}"#,
            422,
            "invalid-envelope",
            &["#/event"],
        ),
        (
            r#"{"event":"webhook.test","timestamp":"2026-03-26T14:32:00.000Z","data":{}}"#,
            422,
            "invalid-envelope",
            &["#/event"],
        ),
        ("[]", 422, "invalid-envelope", &["#"]),
        ("\u{feff}{}", 422, "invalid-envelope", &["#"]),
        ("{\n  \"event\":}", 400, "malformed", &[]),
        ("{} {}", 400, "malformed", &[]),
        ("", 400, "malformed", &[]),
    ] {
        let reply = api.send(event(&api, body)).await;
        let named = reply.problem(status, name);
        assert_eq!(
            named.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            places.iter().copied().collect(),
            "{body}"
        );
    }
    let reply = api.send(event(&api, "{\n  \"event\":}")).await;
    assert!(text(&reply, "/detail").contains("line 2, column 11"), "{reply:?}");
    let reply = api
        .send(event(&api, r#"{"event":"transcript.create","timestamp":"2026-03-26T14:32:00.000Z","data":{}}"#))
        .await;
    assert!(text(&reply, "/errors/0/detail").contains("did you mean `transcript.created`?"), "{reply:?}");
    api.send(event(&api, &b"{\"event\":\"\xff\"}"[..])).await.problem(400, "malformed");
    let queried = api.request(Method::POST, &format!("{EVENTS}?skipInvalid=true")).body(TRANSCRIPT);
    assert_eq!(
        api.send(queried.header("content-type", "application/json")).await.problem(400, "invalid-query"),
        ["skipInvalid".to_owned()].into()
    );
    assert_eq!(entries(&api.here).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_only_under_its_media_type_and_without_a_coding() {
    let api = Api::start(&Receiver::start().await).await;
    for path in [EVENTS, BATCH] {
        let with = |types: &[&str]| {
            let request = api.request(Method::POST, path).body(TRANSCRIPT);
            types.iter().fold(request, |request, of| request.header("content-type", *of))
        };
        for types in [
            &[][..],
            &[""],
            &["text/plain"],
            &["application/jsonp"],
            &["text/json"],
            &["application/merge-patch+json"],
            &["application/json", "application/json"],
        ] {
            api.send(with(types)).await.problem(415, "unsupported-media-type");
        }
        api.send(with(&["application/json"]).header("content-encoding", "gzip"))
            .await
            .problem(415, "unsupported-media-type");
        for of in ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"] {
            let reply = api.send(with(&[of]).header("content-encoding", "identity")).await;
            assert_eq!(reply.status, if path == EVENTS { 202 } else { 422 }, "{of}: {reply:?}");
        }
    }
    assert_eq!(entries(&api.here).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_enqueued_whole_with_the_bytes_of_each_envelope_or_not_at_all() {
    let api = Api::start(&Receiver::start().await).await;
    let spaced = "{ \"event\":\"transcript.created\",\n\"timestamp\" : \"2026-03-26T14:32:00.000Z\",\"data\":{\"n\":1e400,\"n\":\"\\u00e9\"} }";
    let body = format!(
        "\u{feff}{{\"events\": [ {{\"id\":\"e-1\",\"envelope\":  {spaced} }},{{\"traceparent\":\"{TRACE}\",\"envelope\":{TRANSCRIPT}}}]}} "
    );
    let reply = batch(&api, "", body).await;
    assert_eq!((reply.status, text(&reply, "/items/0/id")), (202, "e-1"), "{reply:?}");
    let queued = entries(&api.here).await;
    let shown: Vec<_> =
        queued.iter().map(|entry| ["envelope", "id", "traceparent"].map(|name| field(entry, name))).collect();
    assert_eq!(shown, [[Some(spaced), Some("e-1"), None], [Some(TRANSCRIPT.trim_end()), None, Some(TRACE)]]);

    let faulty = format!(
        r#"{{"events":[{{"envelope":{TRANSCRIPT}}},{{"envelop":{TRANSCRIPT}}},{{"id":"a b","envelope":{{"event":"transcript.created","timestamp":"now","data":{{}}}},"idd":1}},7,{{"envelope":null}},{{"id":"x","id":"x","envelope":{TRANSCRIPT}}}]}}"#
    );
    let refused = batch(&api, "", faulty.clone()).await;
    let places = [
        "#/events/1/envelop",
        "#/events/1/envelope",
        "#/events/2/envelope/timestamp",
        "#/events/2/id",
        "#/events/2/idd",
        "#/events/3",
        "#/events/4/envelope",
        "#/events/5/id",
    ];
    let named = refused.problem(422, "invalid-envelope");
    assert_eq!(named, places.iter().map(|place| (*place).to_owned()).collect(), "{refused:#?}");
    let detail = |place: &str| {
        let errors = refused.json["errors"].as_array().unwrap();
        errors.iter().find(|error| error["pointer"] == place).unwrap()["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail("#/events/1/envelop").contains("did you mean `envelope`?"));
    assert!(detail("#/events/2/idd").contains("did you mean `id`?"));
    assert_eq!(entries(&api.here).await.len(), 2, "nothing of it is enqueued");

    let skipped = batch(&api, "?skipInvalid=true", faulty).await;
    assert_eq!(skipped.status, 202, "{skipped:?}");
    let items = skipped.json["items"].as_array().unwrap();
    let valid: Vec<bool> = items.iter().map(|item| item["id"].is_string()).collect();
    assert_eq!(valid, [true, false, false, false, false, false]);
    assert_eq!(items[2]["errors"][0]["pointer"].as_str().map(|at| &at[..11]), Some("#/events/2/"));
    assert_eq!(entries(&api.here).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn skipping_answers_one_result_for_each_event_in_order_and_takes_none_if_none_is_valid() {
    let api = Api::start(&Receiver::start().await).await;
    let item = |valid: bool, id: usize| {
        if valid { format!(r#"{{"id":"e{id}","envelope":{TRANSCRIPT}}}"#) } else { r#"{"envelope":[]}"#.to_owned() }
    };
    let of = |valid: &[bool]| {
        let items: Vec<_> = valid.iter().enumerate().map(|(id, valid)| item(*valid, id)).collect();
        format!(r#"{{"events":[{}]}}"#, items.join(","))
    };
    let valid = [false, true, true, false, true];
    let reply = batch(&api, "?skipInvalid=true", of(&valid)).await;
    let fault = |index| json!({"errors": [{"pointer": format!("#/events/{index}/envelope"), "detail": "the envelope is not a JSON object"}]});
    assert_eq!(reply.json, json!({"items": [fault(0), {"id": "e1"}, {"id": "e2"}, fault(3), {"id": "e4"}]}));
    let reply = batch(&api, "?skipInvalid=true", of(&[false, false])).await;
    assert_eq!((reply.status, reply.json), (202, json!({"items": [fault(0), fault(1)]})));
    let ids: Vec<_> = entries(&api.here).await.iter().map(|entry| field(entry, "id").unwrap().to_owned()).collect();
    assert_eq!(ids, ["e1", "e2", "e4"]);
    for query in ["?skipInvalid=yes", "?skipInvalid", "?skipinvalid=true", "?skipInvalid=true&skipInvalid=true"] {
        batch(&api, query, of(&valid)).await.problem(400, "invalid-query");
    }
    assert_eq!(entries(&api.here).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_bounded_by_its_events_and_its_bytes_and_its_form_is_judged() {
    let api = Api::start(&Receiver::start().await).await;
    let of = |events: usize| {
        format!(r#"{{"events":[{}]}}"#, vec![format!(r#"{{"envelope":{TRANSCRIPT}}}"#); events].join(","))
    };
    let whole = batch(&api, "", of(500)).await;
    assert_eq!((whole.status, whole.json["items"].as_array().unwrap().len()), (202, 500));
    let more = batch(&api, "", of(501)).await;
    more.problem(413, "too-large");
    assert!(text(&more, "/detail").contains("500"), "{more:?}");

    let mut full = of(2);
    full.push_str(&" ".repeat((4 << 20) - full.len()));
    assert_eq!(batch(&api, "", full.clone()).await.status, 202);
    batch(&api, "", full + " ").await.problem(413, "too-large");
    let large = format!(
        r#"{{"events":[{{"envelope":{}}},{{"envelope":{}}}]}}"#,
        envelope_of(1 << 20),
        envelope_of((1 << 20) + 1)
    );
    assert_eq!(
        batch(&api, "", large).await.problem(422, "invalid-envelope"),
        ["#/events/1/envelope".to_owned()].into()
    );

    for (body, places) in [
        ("[]", &["#"][..]),
        ("{}", &["#/events"]),
        (r#"{"events":null}"#, &["#/events"]),
        (r#"{"events":[]}"#, &["#/events"]),
        (r#"{"events":{}}"#, &["#/events"]),
        (r#"{"event":[]}"#, &["#/event", "#/events"]),
        (r#"{"events":[{}],"events":[{}]}"#, &["#/events", "#/events/0/envelope"]),
        (r#"{"event":1,"events":[{"id":"?"}]}"#, &["#/event", "#/events/0/id", "#/events/0/envelope"]),
    ] {
        for query in ["", "?skipInvalid=true"] {
            let named = batch(&api, query, body).await.problem(422, "invalid");
            assert_eq!(named, places.iter().map(|place| (*place).to_owned()).collect(), "{body}");
        }
    }
    for (body, place) in
        [("{\"events\":[\n{\"envelope\":{]}", "line 2, column 14"), ("", "line 1"), ("{}{}", "line 1, column 3")]
    {
        let reply = batch(&api, "", body).await;
        reply.problem(400, "malformed");
        assert!(text(&reply, "/detail").contains(place), "{reply:?}");
    }
    assert_eq!(entries(&api.here).await.len(), 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_events_of_a_batch_with_one_id_are_refused_because_receivers_would_drop_the_second() {
    let api = Api::start(&Receiver::start().await).await;
    let of = |id: &str| format!(r#"{{"id":"{id}","envelope":{TRANSCRIPT}}}"#);
    let body = format!(r#"{{"events":[{},{},{}]}}"#, of("a"), of("b"), of("a"));
    assert_eq!(
        batch(&api, "", body.clone()).await.problem(422, "invalid-envelope"),
        ["#/events/2/id".to_owned()].into()
    );
    let skipped = batch(&api, "?skipInvalid=true", body).await;
    assert_eq!(skipped.json["items"][1], json!({"id": "b"}));
    assert!(skipped.json["items"][2]["errors"][0]["detail"].as_str().unwrap().contains("#/events/0"), "{skipped:?}");
    assert_eq!(entries(&api.here).await.len(), 2);
    let headed =
        api.request(Method::POST, BATCH).header("webhook-id", "one").header("content-type", "application/json");
    api.send(headed.body(r#"{"events":[]}"#)).await.problem(400, "malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_faults_of_a_batch_cost_no_multiple_of_its_size() {
    let api = Api::start(&Receiver::start().await).await;
    let members = r#""":0,"#.repeat(700_000);
    let body = format!(r#"{{"events":[{{{members}"x":0}}]}}"#);
    let before = api.process.memory_kib("VmHWM");
    for _ in 0..3 {
        let skipped = batch(&api, "?skipInvalid=true", body.clone()).await;
        assert!((skipped.status, skipped.bytes.len() < 10_000) == (202, true), "{} bytes", skipped.bytes.len());
        assert!(batch(&api, "", body.clone()).await.bytes.len() < 10_000);
    }
    let grown = api.process.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < 100 << 10, "{grown} KiB more for a body of {} bytes", body.len());
}
