//! The server with the Redis user that `deploy` gives it: every route of the API and of the screen.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{PUBLIC, Visit};
use crate::{
    deploy::deployed::{Deployed, refusals_of},
    server::support::{Api, with_json},
    support::*,
};

/// The body of a request that changes something.
fn body_of(operation: &str) -> Value {
    let event: Value = serde_json::from_str(TRANSCRIPT).unwrap();
    match operation {
        "addWebhook" => json!({"url": "https://example.com/"}),
        "createPortalLink" => json!({"access": "read"}),
        "redeliverFailed" | "requeueRejected" | "dropRejected" => json!({"all": true}),
        "enqueueEvent" => event,
        "enqueueBatch" => json!({"events": [{"envelope": event}]}),
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_the_api_and_no_page_of_the_screen_needs_a_permission_that_the_server_lacks() {
    let deployed = Deployed::start().await;
    let url = deployed.url_of("server");
    let Deployed { receiver, mut here, redis: _redis } = deployed;
    receiver.plan("/hook", [Answer::Status(200)]);
    here.program = here.program.env("LYNKHOOK_REDIS__URL", url);
    let api = Api::of(here, [("LYNKHOOK_SERVER__PUBLIC_URL", PUBLIC)]).await;
    let id = api.add("acme", &receiver.url("/hook")).await;
    let fill = async || {
        api.here.fail(id.parse().unwrap(), "*", "f1", TRANSCRIPT).await;
        let () = api.here.cli(&format!("XADD {} * reason x entry 1-0 account acme", api.here.key("rejected"))).await;
    };
    fill().await;
    let visit = Visit::manager(&api, "acme").await;
    let hook = format!("/webhooks/{id}");
    for page in ["/webhooks", "/webhooks/new", "/events"] {
        assert_eq!(visit.get(page).await.status, 200, "{page}");
    }
    for page in ["edit", "switch", "delete", "logs", "held", "failed"] {
        let page = visit.get(&format!("{hook}/{page}")).await;
        assert!(page.status < 400, "{page:?}");
    }
    let changed = receiver.url("/changed");
    for (form, fields) in [
        ("/webhooks/new", vec![("url", &*changed), ("authentication", "none"), ("active", "true")]),
        (&*format!("{hook}/edit"), vec![("url", &*changed), ("authentication", "none"), ("revision", "1")]),
        (&*format!("{hook}/switch"), vec![("to", "on")]),
        (&*format!("{hook}/test"), vec![]),
        (&*format!("{hook}/redeliver"), vec![("all", "true")]),
    ] {
        let page = visit.post(form, &fields).await;
        assert!(page.status < 500, "{form}: {page:?}");
    }
    fill().await;
    let mut operations: Vec<_> = api.operations();
    operations.retain(|(path, ..)| path.starts_with("/v1/"));
    operations.sort_by_key(|(path, method, _)| (*method == Method::DELETE, path == "/v1/accounts/{account}"));
    assert!(operations.len() > 25);
    for (path, method, operation) in operations {
        let path = path.replace("{account}", "acme").replace("{id}", &id).replace("{delivery}", "x");
        let path = path.replace("{event}", "transcript.created");
        let query = if path.ends_with("acme/logs") { "?identifier=m" } else { "" };
        let name = operation["operationId"].as_str().unwrap().to_owned();
        let mut rounds = vec![api.request(method.clone(), &format!("{path}{query}"))];
        if name.starts_with("enqueue") {
            // Twice with the same key: the second is a repetition.
            rounds = (0..3).map(|_| api.request(method.clone(), &path)).collect();
            rounds[1..].iter_mut().for_each(|request| {
                *request = request.try_clone().unwrap().header("idempotency-key", &name);
            });
        }
        for request in rounds {
            let has_body = [Method::POST, Method::PATCH].contains(&method);
            let request = if has_body { with_json(request, &body_of(&name)) } else { request };
            let reply = api.send(request).await;
            assert!(reply.status < 300 || reply.status == 404, "{method} {path}: {reply:?}");
        }
    }
    assert_eq!(refusals_of(&mut api.here.redis.clone()).await, [""; 0]);
}
