//! A front that allows few connections at a time. The worker learns the limit and keeps to it, like a client with that
//! many sockets. Deliveries beyond it wait; they are neither attempted nor lost.

use std::{io, sync::Arc, time::Instant};

use tokio::sync::Semaphore;

use super::*;

const ALLOWED: usize = 10;
const TAKES: Duration = Duration::from_millis(300);

/// The front, and behind it an application that answers after [`TAKES`].
async fn limited(resets: bool) -> Endpoint {
    let front = Front { connections_max: ALLOWED, resets, ..Front::default() };
    Endpoint::behind(front, |connection, _| answer_slowly(connection)).await
}

/// An application that serves few requests at a time, with any front.
async fn answer_in_turn(mut connection: Connection, servers: Arc<Semaphore>) -> io::Result<()> {
    while connection.request().await?.is_some() {
        let server = servers.acquire().await.map_err(io::Error::other)?;
        tokio::time::sleep(TAKES).await;
        drop(server);
        connection.answer(200).await?;
    }
    Ok(())
}

async fn answer_slowly(mut connection: Connection) -> io::Result<()> {
    while connection.request().await?.is_some() {
        tokio::time::sleep(TAKES).await;
        connection.answer(200).await?;
    }
    Ok(())
}

/// Checks that all events arrived, that almost no first attempt was lost, and that no attempt's duration includes the
/// wait for a connection.
fn judge(account: &str, endpoint: &Endpoint, record: &Record) -> Vec<String> {
    let (events, met) = (record.events.len(), errors(record));
    let failed_firsts = record.firsts().filter(|first| !first.is_good()).count();
    let durations = record.attempts().map(|attempt| attempt.ended_ms - attempt.started_ms);
    let nine_of_ten_ms = quantile(durations, 0.9);
    let refused = endpoint.refused();
    println!("{account}: {events} events, {failed_firsts} first attempts failed, {} lost, {met:?}", lost(record));
    println!("{account}: {refused} connections were refused; nine of ten attempts within {nine_of_ten_ms} ms");
    let takes_ms = i64::try_from(TAKES.as_millis()).unwrap();
    let expected = [
        (lost(record) == 0, format!("{} of {events} events are lost: {met:?}", lost(record))),
        (failed_firsts * 100 <= events, format!("{failed_firsts} of {events} first attempts failed: {met:?}")),
        (refused > 0, "the limit was never met".to_owned()),
        (nine_of_ten_ms < 2 * takes_ms, format!("a tenth of the attempts took more than {nine_of_ten_ms} ms")),
    ];
    expected.into_iter().filter(|(is_so, _)| !is_so).map(|(_, wrong)| format!("{account}: {wrong}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_allows_10_connections_loses_nothing_and_the_wait_for_one_is_not_its_time() {
    const EVERY: Duration = Duration::from_millis(10);
    const LENGTH: Duration = Duration::from_secs(2);
    const BURST: usize = 60;
    let (steady, bursts) = (limited(false).await, limited(true).await);
    let scene = Scene::start(&[("LYNKHOOK_DELIVERY__RETRY_DELAYS", "400ms,800ms")]).await;
    for (account, endpoint) in [("steady", &steady), ("bursts", &bursts)] {
        scene.here.add(account, &endpoint.url("/")).await;
    }
    let push_steadily = async {
        let (started, mut ticks) = (Instant::now(), tokio::time::interval(EVERY));
        while started.elapsed() < LENGTH {
            ticks.tick().await;
            scene.push("steady").await;
        }
    };
    let push_in_bursts = async {
        let mut ticks = tokio::time::interval(LENGTH);
        for _ in 0..2 {
            ticks.tick().await;
            for _ in 0..BURST {
                scene.push("bursts").await;
            }
        }
    };
    tokio::join!(push_steadily, push_in_bursts);
    let wrong = [
        judge("steady", &steady, &scene.finished("steady").await),
        judge("bursts", &bursts, &scene.finished("bursts").await),
    ];
    assert!(wrong.iter().all(Vec::is_empty), "{:#?}", wrong.concat());
    scene.here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_gets_exactly_three_attempts_for_each_event() {
    let scene = Scene::start(&[("LYNKHOOK_DELIVERY__RETRY_DELAYS", "100ms,100ms")]).await;
    scene.here.add("acme", &format!("https://localhost:{}/", refused_port())).await;
    for _ in 0..5 {
        scene.push("acme").await;
    }
    let record = scene.finished("acme").await;
    assert_eq!((errors(&record), record.attempts().count()), ([("connection refused", 15)].into(), 15));
    assert_eq!(record.incomplete().collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_serves_10_requests_at_a_time_is_not_blamed_for_waits_in_the_worker() {
    const EVENTS: usize = 150;
    let servers = Arc::new(Semaphore::new(ALLOWED));
    let endpoint = Endpoint::start(move |connection, _| answer_in_turn(connection, Arc::clone(&servers))).await;
    let scene = Scene::start(&[("LYNKHOOK_DELIVERY__TIMEOUT", "3s"), NO_RETRIES]).await;
    scene.here.add("acme", &endpoint.url("/")).await;
    for _ in 0..EVENTS {
        scene.push("acme").await;
    }
    let record = scene.finished("acme").await;
    assert_eq!((lost(&record), record.attempts().count(), errors(&record)), (0, EVENTS, [].into()));
}
