//! The API from outside: programs that know nothing of this one but its API (`tests/clients`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use super::support::Api;
use crate::support::*;

/// The longest time that a client may take.
const CLIENT_WITHIN: Duration = Duration::from_secs(60);
/// The scopes of a platform's backend.
const SCOPES: &str = "events:write,webhooks:read,webhooks:write,logs:read,payloads:read,portal";

/// Starts a client that is written in Python.
fn client(api: &Api, key: &str, script: &str, arguments: &[&str], input: &str) -> Process {
    let mut command = Command::new("python3");
    command.arg(format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    command.env("LYNKHOOK_API", format!("http://{}", api.address)).env("LYNKHOOK_KEY", key);
    command.env("LYNKHOOK_ADMIN_KEY", &api.admin).env("PYTHONDONTWRITEBYTECODE", "1");
    Process::spawn(command, input.into())
}

async fn done(client: Process) -> Output {
    let output = client.output(CLIENT_WITHIN).await;
    assert_eq!(output.code, Some(0), "{}\n{}", output.stdout, output.stderr);
    output
}

/// The number of requests that a client repeated, by its last line.
fn repeated(output: &str) -> u32 {
    let line = output.lines().find(|line| line.ends_with(" requests were repeated")).unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_lives_the_life_of_an_account_over_the_api_alone() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _worker = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms,50ms")]);
    let settings = [
        ("LYNKHOOK_SERVER__PUBLIC_URL", "https://webhooks.example.com"),
        // So few that the backend has to wait now and then.
        ("LYNKHOOK_SERVER__REQUESTS_PER_SECOND", "20"),
    ];
    let api = Api::of(here, settings).await;
    receiver.plan("/crm", [Answer::Status(204)]);
    let mut asked = 0;
    receiver.plan_each("/audit", move |request| {
        asked += usize::from(request.header("webhook-id") == Some("broken"));
        Answer::Status(if request.header("webhook-id") == Some("broken") && asked <= 3 { 500 } else { 200 })
    });

    let key = api.key(&["--scope", SCOPES, "--account", "acme"]).await;
    let backend = done(client(&api, &key, "backend.py", &[&receiver.url("")], "")).await.stdout;
    for told in [
        "refused: The input has faults (2 places need a change); #/event: there is no such member; did you mean `events`?",
        "refused: The account has as many webhooks as it may have",
        "refused: The webhook has another revision",
        "m2 waited while the webhook was off",
        "broken failed after 3 attempts (HTTP 500",
        "refused: The Idempotency-Key was used for another request",
        "#/events/2/envelope/timestamp: ",
        "a link to the settings screen: https://webhooks.example.com/accounts/acme/enter",
        "refused: The key may not do this",
    ] {
        assert!(backend.contains(told), "{told:?} is not in\n{backend}");
    }
    assert!(repeated(&backend) > 0, "20 requests a second are not enough:\n{backend}");

    // The receiver's side of it.
    let arrived = |path: &str| {
        let all = receiver.requests(path).into_iter().map(|request| request.header("webhook-id").unwrap().to_owned());
        all.collect::<Vec<_>>()
    };
    let (crm, audit) = (arrived("/crm"), arrived("/audit"));
    assert!(crm[0].starts_with("test-"), "{crm:?}");
    assert_eq!(crm[1..4], ["m1", "m2", "broken"]);
    assert_eq!(audit[..6], ["m1", "m2", "broken", "broken", "broken", "broken"]);
    for of_batch in [&crm[4..], &audit[6..]] {
        assert_eq!(of_batch.len(), 2, "each event of the batch came once: {of_batch:?}");
        assert!(of_batch.iter().all(|id| id.starts_with("ik-")) && of_batch[0] != of_batch[1], "{of_batch:?}");
    }
    for request in receiver.requests("/crm") {
        assert_eq!(request.header("authorization"), Some("Bearer crm-token-0123456789"));
    }
    for request in receiver.requests("/audit") {
        assert_eq!(request.header("x-key"), Some("audit-0123"));
    }
    let sent = "{\n \"event\": \"transcript.created\",\n \"timestamp\": \"2026-03-26T14:32:00.000Z\",\n \"data\": {\n  \
                \"messageId\": \"m2\"\n }\n}";
    assert!(receiver.requests("/audit").iter().any(|request| request.body == sent), "m2 arrives byte for byte");
    assert_eq!(receiver.all_requests().len(), crm.len() + audit.len(), "nothing else was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_server_dies_before_its_answer_repeats_and_adds_its_event_once() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut api = Api::of(here, [("LYNKHOOK_FAILPOINT", "after-accept")]).await;
    let enqueuing = client(&api, &api.admin, "enqueue.py", &["acme"], &TRANSCRIPT.replace('\n', ""));
    assert_ne!(api.process.wait().await, Some(0), "it crashed");
    let _again = api.here.program.clone().env("LYNKHOOK_SERVER__BIND", &api.address).start(["server"]);
    let output = done(enqueuing).await;
    assert!(repeated(&output.stderr) > 0);
    let entries: Vec<(String, Vec<(String, String)>)> =
        api.here.cli(&format!("XRANGE {} - +", api.here.key("queue"))).await;
    let [(_, fields)] = &entries[..] else { panic!("{entries:?}") };
    let id = fields.iter().find(|(name, _)| name == "id").map(|(_, id)| id.as_str());
    assert_eq!(id, Some(output.stdout.trim()), "the answer has the id that receivers get");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_the_document_alone_finds_each_operation_as_it_says() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let settings = [
        ("LYNKHOOK_SERVER__PUBLIC_URL", "https://webhooks.example.com"),
        ("LYNKHOOK_SERVER__TESTS_PER_10S", "1000"),
        ("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "1000"),
    ];
    let api = Api::of(here, settings).await;
    let output = done(client(&api, &api.admin, "conformance.py", &[&receiver.url("/in")], "")).await.stdout;
    let (calls, refused) = output.split_once(" calls of ").unwrap();
    assert!(calls.parse::<usize>().unwrap() > 1000, "{output}");
    let refused: Value = serde_json::from_str(&refused[refused.find('{').unwrap()..]).unwrap();
    let of_kept = |list| format!("get /v1/accounts/{{account}}/webhooks/{{id}}/{list}/{{delivery}}/envelope");
    assert_eq!(refused, json!({of_kept("failed"): 404, of_kept("held"): 404}), "each example of the document is good");
}
