//! The life of a webhook: judged, added, read, edited, switched, deleted.

use redis::AsyncCommands;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::{Api, Reply, with_json};
use crate::support::Receiver;

/// A secret in places where it does not belong. No answer may quote it.
const SECRET: &str = "s3cr3t-in-the-wrong-place";
pub(super) const LIST: &str = "/v1/accounts/acme/webhooks";

/// A merge patch.
pub(super) async fn patch(api: &Api, path: &str, body: &Value) -> Reply {
    api.send(patch_of(api, path, body)).await
}

pub(super) fn patch_of(api: &Api, path: &str, body: &Value) -> RequestBuilder {
    let request = api.request(Method::PATCH, path).header("content-type", "application/merge-patch+json");
    request.body(body.to_string())
}

/// The places of the faults, each with its words.
fn faults(reply: &Reply) -> Vec<(String, String)> {
    reply.problem(422, "invalid");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = reply.json["errors"].as_array().unwrap();
    errors.iter().map(|error| (text(&error["pointer"]), text(&error["detail"]))).collect()
}

#[track_caller]
fn assert_faults(reply: &Reply, expected: &[(&str, &str)]) {
    let mut found = faults(reply);
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((pointer, detail), (at, words)) in found.iter().zip(expected) {
        assert!(pointer == at && detail.contains(words), "{pointer}: {detail}, not {at}: {words}");
    }
    assert!(!reply.text().contains(SECRET), "{}", reply.text());
}

