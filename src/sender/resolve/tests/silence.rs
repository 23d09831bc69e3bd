//! A name server that fails, refuses or is silent: when that is the endpoint's fault, and when it is ours.

use std::sync::atomic::AtomicBool;

use super::*;

#[tokio::test]
async fn a_name_that_is_not_answered_while_the_root_is_fails_well_within_an_attempt() {
    let server = NameServer::start(|name, _| (name == ".").then(|| (ResponseCode::NoError, Vec::new()))).await;
    let (failed, took) = timed(&asking(&[&server], anybody()), HOST).await;
    let text = "DNS: looking up hooks.example failed (no answer from the name servers)";
    assert!(matches!(&failed, Err(LookupError::Failed(fault)) if fault.to_string() == text), "{failed:?}");
    assert!(took >= QUESTION_TIMEOUT * 2 && took < ATTEMPT * 6 / 10, "{took:?}");
}

/// A forwarder answers like this while the server behind it is down.
#[tokio::test]
async fn if_every_name_and_the_root_fail_or_are_refused_the_fault_is_ours_until_an_answer_is_useful() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let is_down = Arc::new(AtomicBool::new(true));
        let down = is_down.clone();
        let server = NameServer::start(move |_, _| {
            Some(if down.load(Ordering::SeqCst) {
                (code, Vec::new())
            } else {
                (ResponseCode::NoError, list(&["192.0.2.1"]))
            })
        })
        .await;
        let resolver = asking(&[&server], anybody());
        let (failed, took) = timed(&resolver, HOST).await;
        assert_eq!(failed, Err(LookupError::NoServer(NO_ANSWER)), "{code}");
        assert!(took >= JUDGED_WITHIN && took < ATTEMPT * 8 / 10, "{took:?}");
        let (failed, took) = timed(&resolver, "other.example").await;
        assert_eq!(failed, Err(LookupError::NoServer(NO_ANSWER)), "{code}");
        assert!(took < Duration::from_millis(500), "{took:?}");
        is_down.store(false, Ordering::SeqCst);
        assert_eq!(resolver.addresses(HOST).await.unwrap(), list(&["192.0.2.1"]), "{code}");
    }
}

