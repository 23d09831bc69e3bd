//! A server counts its requests, and tells the counts on its second port alone.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::*;
use crate::{support::*, watch::text::Metrics};

/// A server with a second port, and the address of that.
async fn watched(here: Installation) -> (Api, String) {
    let second = format!("127.0.0.1:{}", unused_port());
    let api = Api::of(here, [("LYNKHOOK_SERVER__HEALTH_BIND", &*second)]).await;
    (api, second)
}

async fn scraped(api: &Api, second: &str) -> Metrics {
    let answer = api.client.get(format!("http://{second}/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    Metrics::parse(&answer.text().await.unwrap())
}

fn envelope() -> Value {
    serde_json::from_str(TRANSCRIPT).unwrap()
}

fn requests(metrics: &Metrics, method: &str, route: &str, status: u16) -> Option<i64> {
    let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
    metrics.find(&format!("lynkhook_requests_total{{{labels}}}"))
}

const EVENTS: &str = "/v1/accounts/{account}/events";

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_method_route_and_status_and_events_once() {
    let receiver = Receiver::start().await;
    let (api, second) = watched(Installation::new(&receiver).await).await;
    let event = || with_json(api.request(Method::POST, "/v1/accounts/acme/events"), &envelope());
    for _ in 0..2 {
        assert_eq!(api.send(event().header("Idempotency-Key", "once")).await.status, 202);
    }
    assert_eq!(api.send(event()).await.status, 202);
    let batch = json!({"events": [{"envelope": envelope()}, {"envelope": envelope()}]});
    assert_eq!(api.post("/v1/accounts/acme/events/batch", &batch).await.status, 202);
    let bad = with_json(api.request(Method::POST, "/v1/accounts/acme/events"), &json!({}));
    assert_eq!(api.send(bad).await.status, 422);
    api.add("acme", &receiver.url("/hook")).await;
    assert_eq!(api.send(api.bare(Method::GET, "/v1/accounts/acme/webhooks")).await.status, 401);

    let metrics = scraped(&api, &second).await;
    assert_eq!(requests(&metrics, "POST", EVENTS, 202), Some(3));
    assert_eq!(requests(&metrics, "POST", EVENTS, 422), Some(1));
    assert_eq!(requests(&metrics, "POST", "/v1/accounts/{account}/events/batch", 202), Some(1));
    assert_eq!(requests(&metrics, "POST", "/v1/accounts/{account}/webhooks", 201), Some(1));
    assert_eq!(requests(&metrics, "GET", "/v1/accounts/{account}/webhooks", 401), Some(1));
    assert_eq!(metrics.get("lynkhook_events_accepted_total"), 4, "the repetition was no event");
    assert_eq!(metrics.get(&format!("lynkhook_request_duration_seconds_count{{route=\"{EVENTS}\"}}")), 4);
    let took = metrics.exact(&format!("lynkhook_request_duration_seconds_sum{{route=\"{EVENTS}\"}}")).unwrap();
    assert!(0.0 < took && took < 4.0, "{took} s");
    assert_eq!(metrics.get("lynkhook_redis_up"), 1);
    assert_eq!(metrics.get("lynkhook_queue_depth{partition=\"0\"}"), 4);
    assert_eq!(metrics.get("lynkhook_build_info{version=\"0.1.0\",role=\"server\"}"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_clients_make_up_add_one_series_and_not_many() {
    let receiver = Receiver::start().await;
    let (api, second) = watched(Installation::new(&receiver).await).await;
    let ask = async |round: usize| {
        for number in 0..20 {
            let method = Method::from_bytes(format!("MADE{round}UP{number}").as_bytes()).unwrap();
            api.client.execute(api.bare(method.clone(), "/v1/key").build().unwrap()).await.unwrap();
            for path in [format!("/secret{round}-{number}"), format!("/accounts/x{round}/{number}/none")] {
                api.client.execute(api.bare(Method::GET, &path).build().unwrap()).await.unwrap();
            }
            let account = api.request(Method::GET, &format!("/v1/accounts/made{round}-{number}/webhooks"));
            api.client.execute(account.build().unwrap()).await.unwrap();
        }
    };
    ask(0).await;
    // From its second answer on, this port's own route is counted as well.
    scraped(&api, &second).await;
    let before = scraped(&api, &second).await;
    ask(1).await;
    let after = scraped(&api, &second).await;
    assert_eq!(after.series(), before.series());
    assert_eq!(requests(&after, "GET", "none", 404), Some(80));
    assert_eq!(requests(&after, "other", "/v1/key", 405), Some(40));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_partitions_as_there_may_be_are_all_told_at_the_first_scrape() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "1024").await;
    let (api, second) = watched(here).await;
    let metrics = scraped(&api, &second).await;
    assert_eq!(metrics.get("lynkhook_redis_up"), 1);
    for partition in 0..1024 {
        assert_eq!(metrics.find(&format!("lynkhook_queue_depth{{partition=\"{partition}\"}}")), Some(0), "{partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_not_on_the_port_of_the_api() {
    let receiver = Receiver::start().await;
    let (api, second) = watched(Installation::new(&receiver).await).await;
    assert_eq!(api.send(api.bare(Method::GET, "/metrics")).await.status, 404);
    assert_eq!(
        api.send(api.request(Method::GET, "/metrics")).await.status,
        404,
        "nor with the key of an administrator"
    );
    scraped(&api, &second).await;
}