/// Webhooks with faults, and the places of the faults with words about each.
fn faulty() -> Vec<(Value, Vec<(&'static str, &'static str)>)> {
    let url = "https://example.com/in";
    let is_needed = ("#/url", "is needed");
    vec![
        (json!({}), vec![is_needed]),
        (json!([SECRET]), vec![("#", "must be an object")]),
        (json!({"url": null}), vec![is_needed]),
        (
            json!({"url": [SECRET], "events": SECRET, "description": 5, "active": 1}),
            vec![
                ("#/url", "must be a string"),
                ("#/events", "must be an array of strings"),
                ("#/description", "must be a string"),
                ("#/active", "must be true or false"),
            ],
        ),
        (json!({"url": url, "events": []}), vec![("#/events", "at least one event type")]),
        (json!({"url": url, "events": ["transcript.created", 5]}), vec![("#/events", "must be an array of strings")]),
        (json!({"url": SECRET}), vec![("#/url", "must begin with https://")]),
        (json!({"url": url, "description": format!("{SECRET}\u{7}")}), vec![("#/description", "control characters")]),
        (json!({"url": url, "authentication": SECRET}), vec![("#/authentication", "must be an object")]),
        (json!({"url": url, "authentication": {}}), vec![("#/authentication/type", "`none`, `bearer` or `header`")]),
        (
            json!({"url": url, "authentication": {"type": SECRET, "token": SECRET}}),
            vec![("#/authentication/type", "`none`, `bearer` or `header`")],
        ),
        (json!({"url": url, "authentication": {"type": 5}}), vec![("#/authentication/type", "must be a string")]),
        (
            json!({"url": url, "authentication": {"type": "bearer", "tokn": SECRET}}),
            vec![("#/authentication/token", "is needed"), ("#/authentication/tokn", "did you mean `token`?")],
        ),
        (
            json!({"url": url, "authentication": {"type": "none", "token": SECRET}}),
            vec![("#/authentication/token", "there is no such member")],
        ),
        (
            json!({"url": url, "authentication": {"type": "header", "value": SECRET}}),
            vec![("#/authentication/name", "is needed")],
        ),
        (
            json!({"url": url, "authentication": {"type": "bearer", "token": format!("{SECRET}\n")}}),
            vec![("#/authentication/token", "token")],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_new_webhook_is_named_at_once_in_words_and_no_secret_is_quoted() {
    let api = Api::start(&Receiver::start().await).await;
    let all = json!({
        "url": format!("http://example.com/{SECRET}"), "events": ["transcript.create", SECRET],
        "authentication": {"type": "header", "name": "Cookie", "value": ""}, "description": "x".repeat(201),
        "active": SECRET, "urls": SECRET, "descripton": SECRET, "zzz": SECRET,
    });
    for path in [LIST.to_owned(), format!("{LIST}?dryRun=true")] {
        let reply = api.post(&path, &all).await;
        assert_faults(
            &reply,
            &[
                ("#/url", "must begin with https://"),
                ("#/events/0", "did you mean `transcript.created`?"),
                ("#/events/1", "not in the catalogue; it has: "),
                ("#/authentication/name", "cookie is reserved"),
                ("#/authentication/value", "the header value is empty"),
                ("#/description", "longer than 200 characters"),
                ("#/active", "must be true or false"),
                ("#/urls", "did you mean `url`?"),
                ("#/descripton", "did you mean `description`?"),
                ("#/zzz", "there are: url, events, authentication, description, active"),
            ],
        );
    }
    for (body, expected) in faulty() {
        assert_faults(&api.post(LIST, &body).await, &expected);
    }
    let url = "https://example.com/in";
    let twice = format!(r#"{{"url": "{url}", "url": "{SECRET}"}}"#);
    let request = api.request(Method::POST, LIST).header("content-type", "application/json").body(twice);
    assert_faults(&api.send(request).await, &[("#/url", "more than once")]);
    for (body, detail) in [("", "column"), ("{\n \"url\": }", "line 2, column 9"), (SECRET, "line 1, column 1")] {
        let request = api.request(Method::POST, LIST).header("content-type", "application/json").body(body);
        let reply = api.send(request).await;
        reply.problem(400, "malformed");
        assert!(reply.json["detail"].as_str().unwrap().contains(detail) && !reply.text().contains(SECRET), "{reply:?}");
    }
    let reply = api.send(api.request(Method::POST, LIST).body(json!({"url": url}).to_string())).await;
    reply.problem(415, "unsupported-media-type");
    assert_eq!(api.get(LIST).await.json, json!({"items": [], "next": null}), "nothing was added");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_only_so_many_faults_and_a_huge_name_costs_little() {
    let api = Api::start(&Receiver::start().await).await;
    let many = json!({"url": "https://example.com/", "events": vec![""; 200_000]});
    let reply = api.post(LIST, &many).await;
    assert_eq!(reply.problem(422, "invalid").len(), 500);
    assert!(reply.json["detail"].as_str().unwrap().starts_with("more than 500 places"), "{}", reply.json["detail"]);
    assert!(reply.bytes.len() < 100_000, "{}", reply.bytes.len());
    // Many of both kinds.
    let members: serde_json::Map<String, Value> = (0..40_000).map(|number| (format!("m{number}"), json!(1))).collect();
    let mut both = json!({"url": "https://example.com/", "events": vec![""; 100_000]});
    both.as_object_mut().unwrap().extend(members);
    let began = std::time::Instant::now();
    assert_eq!(api.post(LIST, &both).await.problem(422, "invalid").len(), 500);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    let before = api.process.memory_kib("VmHWM");
    let huge = "u".repeat(900 << 10);
    let reply = api.post(LIST, &json!({"url": "https://example.com/", &huge: 1})).await;
    assert_eq!(reply.problem(422, "invalid"), [format!("#/{}", &huge[..64])].into());
    let grown = api.process.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < 20 << 10, "the server grew by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_judges_as_adding_does_names_the_limit_and_saves_nothing() {
    let api = Api::start(&Receiver::start().await).await;
    let good = json!({
        "url": "HTTPS://Example.com/in", "events": ["transcript.created", "transcript.created"],
        "authentication": {"type": "bearer", "token": SECRET}, "description": "CRM", "active": false,
    });
    let judged = api.post(&format!("{LIST}?dryRun=true"), &good).await;
    assert_eq!(judged.status, 200, "{judged:?}");
    let expected = json!({
        "account": "acme", "url": "https://example.com/in", "events": ["transcript.created"],
        "authentication": {"type": "bearer", "token": "••••lace"}, "description": "CRM", "active": false,
    });
    assert_eq!(judged.json, expected);
    let keys: Vec<String> = api.here.redis.clone().keys(format!("{}:*webhooks*", api.here.prefix)).await.unwrap();
    assert!(keys.is_empty(), "{keys:?}");
    for (value, status) in [("false", 201), ("false", 201)] {
        assert_eq!(api.post(&format!("{LIST}?dryRun={value}"), &good).await.status, status);
    }
    let refused = [api.post(LIST, &good).await, api.post(&format!("{LIST}?dryRun=true"), &good).await];
    for reply in &refused {
        reply.problem(409, "webhook-limit");
        assert_eq!(reply.json["detail"], "account acme already has 2 webhooks, which is the limit; delete one first");
    }
    let faulty = api.post(&format!("{LIST}?dryRun=true"), &json!({"url": "x"})).await;
    assert_faults(&faulty, &[("#/url", "must begin with https://")]);
    for query in ["dryRun=yes", "dryRun=", "dryrun=true", "dryRun=true&dryRun=true"] {
        let places = api.post(&format!("{LIST}?{query}"), &good).await.problem(400, "invalid-query");
        assert_eq!(places.len(), 1, "{query}: {places:?}");
    }
    assert_eq!(api.get(LIST).await.json["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_lives_from_its_addition_to_its_deletion_and_each_change_writes_one_line() {
    let api = Api::start(&Receiver::start().await).await;
    let key = api.key(&["--scope", "webhooks:write", "--account", "acme"]).await;
    let by_key = |request: RequestBuilder| request.bearer_auth(&key);
    let new = json!({
        "url": "https://example.com/in?x=1", "authentication": {"type": "header", "name": "X-Key", "value": SECRET},
    });
    let added = api.send(by_key(with_json(api.bare(Method::POST, LIST), &new))).await;
    assert_eq!((added.status, added.header("etag")), (201, Some("\"1\"")), "{added:?}");
    let path = added.header("location").unwrap().to_owned();
    let id = added.json["id"].as_str().unwrap().to_owned();
    assert_eq!(path, format!("{LIST}/{id}"));
    assert_eq!(added.json["authentication"], json!({"type": "header", "name": "X-Key", "value": "••••lace"}));
    assert_eq!((&added.json["active"], &added.json["description"]), (&json!(true), &json!("")));
    assert_eq!(api.get(&path).await.json, added.json);

    let edited = api
        .send(
            by_key(api.bare(Method::PATCH, &path).header("content-type", "application/json"))
                .body(r#"{"description": "CRM", "url": "https://example.com/other"}"#),
        )
        .await;
    assert_eq!((edited.status, edited.header("etag")), (200, Some("\"2\"")), "{edited:?}");
    assert_eq!(edited.json["authentication"], added.json["authentication"], "what is absent stays");
    let off = api.send(by_key(api.bare(Method::POST, &format!("{path}/disable")))).await;
    assert_eq!((off.status, &off.json["active"], off.header("etag")), (200, &json!(false), Some("\"3\"")));
    let on = api.send(by_key(with_json(api.bare(Method::POST, &format!("{path}/enable")), &json!({})))).await;
    assert_eq!((on.status, &on.json["active"], on.header("etag")), (200, &json!(true), Some("\"4\"")));
    assert!(on.json["heldDiscarded"].is_null());
    let deleted = api.send(by_key(api.bare(Method::DELETE, &path))).await;
    assert_eq!(deleted.json, json!({"account": "acme", "id": id, "dropped": {"held": 0, "failed": 0}}));
    for (path, method, _) in api.operations().into_iter().filter(|(path, ..)| path.contains("{id}")) {
        let path = path.replace("{account}", "acme").replace("{id}", &id).replace("{delivery}", "x");
        let body = if path.ends_with("/redeliver") { json!({"all": true}) } else { json!({}) };
        let mut request = api.request(method.clone(), &path);
        if [Method::POST, Method::PATCH].contains(&method) {
            request = with_json(request, &body);
        }
        api.send(request).await.problem(404, "no-such-webhook");
    }
    api.get(&format!("{LIST}/{SECRET}")).await.problem(404, "no-such-webhook");

    // One line for each change: who, what, and which fields, without their values.
    api.process.wait_for_line("webhook deleted").await;
    let log = api.process.stderr();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let changes: Vec<_> = lines.iter().filter(|line| line["of"] == *id).collect();
    let of = |line: &Value| (line["changed"].as_str().unwrap().to_owned(), line["fields"].as_str().unwrap().to_owned());
    let told: Vec<_> = changes.iter().map(|line| of(line)).collect();
    let expected = [
        ("webhook added", "url events authentication description active"),
        ("webhook edited", "url description"),
        ("webhook disabled", "active"),
        ("webhook enabled", "active"),
        ("webhook deleted", ""),
    ];
    assert_eq!(told, expected.map(|(what, fields)| (what.to_owned(), fields.to_owned())), "{log}");
    assert!(changes.iter().all(|line| line["key"] == key[5..17] && line["account"] == "acme"), "{log}");
    for value in [SECRET, "example.com", "CRM", "X-Key", &key[18..]] {
        assert!(!log.contains(value), "{value} is in the log: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_removes_with_null_replaces_authentication_whole_and_names_all_faults() {
    let api = Api::start(&Receiver::start().await).await;
    let new = json!({
        "url": "https://example.com/in", "description": "CRM", "authentication": {"type": "bearer", "token": SECRET},
    });
    let added = api.post(LIST, &new).await;
    let path = format!("{LIST}/{}", added.json["id"].as_str().unwrap());
    for (body, expected) in [
        (
            json!({"url": null, "events": null, "active": null}),
            vec![("#/url", "cannot be removed"), ("#/events", "cannot be removed"), ("#/active", "cannot be removed")],
        ),
        (
            json!({"url": 1, "events": SECRET, "active": 0, "description": [], "authentication": SECRET}),
            vec![
                ("#/url", "must be a string"),
                ("#/events", "must be an array of strings"),
                ("#/active", "must be true or false"),
                ("#/description", "must be a string"),
                ("#/authentication", "must be an object"),
            ],
        ),
        (
            json!({"url": "https://localhost./", "events": [SECRET], "active": null, "revision": 1, "id": "x"}),
            vec![
                ("#/url", ""),
                ("#/events/0", "not in the catalogue"),
                ("#/active", "cannot be removed"),
                ("#/revision", "there is no such member"),
                ("#/id", "there is no such member"),
            ],
        ),
        (json!({"authentication": {"type": "bearer"}}), vec![("#/authentication/token", "is needed")]),
        (json!({"authentication": {"token": SECRET}}), vec![("#/authentication/type", "`none`, `bearer` or `header`")]),
        (json!([]), vec![("#", "must be an object")]),
        (json!(null), vec![("#", "must be an object")]),
    ] {
        assert_faults(&patch(&api, &path, &body).await, &expected);
    }
    let wrong_type = api.request(Method::PATCH, &path).header("content-type", "application/json-patch+json");
    api.send(wrong_type.body("[]")).await.problem(415, "unsupported-media-type");
    assert_eq!(api.get(&path).await.json, added.json, "nothing was changed");

    let bare = patch(&api, &path, &json!({"authentication": null, "description": null})).await;
    assert_eq!((&bare.json["authentication"], &bare.json["description"]), (&json!({"type": "none"}), &json!("")));
    let header = json!({"type": "header", "name": "X-Key", "value": "short"});
    let changed = patch(&api, &path, &json!({"authentication": header})).await;
    assert_eq!(changed.json["authentication"], json!({"type": "header", "name": "X-Key", "value": "••••"}));
    let none = patch(&api, &path, &json!({"authentication": {"type": "none"}, "active": false})).await;
    assert_eq!((&none.json["authentication"], &none.json["active"]), (&json!({"type": "none"}), &json!(false)));
    assert_eq!(none.json["url"], added.json["url"]);
    let marked = format!("\u{feff}{}", json!({"description": "é"}));
    let marked = api
        .request(Method::PATCH, &path)
        .header("content-type", "application/merge-patch+json; charset=utf-8")
        .body(marked);
    assert_eq!(api.send(marked).await.json["description"], "é");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_read_is_listed_beside_the_others_and_can_be_deleted() {
    let api = Api::start(&Receiver::start().await).await;
    let (one, other) = (api.add("acme", "https://example.com/1").await, api.add("acme", "https://example.com/2").await);
    let key = api.here.key("webhooks:acme");
    let good: String = api.here.redis.clone().hget(&key, &one).await.unwrap();
    let odd = good.replacen("true", &format!("\"{SECRET}\""), 1);
    for rubbish in [SECRET, "", "{}", "[]", &odd, &good[..good.len() / 2]] {
        let _: () = api.here.redis.clone().hset(&key, &one, rubbish).await.unwrap();
        let list = api.get(LIST).await;
        let items = list.json["items"].as_array().unwrap();
        assert_eq!((list.status, items.len()), (200, 2), "{rubbish}: {list:?}");
        assert_eq!((&items[0]["id"], &items[0]["unreadable"]), (&json!(one), &json!(true)), "{rubbish}");
        assert_eq!((&items[1]["id"], &items[1]["url"]), (&json!(other), &json!("https://example.com/2")));
        let alone = api.get(&format!("{LIST}/{one}")).await;
        alone.problem(500, "internal");
        if rubbish != odd {
            let careful = api.request(Method::DELETE, &format!("{LIST}/{one}")).header("if-match", "\"1\"");
            let reply = api.send(careful).await;
            reply.problem(412, "revision-changed");
            assert!(reply.json["revision"].is_null() && reply.text().contains("without naming one"), "{reply:?}");
        }
        assert!(!list.text().contains(SECRET) && !alone.text().contains(SECRET), "{list:?}");
    }
    assert_eq!(api.get("/v1/accounts/acme/logs?identifier=m").await.status, 200);
    assert!(!api.process.stderr().contains(SECRET));
    let deleted = api.delete(&format!("{LIST}/{one}")).await;
    assert_eq!((deleted.status, &deleted.json["id"]), (200, &json!(one)));
    assert_eq!(api.get(LIST).await.json["items"].as_array().unwrap().len(), 1);
}