#[tokio::test]
async fn a_failure_or_a_refusal_for_one_name_is_the_endpoints_fault_if_another_name_is_answered_meanwhile() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        // This server refuses the root.
        let server = NameServer::start(move |name, _| {
            Some(if name == "good.example." { (ResponseCode::NXDomain, Vec::new()) } else { (code, Vec::new()) })
        })
        .await;
        let resolver = asking(&[&server], anybody());
        let others = async {
            loop {
                let _ = resolver.addresses("good.example").await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        let (failed, took) = tokio::select! {
            judged = timed(&resolver, HOST) => judged,
            () = others => unreachable!(),
        };
        assert!(matches!(failed, Err(LookupError::Failed(_))), "{failed:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

/// A name server that serves just some zones, in a closed network, refuses the root, fails or drops it.
#[tokio::test]
async fn if_the_root_is_not_served_a_dead_name_is_the_endpoints_fault_even_if_the_only_good_name_is_cached() {
    let (fails, refuses) = (Some(ResponseCode::ServFail), Some(ResponseCode::Refused));
    let judged = async |root: Option<ResponseCode>, dead: Option<ResponseCode>| {
        let server = NameServer::start(move |name, _| match name {
            "good.example." => Some((ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"]))),
            "." => root.map(|code| (code, Vec::new())),
            _ => dead.map(|code| (code, Vec::new())),
        })
        .await;
        let resolver = asking(&[&server], anybody());
        // Before any name was found, nothing shows that the server works.
        assert_eq!(resolver.addresses(HOST).await, Err(LookupError::NoServer(NO_ANSWER)), "{root:?}, {dead:?}");
        let asked = server.asked.load(Ordering::SeqCst);
        while resolver.addresses("good.example").await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        assert!(server.asked.load(Ordering::SeqCst) > asked);
        let (failed, took) = timed(&resolver, HOST).await;
        assert!(matches!(failed, Err(LookupError::Failed(_))), "{root:?}, {dead:?}: {failed:?}");
        took
    };
    let (first, second, third) = tokio::join!(judged(refuses, fails), judged(None, fails), judged(fails, None));
    assert!(first < Duration::from_secs(2) && second < Duration::from_secs(2), "{first:?}, {second:?}");
    assert!(third >= QUESTION_TIMEOUT * 2 && third < ATTEMPT * 6 / 10, "{third:?}");
}

/// A forwarder whose own server is down still gives the addresses in its cache, and fails or refuses the rest.
#[tokio::test]
async fn if_all_fails_but_the_addresses_of_the_name_found_last_the_fault_is_ours() {
    let judged = async |code: ResponseCode, keeps: bool| {
        let is_down = Arc::new(AtomicBool::new(false));
        let down = is_down.clone();
        let server = NameServer::start(move |name, kind| {
            let is_kept = keeps && name == "good.example." && kind != RecordType::SOA;
            let answers = is_kept || !down.load(Ordering::SeqCst);
            Some(if answers {
                (ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"]))
            } else {
                (code, Vec::new())
            })
        })
        .await;
        let resolver = asking(&[&server], anybody());
        resolver.addresses("good.example").await.unwrap();
        is_down.store(true, Ordering::SeqCst);
        assert_eq!(resolver.addresses(HOST).await, Err(LookupError::NoServer(NO_ANSWER)), "{code}, {keeps}");
        is_down.store(false, Ordering::SeqCst);
        assert!(resolver.addresses(HOST).await.is_ok(), "{code}, {keeps}");
    };
    let (fails, refuses) = (ResponseCode::ServFail, ResponseCode::Refused);
    tokio::join!(judged(fails, true), judged(refuses, true), judged(fails, false), judged(refuses, false));
}

#[tokio::test]
async fn a_name_server_that_takes_three_seconds_for_each_answer_is_waited_for_and_then_known() {
    let known = |name: &str, _| {
        (name != "silent.example.").then(|| (ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"])))
    };
    let server = NameServer::slow("127.0.0.1:0".parse().unwrap(), Duration::from_secs(3), known).await;
    let resolver = asking(&[&server], anybody());
    let lookup = timed(&resolver, HOST);
    let ((found, took), (silent, _)) = tokio::join!(lookup, timed(&resolver, "silent.example"));
    assert_eq!(found.unwrap(), list(&["192.0.2.1", "2001:db8::1"]));
    assert!(took < ATTEMPT * 8 / 10, "{took:?}");
    assert!(matches!(silent, Err(LookupError::Failed(_))), "{silent:?}");
    let (found, took) = timed(&resolver, HOST).await;
    assert!(found.is_ok() && took < Duration::from_millis(500), "its answer is kept: {took:?}");
}

#[tokio::test]
async fn if_no_name_server_answers_the_fault_is_ours_and_then_known_at_once() {
    let server = NameServer::mute().await;
    let resolver = asking(&[&server], anybody());
    let (failed, took) = timed(&resolver, HOST).await;
    assert_eq!(failed, Err(LookupError::NoServer("no name server answers")));
    assert!(took >= JUDGED_WITHIN && took < ATTEMPT * 8 / 10, "{took:?}");
    let (failed, took) = timed(&resolver, "other.example").await;
    assert_eq!(failed, Err(LookupError::NoServer("no name server answers")));
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn silence_that_outlasts_a_short_attempt_is_ours_and_then_known_at_once() {
    let server = NameServer::mute().await;
    let resolver = asking(&[&server], anybody());
    let began = tokio::time::Instant::now();
    timeout(Duration::from_millis(1200), resolver.addresses(HOST)).await.unwrap_err();
    assert_eq!(resolver.silent_since(began), Some(NO_ANSWER));
    let (failed, took) = timed(&resolver, HOST).await;
    assert!(failed == Err(LookupError::NoServer(NO_ANSWER)) && took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn a_name_server_that_comes_back_is_used_at_once_and_known_names_are_found_meanwhile() {
    let known = |name: &str, _| (name != "lost.example.").then(|| (ResponseCode::NoError, list(&["192.0.2.1"])));
    // The absence of IPv6 addresses is not cached: the answer does not say for how long there are none.
    let server = NameServer::start(known).await;
    let resolver = asking(&[&server], anybody());
    let address = server.address;
    resolver.addresses(HOST).await.unwrap();
    drop(server);
    let (lost, kept) = tokio::join!(resolver.addresses("other.example"), async {
        sleep(Duration::from_secs(3)).await;
        resolver.addresses(HOST).await
    });
    assert_eq!(lost, Err(LookupError::NoServer(NO_ANSWER)));
    assert_eq!(kept.unwrap(), list(&["192.0.2.1"]));
    assert!(timed(&resolver, HOST).await.0.is_ok(), "also while no name server answers");
    let _back = NameServer::at(address, known).await;
    let began = Instant::now();
    while resolver.addresses("other.example").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(3));
        sleep(Duration::from_millis(20)).await;
    }
}

/// If a name server answers after the question was given up, its own silence must not become the endpoint's fault.
#[tokio::test]
async fn a_name_server_that_comes_back_during_a_lookup_is_asked_again() {
    let server = NameServer::mute().await;
    let (resolver, address) = (asking(&[&server], anybody()), server.address);
    let (found, ()) = tokio::join!(resolver.addresses(HOST), async {
        sleep(Duration::from_secs(3)).await;
        drop(server);
        sleep(Duration::from_millis(10)).await;
        let answering = |_: &str, _| Some((ResponseCode::NoError, list(&["192.0.2.1"])));
        std::mem::forget(NameServer::at(address, answering).await);
    });
    assert_eq!(found.unwrap(), list(&["192.0.2.1"]));
}
