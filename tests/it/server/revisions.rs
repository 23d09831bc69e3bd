//! Revisions and entity tags: changes of one revision, and reads of what a client has.

use reqwest::Method;
use serde_json::json;

use super::{
    support::Api,
    webhooks::{LIST, patch, patch_of},
};
use crate::support::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_editors_the_second_is_told_the_present_revision_and_changes_nothing() {
    let api = Api::start(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/in").await;
    let path = format!("{LIST}/{id}");
    let edit =
        |tag: &str, text: &str| api.send(patch_of(&api, &path, &json!({"description": text})).header("if-match", tag));
    let (one, other) = (edit("\"1\"", "one").await, edit("\"1\"", "other").await);
    assert_eq!((one.status, one.header("etag")), (200, Some("\"2\"")));
    other.problem(412, "revision-changed");
    assert_eq!((&other.json["revision"], other.header("etag")), (&json!(2), Some("\"2\"")));
    for (method, rest) in [(Method::DELETE, ""), (Method::POST, "/enable"), (Method::POST, "/disable")] {
        let reply = api.send(api.request(method, &format!("{path}{rest}")).header("if-match", "\"1\"")).await;
        reply.problem(412, "revision-changed");
        assert_eq!(reply.json["revision"], 2, "{rest}");
    }
    for tag in [
        "",
        " ",
        "7",
        "\"x\"",
        "\"\"",
        "\"-1\"",
        "\"+2\"",
        "\"02\"",
        "\"0\"",
        "\"2\", \"3\"",
        "W/2",
        "W/\"x\"",
        "*, \"2\"",
        "\"99999999999999999999\"",
    ] {
        edit(tag, "rubbish").await.problem(400, "malformed");
    }
    let bytes = reqwest::header::HeaderValue::from_bytes(b"\"2\xff\"").unwrap();
    let reply = api.send(patch_of(&api, &path, &json!({"description": "bytes"})).header("if-match", bytes)).await;
    reply.problem(400, "malformed");
    let twice = patch_of(&api, &path, &json!({})).header("if-match", "\"2\"").header("if-match", "\"2\"");
    api.send(twice).await.problem(400, "malformed");
    let now = api.get(&path).await;
    assert_eq!((&now.json["description"], &now.json["revision"]), (&json!("one"), &json!(2)));
    let nothing = |tag: &str| api.send(patch_of(&api, &path, &json!({})).header("if-match", tag));
    nothing("\"1\"").await.problem(412, "revision-changed");
    let same = nothing("\"2\"").await;
    assert_eq!(
        (same.status, same.header("etag"), &same.json),
        (200, Some("\"2\""), &now.json),
        "nothing was to change"
    );

    assert_eq!(edit("W/\"2\"", "weak").await.header("etag"), Some("\"3\""), "a proxy that compresses weakens the tag");
    assert_eq!(edit("*", "any").await.header("etag"), Some("\"4\""));
    // At the same moment, one of four wins.
    let racer = |text| edit("\"4\"", text);
    let (a, b, c, d) = tokio::join!(racer("a"), racer("b"), racer("c"), racer("d"));
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412]);
    for loser in [a, b, c, d].iter().filter(|reply| reply.status == 412) {
        assert_eq!(loser.json["revision"], 5);
    }
    let deleted = api.send(api.request(Method::DELETE, &path).header("if-match", "\"5\"")).await;
    assert_eq!(deleted.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_answers_304_to_a_client_that_has_the_revision() {
    let api = Api::start(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/in").await;
    let path = format!("{LIST}/{id}");
    let with = |path: &str, tag: &str| api.send(api.request(Method::GET, path).header("if-none-match", tag));
    for (tag, status) in [
        ("\"1\"", 304),
        ("W/\"1\"", 304),
        ("*", 304),
        ("\"9\", \"1\"", 304),
        ("\"9\",W/\"1\"", 304),
        ("\"2\"", 200),
        ("1", 200),
        ("\"9\", \"8\"", 200),
        ("", 200),
        ("rubbish", 200),
    ] {
        let reply = with(&path, tag).await;
        assert_eq!((reply.status, reply.header("etag")), (status, Some("\"1\"")), "{tag}");
    }
    // Reads without a revision have a tag as well, which changes with the answer.
    for list in [LIST.to_owned(), format!("{path}/logs"), format!("{path}/held"), "/v1/key".to_owned()] {
        let tag = api.get(&list).await.header("etag").unwrap().to_owned();
        assert_eq!(with(&list, &tag).await.status, 304, "{list}");
    }
    let before = api.get(LIST).await.header("etag").unwrap().to_owned();
    patch(&api, &path, &json!({"description": "new"})).await;
    let reply = with(LIST, &before).await;
    assert_eq!((reply.status, reply.json["items"][0]["description"].as_str()), (200, Some("new")));
    assert_eq!(with(&path, "\"1\"").await.status, 200);
}
