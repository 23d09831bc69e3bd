//! Each change over the API writes one line in the log: who, what, which fields, and no values.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Api, with_json};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_change_writes_one_line_with_its_key_and_reads_and_refusals_write_none() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let public = [("LYNKHOOK_SERVER__PUBLIC_URL", "https://hooks.example.com")];
    let api = Api::of(Installation::new(&receiver).await, public).await;
    let list = "/v1/accounts/acme/webhooks";
    let id = api.add("acme", &receiver.url("/hook")).await;
    let webhook = format!("{list}/{id}");
    let worker = api.here.program.worker([]);
    for _ in 0..2 {
        api.here.push("acme", "no envelope").await;
    }
    let rejected = eventually(SOON, "two rejected entries", async || {
        let items = api.get("/v1/queue/rejected").await.json["items"].clone();
        (items.as_array().unwrap().len() == 2).then(|| items[0]["id"].clone())
    })
    .await;
    drop(worker);
    api.here.fail(id.parse().unwrap(), "1-0", "f1", TRANSCRIPT).await;
    let new = json!({"url": "https://example.com/v4lue", "description": "v4lue"});
    let event: Value = serde_json::from_str(TRANSCRIPT).unwrap();
    let (post, none) = (Method::POST, json!({}));
    let mut asked = Vec::new();
    for (method, path, body, words) in [
        (post.clone(), list.to_owned(), new, "webhook added"),
        (Method::PATCH, webhook.clone(), json!({"description": "v4lue", "active": true}), "webhook edited"),
        (post.clone(), format!("{webhook}/disable"), none.clone(), "webhook disabled"),
        (post.clone(), format!("{webhook}/enable"), none.clone(), "webhook enabled"),
        (post.clone(), format!("{webhook}/test"), none.clone(), "webhook tested"),
        (post.clone(), format!("{webhook}/failed/redeliver"), json!({"all": true}), "failed deliveries redelivered"),
        (post.clone(), "/v1/queue/rejected/requeue".to_owned(), json!({"id": rejected}), "rejected entries requeued"),
        (post.clone(), "/v1/queue/rejected/drop".to_owned(), json!({"all": true}), "rejected entries dropped"),
        (post.clone(), "/v1/accounts/acme/portal-links".to_owned(), json!({"access": "read"}), "portal link made"),
        (Method::DELETE, "/v1/accounts/acme/portal-sessions".to_owned(), none.clone(), "portal sessions ended"),
        (Method::DELETE, webhook.clone(), none.clone(), "webhook deleted"),
        (Method::DELETE, "/v1/accounts/acme".to_owned(), none.clone(), "account purged"),
        // None of these changes anything that is not told elsewhere.
        (Method::GET, list.to_owned(), none.clone(), ""),
        (post.clone(), format!("{list}?dryRun=true"), json!({"url": "https://example.com/"}), ""),
        (post.clone(), list.to_owned(), json!({"url": "v4lue"}), ""),
        (Method::DELETE, webhook.clone(), none.clone(), ""),
        (post.clone(), format!("{webhook}/test"), none.clone(), ""),
        (post.clone(), "/v1/accounts/acme/events".to_owned(), event, ""),
    ] {
        let mut request = api.request(method.clone(), &path);
        if method != Method::GET && method != Method::DELETE {
            request = with_json(request, &body);
        }
        let reply = api.send(request).await;
        assert!(words.is_empty() || reply.status < 300, "{words}: {reply:?}");
        asked.push((words, reply.header("request-id").unwrap().to_owned()));
    }
    // The last line of all.
    api.post("/v1/queue/rejected/drop", &json!({"all": true})).await;
    let log = eventually(SOON, "the last line", async || {
        let log = api.process.stderr();
        (log.matches("rejected entries dropped").count() == 2).then_some(log)
    })
    .await;
    for (words, request) in asked {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&request)).collect();
        assert_eq!(lines.len(), usize::from(!words.is_empty()), "{words}: {lines:?}");
        for line in lines {
            let said: Value = serde_json::from_str(line).unwrap();
            let what = said["changed"].as_str().or(said["message"].as_str()).unwrap();
            assert_eq!((what, &said["level"]), (words, &json!("INFO")), "{line}");
            assert!(said["key"] == api.admin[5..17] || said["span"]["key"] == api.admin[5..17], "{line}");
        }
    }
    assert!(!log.contains("v4lue"), "{log}");
}
