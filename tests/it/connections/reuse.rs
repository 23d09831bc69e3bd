//! A kept connection may have died. That is the sender's risk: it costs an event at most one attempt. An endpoint that
//! keeps closing its connections early gets a new one for each request.

use std::{io, time::Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::watch;

use super::*;

/// How a dead connection reacts to the next byte.
#[derive(Clone, Copy, Debug)]
enum Death {
    Reset,
    Silence,
}

/// The state of all connections of an endpoint. Connections accepted while the others are dead are healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Answering,
    Dead,
}

/// An endpoint whose connections can die while they are kept.
struct Mortal {
    endpoint: Endpoint,
    stage: watch::Sender<Stage>,
}

impl Mortal {
    async fn start(death: Death) -> Self {
        let (stage, watching) = watch::channel(Stage::Waiting);
        let endpoint = Endpoint::start(move |connection, _| live(connection, watching.clone(), death)).await;
        Self { endpoint, stage }
    }

    /// Opens one connection per account with simultaneous requests, and lets them die once all are kept.
    async fn keep_dead_connections(&self, scene: &Scene, accounts: &[String]) {
        for account in accounts {
            scene.here.add(account, &self.endpoint.url("/")).await;
            scene.here.push(account, TRANSCRIPT).await;
        }
        let all_are_open = async || (self.endpoint.open() == accounts.len()).then_some(());
        eventually(SOON, "a connection for each request", all_are_open).await;
        self.stage.send_replace(Stage::Answering);
        scene.here.drained().await;
        assert_eq!(self.endpoint.open(), accounts.len(), "all connections are kept");
        self.stage.send_replace(Stage::Dead);
    }
}

async fn live(mut connection: Connection, mut stage: watch::Receiver<Stage>, death: Death) -> io::Result<()> {
    let dies = *stage.borrow() != Stage::Dead;
    while connection.has_more().await? {
        if dies && *stage.borrow() == Stage::Dead {
            return match death {
                Death::Reset => connection.reset_when_dropped(),
                Death::Silence => connection.drain().await,
            };
        }
        connection.request().await?;
        stage.wait_for(|stage| *stage != Stage::Waiting).await.map_err(io::Error::other)?;
        connection.answer(200).await?;
    }
    Ok(())
}

