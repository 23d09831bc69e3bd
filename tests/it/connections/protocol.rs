//! Deliveries use HTTP/1.1, whatever else an endpoint supports. If an endpoint does not support it, the error says so.

use serde_json::json;

use super::*;

/// Answers each request with 200.
async fn answer_all(mut connection: Connection) -> std::io::Result<()> {
    while connection.request().await?.is_some() {
        connection.answer(200).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_prefers_http_2_is_offered_only_http_1_1_and_gets_its_events() {
    let front = Front { protocols: &["h2", "http/1.1"], ..Front::default() };
    let endpoint = Endpoint::behind(front, |connection, _| answer_all(connection)).await;
    let scene = Scene::start(&[NO_RETRIES]).await;
    let webhook = scene.here.add("acme", &endpoint.url("/")).await;
    scene.push("acme").await;
    let log = scene.here.finished(webhook).await;
    assert_eq!(endpoint.offered(), [["http/1.1"]]);
    assert_eq!(log[0]["httpStatus"], 200, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_speaks_only_http_2_gets_an_error_that_says_so() {
    let only_http_2 = Front { protocols: &["h2"], ..Front::default() };
    let refusing = Endpoint::behind(only_http_2, |connection, _| answer_all(connection)).await;
    let chooses_none = Front { protocols: &[], ..Front::default() };
    let closing = Endpoint::behind(chooses_none, async |mut connection, _| {
        connection.close().await?;
        // The kernel would reset a connection that is closed with unread bytes.
        connection.drain().await
    })
    .await;
    let receiver = Receiver::start().await;
    for status in [426, 505] {
        receiver.plan(&format!("/{status}"), [Answer::Status(status)]);
    }
    let rows = [
        ("refuses-the-protocol", refusing.url("/"), json!("Network Error"), "HTTP/2"),
        ("answers-426", receiver.url("/426"), json!(426), "HTTP/"),
        ("answers-505", receiver.url("/505"), json!(505), "HTTP/"),
        ("closes", closing.url("/"), json!("Network Error"), "the endpoint may support only HTTP/2"),
    ];
    let scene = Scene::start(&[NO_RETRIES]).await;
    let mut wrong = Vec::new();
    for (name, url, status, says) in rows {
        let webhook = scene.here.add(name, &url).await;
        scene.push(name).await;
        let log = scene.here.finished(webhook).await;
        let error = log[0]["error"].as_str().unwrap_or_default();
        if log[0]["httpStatus"] != status || !error.contains(says) {
            wrong.push(format!("{name}: {}", log[0]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
