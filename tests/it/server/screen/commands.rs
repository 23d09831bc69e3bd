//! The `curl` commands of the test and of the events page, run in a shell.

use std::process::Command;

use serde_json::json;

use super::support::*;
use crate::{server::support::Api, support::*};

/// A secret that a shell would change, if it read it.
const SECRET: &str = "s3cret $(id) `id` \\\" 'x'";

/// The `curl` commands of a page.
fn commands(page: &Page) -> Vec<String> {
    let codes = page.html.split("aria-label=\"curl command\"><code>").skip(1);
    let plain = |code: &str| {
        let code = code.split_once("</code>").unwrap().0;
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")]
            .iter()
            .fold(code.to_owned(), |text, (written, meant)| text.replace(written, meant))
    };
    codes.map(plain).collect()
}

fn run(command: &str, receiver: &Receiver) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("WEBHOOK_TOKEN", SECRET).env("CURL_CA_BUNDLE", receiver.ca_file());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

async fn add(api: &Api, url: &str, authentication: serde_json::Value, description: &str) -> String {
    let new = json!({"url": url, "authentication": authentication, "description": description});
    let added = api.post("/v1/accounts/acme/webhooks", &new).await;
    assert_eq!(added.status, 201, "{added:?}");
    added.json["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_of_a_test_sends_the_same_headers_and_bytes_as_the_test() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let visit = Visit::manager(&api, "acme").await;
    let url = |path: &str| format!("{}?a='q'&b=$HOME&c=%20(x)", receiver.url(path));
    for (number, authentication) in [
        json!({"type": "bearer", "token": "s3cret-t0ken"}),
        json!({"type": "header", "name": "X-Webhook-Secret", "value": SECRET}),
        json!({"type": "none"}),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/hook{number}");
        receiver.plan(&path, [Answer::Status(200)]);
        let id = add(&api, &url(&path), authentication.clone(), "").await;
        let page = visit.post(&format!("/webhooks/{id}/test"), &[]).await;
        page.says("Your endpoint received the test.");
        let [command] = &commands(&page)[..] else { panic!("one command: {page:?}") };
        assert!(!command.contains("s3cret"), "{command}");
        run(command, &receiver);
        let [tested, typed] = &receiver.requests(&path)[..] else { panic!("two requests") };
        assert_eq!((&typed.method, &typed.query, &typed.body), (&tested.method, &tested.query, &tested.body));
        let (mut tested, mut typed) = (tested.headers.clone(), typed.headers.clone());
        if authentication["type"] == "bearer" {
            assert_eq!(typed.remove("authorization").unwrap(), format!("Bearer {SECRET}"));
            assert_eq!(tested.remove("authorization").unwrap(), "Bearer s3cret-t0ken");
        }
        assert_eq!(typed, tested, "{authentication}");
        api.delete(&format!("/v1/accounts/acme/webhooks/{id}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_page_sends_its_example_as_a_delivery_would_be_sent() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let api = serve_screen(&receiver).await;
    let visit = Visit::manager(&api, "acme").await;
    let page = visit.get("/events").await;
    page.says("transcript.created").says("Sent when a call transcript is completed and ready to view.");
    page.says("data.utterances[].speaker string Yes The speaker's label").says("data.error string or null Yes");
    page.says("messageId data.messageId").says("JSON Schema").says("Hi, thanks for calling.");
    page.says("Send the example to your endpoint").says("No webhook is subscribed yet");
    let [placeholder] = &commands(&page)[..] else { panic!("one command") };
    assert!(placeholder.ends_with("'https://hooks.example.com/in'"), "{placeholder}");

    let header = json!({"type": "header", "name": "X-Key", "value": SECRET});
    add(&api, &receiver.url("/hook"), header, "CRM <sync>").await;
    let page = visit.get("/events").await;
    let [command] = &commands(page.says("CRM <sync>"))[..] else { panic!("one command") };
    assert!(!command.contains("s3cret") && !page.html.contains("s3cret"), "{command}");
    run(command, &receiver);
    let _worker = api.here.program.worker([]);
    api.here.push("acme", TRANSCRIPT).await;
    let [typed, delivered] = &receiver.wait_for("/hook", 2, SOON).await[..] else { panic!("two requests") };
    assert!(typed.header("webhook-id").unwrap().starts_with("example-"));
    let without_id = |headers: &http::HeaderMap| {
        let mut headers = headers.clone();
        for name in ["webhook-id", "webhook-timestamp"] {
            headers.remove(name).unwrap();
        }
        headers
    };
    // The file of the example ends in a line feed, which is no part of it.
    assert_eq!(typed.body, TRANSCRIPT.trim_end());
    let (mut typed, mut delivered) = (without_id(&typed.headers), without_id(&delivered.headers));
    let [short, long] = [&mut typed, &mut delivered].map(|headers| headers.remove("content-length").unwrap());
    assert_eq!([short, long], [TRANSCRIPT.trim_end().len(), TRANSCRIPT.len()].map(http::HeaderValue::from));
    assert_eq!(typed, delivered);
    // A reader sees the page too, and another account's webhooks are not on it.
    let reader = Visit::with(&api, "globex", &json!({"access": "read"})).await;
    reader.get("/events").await.says("Send the example to your endpoint");
}
