//! Idle connections: how many are kept and for how long, and which of them are never used again.

use std::{io, time::Instant};

use tokio::sync::{mpsc, watch};

use super::*;

/// Puts 100 requests in flight at once at one host, and waits until at most `kept_max` connections stay open.
async fn burst(settings: &[(&str, &str)], kept_max: usize) {
    const REQUESTS: usize = 100;
    const WITHIN: Duration = Duration::from_secs(3);
    let (gate, opened) = watch::channel(false);
    let endpoint = Endpoint::start(move |connection, _| answer_when(connection, opened.clone())).await;
    let scene = Scene::start(settings).await;
    for number in 0..REQUESTS {
        let account = format!("account-{number}");
        scene.here.add(&account, &endpoint.url("/")).await;
        scene.here.push(&account, TRANSCRIPT).await;
    }
    eventually(SOON, "a connection for each request", async || (endpoint.open() == REQUESTS).then_some(())).await;
    gate.send_replace(true);
    scene.here.drained().await;
    let what = format!("at most {kept_max} idle connections");
    eventually(WITHIN, &what, async || (endpoint.open() <= kept_max).then_some(())).await;
    assert!(endpoint.open() > 0, "some connections are kept");
}

async fn answer_when(mut connection: Connection, mut opened: watch::Receiver<bool>) -> io::Result<()> {
    while connection.request().await?.is_some() {
        opened.wait_for(|opened| *opened).await.map_err(io::Error::other)?;
        connection.answer(200).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_100_requests_leaves_64_idle_connections_at_most() {
    burst(&[], 64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_leaves_as_many_idle_connections_to_a_host_as_the_setting_allows() {
    burst(&[("LYNKHOOK_EGRESS__IDLE_CONNECTIONS_PER_HOST", "5")], 5).await;
}

/// Sends each answer with this header, and reports how long after an answer the client closes the connection; `None` if
/// it takes longer than `patience`.
async fn time_the_close(
    mut connection: Connection,
    header: String,
    patience: Duration,
    closes: mpsc::UnboundedSender<Option<Duration>>,
) -> io::Result<()> {
    while connection.request().await?.is_some() {
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{header}\r\n")).await?;
        let answered = Instant::now();
        let after = match tokio::time::timeout(patience, connection.has_more()).await {
            Ok(Ok(true)) => continue,
            Ok(_) => Some(answered.elapsed()),
            Err(_) => None,
        };
        let _ = closes.send(after);
    }
    Ok(())
}

/// The time after which the connection is closed, for an endpoint that sends this header with its answer.
async fn closed_after(scene: &Scene, account: &str, header: &str, patience: Duration) -> Option<Duration> {
    let ((told, mut closes), header) = (mpsc::unbounded_channel(), header.to_owned());
    let serve = move |connection, _| time_the_close(connection, header.clone(), patience, told.clone());
    let endpoint = Endpoint::start(serve).await;
    scene.here.add(account, &endpoint.url("/")).await;
    scene.push(account).await;
    assert_eq!(lost(&scene.finished(account).await), 0);
    closes.recv().await.expect("the endpoint tells")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_before_the_endpoints_announced_timeout() {
    let scene = Scene::start(&[]).await;
    let closed = async |seconds: u64| {
        let header = format!("Keep-Alive: timeout={seconds}, max=1000\r\n");
        let limit = Duration::from_secs(seconds);
        (seconds, closed_after(&scene, &format!("keeps-{seconds}"), &header, limit).await)
    };
    for (seconds, closed) in <[_; 3]>::from(tokio::join!(closed(1), closed(2), closed(4))) {
        println!("timeout={seconds}: closed after {closed:?}");
        let closed = closed.unwrap_or_else(|| panic!("timeout={seconds}: it was still open then"));
        // One second before the timeout. Half a second more is allowed for a busy machine, or for an earlier start of
        // the count.
        let least = Duration::from_secs(seconds.saturating_sub(1)).saturating_sub(Duration::from_millis(500));
        assert!(closed >= least, "timeout={seconds}: closed after {closed:?}, which is too early to be of use");
    }
}

/// `make bounds` runs it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make bounds"]
async fn long_an_idle_connection_is_closed_after_30_seconds() {
    let scene = Scene::start(&[]).await;
    let closed = closed_after(&scene, "acme", "", Duration::from_secs(40)).await.expect("it is closed");
    assert!((25..=32).contains(&closed.as_secs()), "closed after {closed:?}");
}

/// `make bounds` runs it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make bounds"]
async fn long_no_connection_is_used_for_more_than_five_minutes() {
    const LENGTH: Duration = Duration::from_secs(310);
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let scene = Scene::start(&[]).await;
    scene.here.add("acme", &receiver.url("/hook")).await;
    let (started, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_secs(1)));
    while started.elapsed() < LENGTH {
        ticks.tick().await;
        scene.push("acme").await;
    }
    assert_eq!(lost(&scene.finished("acme").await), 0);
    let requests = receiver.requests("/hook");
    for connection in 1..=receiver.connections() {
        let times: Vec<Instant> =
            requests.iter().filter(|one| one.connection == connection).map(|one| one.arrived).collect();
        let used_for = times.last().zip(times.first()).map_or(Duration::ZERO, |(last, first)| *last - *first);
        assert!(used_for <= Duration::from_secs(301), "connection {connection} was used for {used_for:?}");
    }
    assert_eq!(receiver.connections(), 2, "one after the other");
}

/// The misbehaviour after the first answer on a connection.
#[derive(Clone, Copy, Debug)]
enum Unasked {
    /// One byte more than the answer's length, sent with the answer.
    OneByteMore,
    /// The same byte a moment later.
    OneByteLater,
    /// An answer to a request that has not been sent.
    Answer,
    /// Only TLS's closing message.
    CloseNotify,
}

async fn misbehave(mut connection: Connection, number: usize, unasked: Unasked) -> io::Result<()> {
    // Long after the answer was read, and long before anything else happens.
    const LATER: Duration = Duration::from_millis(100);
    while connection.request().await?.is_some() {
        if number > 1 {
            connection.answer(204).await?;
            continue;
        }
        let more = if matches!(unasked, Unasked::OneByteMore) { "!" } else { "" };
        connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{more}")).await?;
        tokio::time::sleep(LATER).await;
        match unasked {
            Unasked::OneByteMore => {}
            Unasked::OneByteLater => connection.send("!").await?,
            Unasked::Answer => connection.answer(200).await?,
            Unasked::CloseNotify => connection.close().await?,
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_brings_what_nobody_asked_for_is_closed_and_answers_no_other_request() {
    let rows = [Unasked::OneByteMore, Unasked::OneByteLater, Unasked::Answer, Unasked::CloseNotify];
    let scene = Scene::start(&[NO_RETRIES]).await;
    let mut wrong = Vec::new();
    for unasked in rows {
        let endpoint = Endpoint::start(move |connection, number| misbehave(connection, number, unasked)).await;
        let account = format!("{unasked:?}");
        scene.here.add(&account, &endpoint.url("/")).await;
        scene.push(&account).await;
        scene.finished(&account).await;
        let is_closed = async || (endpoint.open() == 0).then_some(());
        eventually(Duration::from_secs(5), &format!("{unasked:?}: the connection is closed"), is_closed).await;
        scene.push(&account).await;
        let record = scene.finished(&account).await;
        let statuses: Vec<&str> = record.attempts().map(|attempt| attempt.status.as_str()).collect();
        if (statuses.as_slice(), endpoint.accepted()) != (&["200", "204"], 2) {
            wrong.push(format!("{unasked:?}: {statuses:?} over {} connections", endpoint.accepted()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
