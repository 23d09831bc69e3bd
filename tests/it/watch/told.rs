//! A real Prometheus that scrapes two workers and a server gets what the test sent, and what it broke.

use std::time::Duration;

use super::{dashboard, scene::Scene};
use crate::support::*;

/// No alerts.
const NONE: &str = "groups: []";

/// Sends events that end in each way, and compares the sums of both workers.
async fn sent_is_told(scene: &Scene) {
    // A new endpoint has room for three attempts at each worker, so none of these has to wait.
    // Each outcome, and each end, comes at a number of its own.
    for (account, events) in [("good", 2), ("flaky", 1), ("gone", 2), ("closed", 2), ("off", 3), ("nobody", 4)] {
        scene.push(account, events).await;
    }
    for _ in 0..2 {
        scene.here.push("good", "no event").await;
    }
    // The last retries of the closed port are far away.
    scene.prometheus.until(r#"sum(lynkhook_attempts_total{outcome="network_error"})"#, 4.0).await;
    scene.prometheus.until("max(lynkhook_queue_retries)", 2.0).await;
    scene.prometheus.until("max(lynkhook_queue_retry_late_seconds)", 0.0).await;
    retries_are_due_since(scene, 0).await;
    scene.here.drained().await;
    for _ in 0..3 {
        reqwest::get(format!("http://{}/nothing", scene.api)).await.unwrap();
    }
    let event = r#"event="transcript.created""#;
    for (query, expected) in [
        (format!(r#"sum(lynkhook_attempts_total{{outcome="delivered",{event}}})"#), 3.0),
        (format!(r#"sum(lynkhook_attempts_total{{outcome="http_5xx",{event}}})"#), 1.0),
        (format!(r#"sum(lynkhook_attempts_total{{outcome="http_other",{event}}})"#), 2.0),
        (format!(r#"sum(lynkhook_attempts_total{{outcome="network_error",{event}}})"#), 6.0),
        ("sum(lynkhook_attempts_total)".to_owned(), 12.0),
        ("sum(lynkhook_attempt_duration_seconds_count)".to_owned(), 12.0),
        ("sum(lynkhook_first_attempt_wait_seconds_count)".to_owned(), 7.0),
        (r#"sum(lynkhook_settled_total{next="delivered"})"#.to_owned(), 3.0),
        (r#"sum(lynkhook_settled_total{next="retry"})"#.to_owned(), 5.0),
        (r#"sum(lynkhook_settled_total{next="failed"})"#.to_owned(), 4.0),
        (r#"sum(lynkhook_held_total{reason="off"})"#.to_owned(), 3.0),
        ("sum(lynkhook_held_total)".to_owned(), 3.0),
        ("sum(lynkhook_rejected_total)".to_owned(), 2.0),
        ("max(lynkhook_queue_rejected)".to_owned(), 2.0),
        (r#"max(lynkhook_dropped_total{cause="events_without_webhook"})"#.to_owned(), 4.0),
        ("max(lynkhook_queue_depth)".to_owned(), 0.0),
        ("max(lynkhook_queue_retries)".to_owned(), 0.0),
        ("sum(lynkhook_concurrency)".to_owned(), 512.0),
        ("count(lynkhook_queue_depth)".to_owned(), 3.0),
        (r#"sum(lynkhook_requests_total{route="none",status="404"})"#.to_owned(), 3.0),
        ("min(lynkhook_redis_up)".to_owned(), 1.0),
        ("sum(lynkhook_panics_total)".to_owned(), 0.0),
    ] {
        scene.prometheus.until(&query, expected).await;
    }
}

/// Makes all retries due, and this late.
async fn retries_are_due_since(scene: &Scene, late_ms: u64) {
    let change = r"
        local due = redis.call('TIME')[1] * 1000 - ARGV[1]
        for _, delivery in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
          redis.call('ZADD', KEYS[1], 'XX', due, delivery)
        end";
    let mut eval = redis::cmd("EVAL");
    eval.arg(change).arg(1).arg(scene.here.key("retries")).arg(late_ms);
    let (): () = eval.query_async(&mut scene.here.redis.clone()).await.unwrap();
}

/// The queries of the dashboard find what was sent. They are asked for totals, because rates are never exact.
async fn panels_show_what_was_sent(scene: &Scene) {
    let (outcomes, aside) = ("Attempts a second, by outcome", "Deliveries put aside a second, by reason");
    let (gone, lost) = ("Dropped, by cause", "Failed for good, rejected, lost");
    let (waiting, failed) = ("Queue and retries", "Failed attempts a second, by event type");
    for (title, name, expected) in [
        (outcomes, "delivered", 3.0),
        (outcomes, "http_5xx", 1.0),
        (outcomes, "http_other", 2.0),
        (outcomes, "network_error", 6.0),
        (outcomes, "address_refused", 0.0),
        (failed, "transcript.created", 9.0),
        (failed, "other", 0.0),
        ("Requests to the server a second, by status", "404", 3.0),
        (aside, "off", 3.0),
        (aside, "worker_full", 0.0),
        (waiting, "queue 0", 0.0),
        (waiting, "retries 0", 0.0),
        (gone, "events_without_webhook", 4.0),
        (lost, "failed for good", 4.0),
        (lost, "rejected", 2.0),
        (lost, "no room", 0.0),
        (lost, "worker lost", 0.0),
        (lost, "held by nobody", 0.0),
    ] {
        let panel = dashboard::panels().into_iter().find(|panel| panel.title == title).unwrap();
        let mut found = Vec::new();
        for (query, legend) in &panel.queries {
            let series = scene.prometheus.query(&dashboard::since_the_start(query)).await.into_iter();
            found.extend(series.map(|(labels, value)| (dashboard::name(legend, &labels), value)));
        }
        let of_name: Vec<f64> = found.iter().filter(|(of, _)| of == name).map(|(_, value)| *value).collect();
        assert_eq!(of_name, [expected], "{title}, {name}: {found:?}");
    }
}

/// Under load, each query of the dashboard has something to show.
async fn each_query_has_series(scene: &Scene) {
    for panel in dashboard::panels() {
        for (query, _) in panel.queries {
            let sent = dashboard::over(&query, "10s");
            eventually(SOON, &format!("a series of {} ({sent})", panel.title), async || {
                for account in ["good", "gone", "nobody"] {
                    scene.push(account, 2).await;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                let series = scene.prometheus.query(&sent).await;
                series.iter().any(|(_, value)| value.is_finite()).then_some(())
            })
            .await;
        }
    }
}

/// Kills the worker that has more in hand. The other one tells how many entries it took over.
async fn a_dead_worker_is_told(scene: &mut Scene, receiver: &Receiver) {
    let gate = Gate::new();
    receiver.plan("/good", [gate.before(Answer::Status(200))]);
    scene.push("good", 3).await;
    scene.prometheus.until("sum(lynkhook_in_flight)", 3.0).await;
    scene.prometheus.until("max(lynkhook_queue_in_flight)", 3.0).await;
    let (killed, entries) = scene.kill_the_fuller(1.0).await;
    scene.prometheus.until("sum(lynkhook_leases_lost_total)", entries).await;
    gate.open();
    scene.here.drained().await;
    // Nobody is left, and a retry waits.
    scene.push("closed", 1).await;
    scene.prometheus.until("max(lynkhook_queue_retries)", 1.0).await;
    let left = &mut scene.workers[1 - killed];
    left.sigterm();
    assert_eq!(left.wait().await, Some(0));
    scene.prometheus.until("absent(lynkhook_concurrency)", 1.0).await;
    retries_are_due_since(scene, 100_000).await;
    scene.push("good", 4).await;
    scene.prometheus.until("max(lynkhook_queue_depth)", 4.0).await;
    scene.prometheus.until("max(lynkhook_queue_retries_late)", 1.0).await;
    scene.prometheus.until("max(lynkhook_queue_retry_late_seconds) > bool 99", 1.0).await;
    scene.prometheus.until("max(lynkhook_queue_oldest_untaken_seconds) > bool 1", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs prometheus: make check-deploy"]
async fn tools_prometheus_is_told_what_was_sent_and_what_was_broken() {
    let receiver = Receiver::start().await;
    receiver.plan("/good", [Answer::Status(200)]);
    receiver.plan("/flaky", [Answer::Status(503), Answer::Status(200)]);
    receiver.plan("/gone", [Answer::Status(410)]);
    let mut redis = RedisServer::start(AppendFsync::No);
    let here = Installation::on(&redis, &receiver).await;
    for path in ["good", "flaky", "gone", "off"] {
        let webhook = here.add(path, &receiver.url(&format!("/{path}"))).await;
        if path == "off" {
            here.program.run(["webhook", "disable", "--account", "off", &webhook.to_string()]).await;
        }
    }
    here.add("closed", &format!("https://localhost:{}/", refused_port())).await;
    let extra = [
        ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "500ms,1h"),
        // In flight for long enough to be seen.
        ("LYNKHOOK_DELIVERY__TIMEOUT", "12s"),
        ("LYNKHOOK_WORKER__LEASE", "15s"),
    ];
    let mut scene = Scene::start(here, &extra, NONE).await;
    scene.check_metrics().await;
    sent_is_told(&scene).await;
    panels_show_what_was_sent(&scene).await;
    each_query_has_series(&scene).await;
    a_dead_worker_is_told(&mut scene, &receiver).await;

    redis.pause();
    scene.prometheus.until("max(lynkhook_redis_up)", 0.0).await;
    scene.prometheus.until("absent(lynkhook_queue_depth)", 1.0).await;
    redis.resume();
    scene.prometheus.until("max(lynkhook_queue_depth)", 4.0).await;
}
