//! A request with an Idempotency-Key adds its events once: repeated in turn and at once, at several servers, with Redis
//! full, gone or silent, and after a crash between the script and the answer.

use std::collections::HashSet;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    events::{entries, event, field},
    support::{Api, Reply, serve},
};
use crate::{accept::losing_answers, support::*};

const KEY: &str = "idempotency-key";

fn keyed(api: &Api, key: &str) -> RequestBuilder {
    event(api, TRANSCRIPT).header(KEY, key)
}

fn is_replay(reply: &Reply) -> bool {
    assert_eq!(reply.status, 202, "{reply:?}");
    let replayed = reply.header("idempotent-replayed");
    assert!([None, Some("true")].contains(&replayed), "{reply:?}");
    replayed.is_some()
}

/// The installation's data with each content; without the day of a key's last use, which is written at its own time.
async fn dump(here: &Installation) -> Vec<(String, Option<Vec<u8>>)> {
    let mut keys: Vec<String> = here.cli(&format!("KEYS {}:*", here.prefix)).await;
    keys.retain(|key| !key.ends_with("apikeys}:used"));
    keys.sort();
    let mut dump = Vec::new();
    for key in keys {
        dump.push((key.clone(), here.cli(&format!("DUMP {key}")).await));
    }
    dump
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_gets_the_same_answer_and_another_request_under_its_key_is_refused() {
    let api = Api::start(&Receiver::start().await).await;
    let batch = |body: &str| {
        let request = api.request(Method::POST, "/v1/accounts/acme/events/batch").header(KEY, "b");
        request.header("content-type", "application/json").body(body.to_owned())
    };
    let body = format!(r#"{{"events":[{{"envelope":{TRANSCRIPT}}},{{"id":"own","envelope":{TRANSCRIPT}}}]}}"#);
    for (count, request) in [(1, keyed(&api, "k")), (3, batch(&body))] {
        let first = api.send(request.try_clone().unwrap()).await;
        let again = api.send(request).await;
        assert_eq!((is_replay(&first), is_replay(&again)), (false, true));
        assert_eq!(first.bytes, again.bytes);
        assert_eq!(entries(&api.here).await.len(), count);
    }
    let single = api.send(keyed(&api, "k")).await;
    let queued = entries(&api.here).await;
    assert_eq!(field(&queued[0], "id"), single.json["id"].as_str());
    for other in [
        event(&api, format!("{TRANSCRIPT} ")).header(KEY, "k"),
        keyed(&api, "k").header("webhook-id", "own"),
        batch(&format!("{body} ")),
    ] {
        api.send(other).await.problem(422, "idempotency-key-reused");
    }
    assert_eq!(entries(&api.here).await.len(), 3);
    // Keys belong to accounts, and other routes ignore them.
    let other = api.request(Method::POST, "/v1/accounts/other/events").header("content-type", "application/json");
    assert!(!is_replay(&api.send(other.header(KEY, "k").body(TRANSCRIPT)).await));
    assert_eq!(api.send(api.request(Method::GET, "/v1/key").header(KEY, "")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_1_to_255_visible_characters_and_is_the_same_with_and_without_quotes() {
    let api = Api::start(&Receiver::start().await).await;
    assert!(!is_replay(&api.send(keyed(&api, "8e03978e-40d5")).await));
    assert!(is_replay(&api.send(keyed(&api, "\"8e03978e-40d5\"")).await));
    let longest = "k".repeat(255);
    assert!(!is_replay(&api.send(keyed(&api, &longest)).await));
    assert!(is_replay(&api.send(keyed(&api, &format!("\"{longest}\""))).await));
    for faulty in ["", "\"\"", "a b", "\"open", "kä", &"k".repeat(256)] {
        api.send(keyed(&api, faulty)).await.problem(400, "invalid-idempotency-key");
    }
    api.send(keyed(&api, "a").header(KEY, "a")).await.problem(400, "invalid-idempotency-key");
    assert_eq!(entries(&api.here).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_repetitions_at_once_add_one_entry_also_at_two_servers() {
    let receiver = Receiver::start().await;
    let api = Api::start(&receiver).await;
    let (_second, address) = serve(&api.here.program, &[]).await;
    for (round, addresses) in [[&api.address, &api.address], [&api.address, &address]].into_iter().enumerate() {
        let mut sending = JoinSet::new();
        for number in 0..100 {
            let url = format!("http://{}/v1/accounts/acme/events", addresses[number % 2]);
            let request = api.client.post(url).bearer_auth(&api.admin).header(KEY, format!("round-{round}"));
            let request = request.header("content-type", "application/json").body(TRANSCRIPT);
            sending.spawn(async move {
                let reply = request.send().await.unwrap();
                assert_eq!(reply.status(), 202);
                (reply.headers().contains_key("idempotent-replayed"), reply.text().await.unwrap())
            });
        }
        let replies = sending.join_all().await;
        assert_eq!(replies.iter().filter(|(replayed, _)| !replayed).count(), 1);
        assert_eq!(replies.iter().map(|(_, body)| body).collect::<HashSet<_>>().len(), 1);
        assert_eq!(entries(&api.here).await.len(), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_takes_nothing_and_the_request_can_be_repeated_under_its_key() {
    let redis = RedisServer::start(AppendFsync::No);
    let api = Api::of(Installation::on(&redis, &Receiver::start().await).await, []).await;
    let first = api.send(keyed(&api, "first")).await;
    let before = dump(&api.here).await;
    let _: () = api.here.cli("CONFIG SET maxmemory 1").await;
    let events = vec![format!(r#"{{"envelope":{TRANSCRIPT}}}"#); 10].join(",");
    let batch = |keyed: bool| {
        let request = api.request(Method::POST, "/v1/accounts/acme/events/batch");
        let request = if keyed { request.header(KEY, "batch") } else { request };
        request.header("content-type", "application/json").body(format!(r#"{{"events":[{events}]}}"#))
    };
    for request in [keyed(&api, "second"), event(&api, TRANSCRIPT), batch(true), batch(false)] {
        let reply = api.send(request).await;
        reply.problem(503, "store-full");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    let again = api.send(keyed(&api, "first")).await;
    assert_eq!((is_replay(&again), again.bytes), (true, first.bytes), "a repetition needs no room");
    assert_eq!(dump(&api.here).await, before);
    let _: () = api.here.cli("CONFIG SET maxmemory 0").await;
    assert!(!is_replay(&api.send(keyed(&api, "second")).await), "a refused request leaves no key");
    assert!(!is_replay(&api.send(batch(true)).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_redis_refuses_for_certain_and_lets_nobody_in() {
    let mut redis = RedisServer::start(AppendFsync::Always);
    let api = Api::of(Installation::on(&redis, &Receiver::start().await).await, []).await;
    assert!(!is_replay(&api.send(keyed(&api, "first")).await));
    redis.kill9();
    // A connection that answered just now may take one more request, and then its outcome is unknown.
    let refused = eventually(SOON, "a certain refusal", async || {
        let reply = api.send(keyed(&api, "second")).await;
        assert_eq!(reply.status, 503);
        (reply.json["type"] == "/problems/store-unreachable").then_some(reply)
    })
    .await;
    refused.problem(503, "store-unreachable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let unknown = api.bare(Method::GET, "/v1/key").bearer_auth(api.admin.replace("lynk_", "lynk_x"));
    assert!([401, 503].contains(&api.send(unknown).await.status), "nobody is let in");
    redis.restart();
    let second = eventually(SOON, "an accepted event", async || {
        let reply = api.send(keyed(&api, "second")).await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    assert!(!is_replay(&second), "what was refused for certain was not done");
}

#[tokio::test(flavor = "multi_thread")]
async fn if_redis_takes_a_request_and_its_answer_is_lost_the_outcome_is_unknown_and_a_repetition_settles_it() {
    let receiver = Receiver::start().await;
    for (losses, is_keyed) in [(1, false), (1, true), (2, true)] {
        let here = Installation::new(&receiver).await;
        let proxy = losing_answers(RedisServer::shared().port(), losses, "lost-1").await;
        let api = Api::of(here, [("LYNKHOOK_REDIS__URL", &*format!("redis://127.0.0.1:{proxy}/"))]).await;
        let send = async || {
            let request = event(&api, TRANSCRIPT).header("webhook-id", "lost-1");
            api.send(if is_keyed { request.header(KEY, "k") } else { request }).await
        };
        let reply = send().await;
        if losses == 1 && is_keyed {
            assert!(is_replay(&reply), "the server asks once more by itself");
        } else {
            reply.problem(503, "outcome-unknown");
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        assert_eq!(entries(&api.here).await.len(), 1);
        let again = send().await;
        assert_eq!((is_replay(&again), &again.json), (is_keyed, &json!({"id": "lost-1"})));
        // Without a key there is a second entry, and receivers tell it by its id.
        assert_eq!(entries(&api.here).await.len(), if is_keyed { 1 } else { 2 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_between_script_and_answer_enqueued_once_and_another_answers_the_repetition() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut api = Api::of(here, [("LYNKHOOK_FAILPOINT", "after-accept")]).await;
    keyed(&api, "k").send().await.unwrap_err();
    assert_eq!(api.process.wait().await, None, "a signal ended it");
    let enqueued = entries(&api.here).await;
    assert_eq!(enqueued.len(), 1);
    (api.process, api.address) = serve(&api.here.program, &[]).await;
    let again = api.send(keyed(&api, "k")).await;
    assert!(is_replay(&again));
    assert_eq!(again.json, json!({"id": field(&enqueued[0], "id")}));
    assert_eq!(entries(&api.here).await, enqueued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_which_no_event_is_valid_has_its_key_too_and_one_of_which_others_are_taken_is_another_request() {
    const TYPES: &str =
        "[event.types.\"new.type\"]\ndescription = \"d\"\n[event.types.\"transcript.created\"]\ndescription = \"d\"\n";
    let receiver = Receiver::start().await;
    let old = Api::start(&receiver).await;
    let send = |api: &Api, key: &str, body: String| {
        let path = "/v1/accounts/acme/events/batch?skipInvalid=true";
        let request = api.request(Method::POST, path).header("idempotency-key", key);
        request.header("content-type", "application/json").body(body)
    };
    let of = |event: &str| format!(r#"{{"envelope":{}}}"#, TRANSCRIPT.replace("transcript.created", event));
    let none = format!(r#"{{"events":[{}]}}"#, of("new.type"));
    assert_eq!(old.send(send(&old, "none", none.clone())).await.status, 202);
    assert!(is_replay(&old.send(send(&old, "none", none)).await));
    let other = format!(r#"{{"events":[{}]}}"#, of("transcript.created"));
    old.send(send(&old, "none", other)).await.problem(422, "idempotency-key-reused");

    let some = format!(r#"{{"events":[{},{}]}}"#, of("new.type"), of("transcript.created"));
    let first = old.send(send(&old, "some", some.clone())).await;
    assert!(first.json["items"][1]["id"].as_str().unwrap().ends_with("-1"), "{first:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, TYPES).unwrap();
    // A server of a later version knows the first event's type as well.
    let (_process, address) = serve(&old.here.program, &[("LYNKHOOK_CONFIG", file.path().to_str().unwrap())]).await;
    let url = format!("http://{address}/v1/accounts/acme/events/batch?skipInvalid=true");
    let request = old.client.post(url).bearer_auth(&old.admin).header("idempotency-key", "some");
    let later = old.send(request.header("content-type", "application/json").body(some)).await;
    later.problem(422, "idempotency-key-reused");
    assert_eq!(entries(&old.here).await.len(), 1, "the first event was refused both times, and its sender was told");
}