/// Sends 100 events to endpoints with 20 dead connections each, and reports how many needed more than two attempts.
async fn meet_dead_connections(death: Death) {
    const ENDPOINTS: usize = 25;
    const DEAD: usize = 20;
    const EVENTS: usize = 4;
    let settings = [("LYNKHOOK_DELIVERY__TIMEOUT", "2s"), ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "100ms,100ms")];
    let scene = Scene::start(&settings).await;
    let (mut endpoints, mut webhooks) = (Vec::new(), Vec::new());
    for number in 0..ENDPOINTS {
        let endpoint = Mortal::start(death).await;
        let accounts: Vec<String> = (0..DEAD).map(|place| format!("a-{number}-{place}")).collect();
        endpoint.keep_dead_connections(&scene, &accounts).await;
        for place in 0..EVENTS {
            let account = format!("b-{number}-{place}");
            webhooks.push(scene.here.add(&account, &endpoint.endpoint.url("/")).await);
        }
        endpoints.push(endpoint);
    }
    for (number, _) in webhooks.iter().enumerate() {
        scene.here.push(&format!("b-{}-{}", number / EVENTS, number % EVENTS), TRANSCRIPT).await;
    }
    let mut attempts = std::collections::BTreeMap::<String, usize>::new();
    for webhook in webhooks {
        let log = scene.here.finished(webhook).await;
        let last = log.last().unwrap();
        *attempts.entry(format!("{} at attempt {}", last["status"], last["attempt"])).or_default() += 1;
    }
    println!("{death:?}: {attempts:?}");
    let by_the_second: usize =
        (1..=2).filter_map(|number| attempts.get(&format!("\"success\" at attempt {number}"))).sum();
    assert_eq!(by_the_second, ENDPOINTS * EVENTS, "{death:?}: {attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_meets_20_kept_connections_that_reset_is_delivered_by_its_second_attempt() {
    meet_dead_connections(Death::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_meets_20_kept_connections_that_are_silent_is_delivered_by_its_second_attempt() {
    meet_dead_connections(Death::Silence).await;
}

/// Answers each request, and closes the connection this long after an answer, even if a request came in between.
async fn close_after(mut connection: Connection, delay: Duration) -> io::Result<()> {
    if connection.request().await?.is_some() {
        connection.answer(200).await?;
        tokio::time::sleep(delay).await;
        connection.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_closes_0_or_5_or_20_ms_after_each_answer_loses_hardly_an_attempt_after_the_first_20() {
    const EVENTS: usize = 300;
    const FIRST: usize = 20;
    const LOST_MAX: usize = EVENTS / 100;
    const SPACE_MS: u64 = 20;
    let scene = Scene::start(&[NO_RETRIES]).await;
    let mut endpoints = Vec::new();
    for delay_ms in [0, 5, 20] {
        let closes = move |connection, _| close_after(connection, Duration::from_millis(delay_ms));
        let (account, endpoint) = (format!("closes-after-{delay_ms}-ms"), Endpoint::start(closes).await);
        scene.here.add(&account, &endpoint.url("/")).await;
        endpoints.push((account, endpoint));
    }
    let mut dice = StdRng::seed_from_u64(19);
    for _ in 0..EVENTS {
        for (account, _) in &endpoints {
            scene.push(account).await;
        }
        // At many distances from an answer, so that some requests meet a connection at its end.
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..SPACE_MS))).await;
    }
    let mut wrong = Vec::new();
    for (account, endpoint) in &endpoints {
        let record = scene.finished(account).await;
        let mut attempts: Vec<&Timed> = record.attempts().collect();
        attempts.sort_by_key(|attempt| attempt.started_ms);
        let lost = attempts.iter().skip(FIRST).filter(|attempt| !attempt.is_good()).count();
        let (met, accepted) = (errors(&record), endpoint.accepted());
        println!("{account}: {lost} of {EVENTS} are lost over {accepted} connections, {met:?}");
        if lost > LOST_MAX {
            wrong.push(format!("{account}: {lost} of {EVENTS} are lost, {met:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Answers ten requests and announces the close with the last answer: servers limit the requests of a connection.
async fn close_after_many(mut connection: Connection) -> io::Result<()> {
    const REQUESTS: usize = 10;
    for number in 1..=REQUESTS {
        if connection.request().await?.is_none() {
            return Ok(());
        }
        let close = if number == REQUESTS { "connection: close\r\n" } else { "" };
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{close}\r\n")).await?;
    }
    connection.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_ends_each_connection_after_some_requests_loses_no_attempt() {
    const EVENTS: usize = 500;
    let endpoint = Endpoint::start(|connection, _| close_after_many(connection)).await;
    let scene = Scene::start(&[NO_RETRIES]).await;
    scene.here.add("acme", &endpoint.url("/")).await;
    for _ in 0..EVENTS {
        scene.push("acme").await;
    }
    let record = scene.finished("acme").await;
    assert_eq!((lost(&record), record.attempts().count(), errors(&record)), (0, EVENTS, [].into()));
    let connections = endpoint.accepted();
    assert!((EVENTS / 10..EVENTS / 2).contains(&connections), "{connections} connections: the limit was met, and used");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_in_turn_share_a_connection() {
    const EVENTS: usize = 200;
    const CONNECTIONS_MAX: usize = 5;
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let scene = Scene::start(&[NO_RETRIES]).await;
    scene.here.add("acme", &receiver.url("/hook")).await;
    for number in 1..=EVENTS {
        scene.push("acme").await;
        receiver.wait_for_ended("/hook", number, SOON).await;
    }
    let connections = receiver.connections();
    assert!(connections <= CONNECTIONS_MAX, "{connections} connections for {EVENTS} events in turn");
    assert_eq!(lost(&scene.finished("acme").await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_takes_100_ms_sees_few_more_connections_than_simultaneous_requests() {
    const EVERY: Duration = Duration::from_millis(5);
    const LENGTH: Duration = Duration::from_secs(3);
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(100), Box::new(Answer::Status(200)))]);
    let scene = Scene::start(&[NO_RETRIES]).await;
    scene.here.add("acme", &receiver.url("/hook")).await;
    let (started, mut ticks) = (Instant::now(), tokio::time::interval(EVERY));
    while started.elapsed() < LENGTH {
        ticks.tick().await;
        scene.push("acme").await;
    }
    let record = scene.finished("acme").await;
    assert_eq!((lost(&record), errors(&record)), (0, [].into()));
    let (needed, connections) = (most_at_once(&receiver.requests("/hook")), receiver.connections());
    println!("{connections} connections for {needed} requests at once");
    // That share, plus two for requests that were on their way to the endpoint.
    assert!(connections <= needed * 13 / 10 + 2, "{connections} connections for {needed} requests at once");
}

/// The most of these requests that were being answered at the same time.
fn most_at_once(requests: &[Received]) -> usize {
    let began = requests.iter().map(|request| request.arrived);
    let at = |moment: Instant| {
        let is_under_way =
            |request: &&Received| request.arrived <= moment && request.ended.is_none_or(|end| end > moment);
        requests.iter().filter(is_under_way).count()
    };
    began.map(at).max().unwrap_or(0)
}
