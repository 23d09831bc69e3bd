//! Held and failed deliveries: their bytes, redelivering in parts, discarding, deletion and purge.

use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;
use serde_json::json;

use super::support::Api;
use crate::support::*;

/// Envelopes whose bytes another serializer would change.
const ODD: [&str; 3] = [
    "{ \"data\" : {\"messageId\":\"a\\u00e9\\/b\", \"n\": 1.0e2, \"n2\": 100000000000000000001},\t\"timestamp\":\"2026-03-26T14:32:00.000Z\",\n\"event\":\"transcript.created\" }  ",
    "{\"event\":\"transcript.created\",\"timestamp\":\"2026-03-26T16:32:00+02:00\",\"data\":{\"z\":1,\"a\":[ ]},\"more\":null}",
    "{\"event\":\"transcript\\u002ecreated\",\"timestamp\":\"2026-03-26T14:32:00Z\",\"data\":{\"text\":\"\u{1f511}\u{2028}\u{7f}\"}}",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_envelopes_of_held_and_failed_deliveries_are_the_pushed_bytes() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let api = Api::start(&receiver).await;
    let _worker = api.here.program.worker([]);
    let id = api.add("acme", &receiver.url("/hook")).await;
    let path = format!("/v1/accounts/acme/webhooks/{id}");
    for stock in ["failed", "held"] {
        if stock == "held" {
            assert_eq!(api.post(&format!("{path}/disable"), &json!({})).await.status, 200);
        }
        for envelope in ODD {
            api.here.push("acme", envelope).await;
        }
        let list = format!("{path}/{stock}");
        let page = eventually(SOON, "three deliveries", async || {
            let page = api.get(&list).await.json;
            (page["total"] == 3).then_some(page)
        })
        .await;
        let items = page["items"].as_array().unwrap();
        let time = if stock == "held" { "heldAt" } else { "failedAt" };
        let mut times: Vec<&str> = items.iter().map(|item| item[time].as_str().unwrap()).collect();
        times.sort_unstable();
        assert_eq!(page["oldest"], times[0]);
        let mut envelopes = Vec::new();
        for item in items {
            let delivery = item["deliveryId"].as_str().unwrap();
            let reply = api.get(&format!("{list}/{delivery}/envelope")).await;
            assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
            assert_eq!(item["envelopeBytes"], reply.bytes.len());
            assert!(!page.to_string().contains("100000000000000000001"), "a list has no payload");
            envelopes.push(reply.text().to_owned());
        }
        envelopes.sort();
        let mut pushed = ODD.map(str::to_owned);
        pushed.sort();
        assert_eq!(envelopes, pushed, "{stock}");
        for missing in ["none", "%00", "..%2F..", &"x".repeat(500), "e.w%0Aforged"] {
            let reply = api.get(&format!("{list}/{missing}/envelope")).await;
            reply.problem(404, "no-such-delivery");
            assert!(!reply.text().contains("xxx"), "{reply:?}");
        }
    }
    let since = api.get(&format!("{path}/failed?since=2100-01-01T00:00:00Z")).await;
    assert_eq!((&since.json["items"], &since.json["total"]), (&json!([]), &json!(3)));
    for since in ["yesterday", "", "2026-03-26", "2026-03-26T14:32:00+02:00", "1774500000"] {
        let reply = api.get(&format!("{path}/failed?since={since}")).await;
        assert_eq!(reply.problem(400, "invalid-query"), ["since".to_owned()].into(), "{since}");
        assert!(reply.text().contains("must be a time such as"), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivering_takes_exactly_one_choice() {
    let api = Api::start(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/").await;
    let webhook: WebhookId = id.parse().unwrap();
    let path = format!("/v1/accounts/acme/webhooks/{id}/failed/redeliver");
    for number in 1..=4_u32 {
        api.here
            .fail(
                webhook,
                &format!("{}-0", 1_774_500_000_000_u64 + 1000 * u64::from(number)),
                &format!("f{number}"),
                TRANSCRIPT,
            )
            .await;
    }
    let time = "2026-03-26T04:40:03Z";
    for (body, place) in [
        (json!({}), "#"),
        (json!({"all": false}), "#"),
        (json!({"all": true, "since": time}), "#"),
        (json!({"all": true, "delivery": "x"}), "#"),
        (json!({"delivery": "x", "since": time}), "#"),
        (json!({"delivery": null, "since": null, "all": null}), "#"),
        (json!({"all": "true"}), "#/all"),
        (json!({"delivery": 5}), "#/delivery"),
        (json!({"since": "yesterday"}), "#/since"),
        (json!({"all": true, "until": "5-0"}), "#/until"),
        (json!({"all": true, "until": "c1eA"}), "#/until"),
        (json!({"all": true, "untill": "x"}), "#/untill"),
        (json!([]), "#"),
    ] {
        let places = api.post(&path, &body).await.problem(422, "invalid");
        assert!(places.contains(place), "{body}: {places:?}");
    }
    let nothing = json!({"delivery": format!("f9.{id}")});
    api.post(&path, &nothing).await.problem(404, "no-such-delivery");
    let one = json!({"delivery": format!("f2.{id}")});
    assert_eq!(api.post(&path, &one).await.json, json!({"redelivered": 1, "more": false}));
    api.post(&path, &one).await.problem(404, "no-such-delivery");
    assert_eq!(api.post(&path, &json!({"since": time})).await.json, json!({"redelivered": 2, "more": false}));
    assert_eq!(api.post(&path, &json!({"all": true})).await.json, json!({"redelivered": 1, "more": false}));
    assert_eq!(api.post(&path, &json!({"all": true})).await.json, json!({"redelivered": 0, "more": false}));
    let queued: u64 = api.here.redis.clone().xlen(api.here.key("queue")).await.unwrap();
    assert_eq!(queued, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivering_all_takes_1000_a_call_and_ends_although_all_fail_again() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_FAILED__LIMIT", "5000").await;
    let api = Api::of(here, []).await;
    let id = api.add("acme", &receiver.url("/hook")).await;
    let webhook: WebhookId = id.parse().unwrap();
    let path = format!("/v1/accounts/acme/webhooks/{id}/failed");
    for number in 1..=1070_u32 {
        api.here.fail(webhook, &format!("{number}-0"), &format!("f{number}"), TRANSCRIPT).await;
    }
    let first = api.post(&format!("{path}/redeliver"), &json!({"all": true})).await;
    assert_eq!((&first.json["redelivered"], &first.json["more"]), (&json!(1000), &json!(true)), "{first:?}");
    // All of these fail again before the series goes on.
    let _worker = api.here.program.worker([]);
    receiver.wait_for("/hook", 1000, SOON).await;
    api.here.drained().await;
    assert_eq!(api.get(&path).await.json["total"], 1070);
    let rest = api.post(&format!("{path}/redeliver"), &json!({"all": true, "until": first.json["until"]})).await;
    assert_eq!(rest.json, json!({"redelivered": 70, "more": false}));
    receiver.wait_for("/hook", 1070, SOON).await;
    api.here.drained().await;
    assert!(receiver.arrivals("/hook").values().all(|&times| times == 1), "each was sent again once");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deliveries_are_discarded_on_demand_and_a_deletion_counts_what_it_drops() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let api = Api::start(&receiver).await;
    let _worker = api.here.program.worker([]);
    let id = api.add("acme", &receiver.url("/hook")).await;
    let path = format!("/v1/accounts/acme/webhooks/{id}");
    let held = async |count: u64| {
        let disabled = api.post(&format!("{path}/disable"), &json!({})).await;
        assert_eq!((disabled.status, &disabled.json["active"]), (200, &json!(false)));
        for _ in 0..count {
            api.here.push("acme", TRANSCRIPT).await;
        }
        let list = format!("{path}/held");
        eventually(SOON, "held deliveries", async || (api.get(&list).await.json["total"] == count).then_some(())).await;
    };
    held(3).await;
    for body in [json!({"discardHeld": "yes"}), json!({"discard": true}), json!([]), json!({"discardHeld": 1})] {
        assert_eq!(api.post(&format!("{path}/enable"), &body).await.problem(422, "invalid").len(), 1);
    }
    let enabled = api.post(&format!("{path}/enable"), &json!({"discardHeld": true})).await;
    assert_eq!((&enabled.json["heldDiscarded"], &enabled.json["active"]), (&json!(3), &json!(true)));
    held(2).await;
    let enabled = api.post(&format!("{path}/enable"), &json!({})).await;
    assert!(enabled.json["heldDiscarded"].is_null(), "{enabled:?}");
    receiver.wait_for("/hook", 2, SOON).await;
    api.here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 2, "the three that were discarded are never sent");
    held(4).await;
    let webhook = id.parse().unwrap();
    api.here.fail(webhook, "1-0", "f1", TRANSCRIPT).await;
    let deleted = api.delete(&path).await;
    assert_eq!(deleted.json["dropped"], json!({"held": 4, "failed": 1}));
    assert_eq!(api.here.keys_with(webhook).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_all_of_an_account_even_what_cannot_be_read_and_nothing_of_another() {
    let api = Api::start(&Receiver::start().await).await;
    let mut own = [api.add("acme", "https://example.com/1").await, api.add("acme", "https://example.com/2").await];
    let other = api.add("globex", "https://example.com/3").await;
    let mut redis = api.here.redis.clone();
    let _: () = redis.hset(api.here.key("webhooks:acme"), &own[1], "rubbish").await.unwrap();
    for (number, id) in own.iter().enumerate() {
        api.here.fail(id.parse().unwrap(), "1-0", &format!("f{number}"), TRANSCRIPT).await;
    }
    let session = json!({"kind": "session", "access": "read", "payloads": false, "until": 9_999_999_999_999_u64});
    for account in ["acme", "globex"] {
        let key = api.here.key(&format!("portal:{account}"));
        let _: () = redis.hset(key, "a".repeat(64), session.to_string()).await.unwrap();
    }
    api.send(api.request(reqwest::Method::DELETE, "/v1/accounts/acme?dryRun=true")).await.problem(400, "invalid-query");
    let mut purged = api.delete("/v1/accounts/acme").await;
    assert_eq!(purged.status, 200);
    let ids = purged.json["webhooks"].as_array_mut().unwrap();
    ids.sort_by_key(ToString::to_string);
    own.sort();
    assert_eq!(purged.json, json!({"account": "acme", "webhooks": own, "dropped": {"held": 0, "failed": 2}}));
    let left: Vec<String> = redis.keys(format!("{}*acme*", api.here.prefix)).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(api.get("/v1/accounts/globex/webhooks").await.json["items"][0]["id"], json!(other));
    let living: bool = redis.exists(api.here.key("portal:globex")).await.unwrap();
    assert!(living);
    assert_eq!(api.delete("/v1/accounts/acme").await.json["webhooks"], json!([]), "again, it finds nothing");
    let told = || api.process.stderr().matches("\"changed\":\"account purged\"").count();
    eventually(SOON, "a line for each purge", async || (told() == 2).then_some(())).await;
}
