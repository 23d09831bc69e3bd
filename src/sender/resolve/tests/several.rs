//! Several name servers: one good answer is enough.

use super::*;

#[tokio::test]
async fn one_or_two_dead_servers_beside_a_good_one_delay_nothing() {
    let (dead, good) = (NameServer::mute().await, NameServer::knowing(ResponseCode::NoError, &["192.0.2.1"]).await);
    for servers in [[&dead, &good], [&good, &dead]] {
        let (found, took) = timed(&asking(&servers, anybody()), HOST).await;
        assert_eq!(found.unwrap(), list(&["192.0.2.1"]));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    let another = NameServer::mute().await;
    let resolver = asking(&[&dead, &another, &good], anybody());
    let (found, took) = timed(&resolver, HOST).await;
    assert_eq!(found.unwrap(), list(&["192.0.2.1"]));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (_, took) = timed(&resolver, HOST).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
}

/// The server that knows the name is the slowest, so that the others' answers come first.
#[tokio::test]
async fn an_address_outdoes_a_failure_a_refusal_and_a_denial_of_other_servers_in_any_order() {
    let addresses = |_: &str, _| Some((ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"])));
    let good = NameServer::slow("127.0.0.1:0".parse().unwrap(), Duration::from_millis(100), addresses).await;
    let dead = NameServer::mute().await;
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NXDomain] {
        let bad = NameServer::knowing(code, &[]).await;
        let others = NameServer::knowing(ResponseCode::ServFail, &[]).await;
        for servers in [vec![&good, &bad], vec![&bad, &good], vec![&dead, &others, &bad, &good]] {
            let resolver = asking(&servers, anybody());
            for nth in 0..3 {
                let (found, took) = timed(&resolver, HOST).await;
                assert_eq!(found, Ok(list(&["192.0.2.1", "2001:db8::1"])), "{code}, lookup {nth}");
                assert!(took < Duration::from_secs(1), "{code}: {took:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_denial_outdoes_failures_and_silence_and_without_one_the_failure_is_told() {
    let failing = NameServer::knowing(ResponseCode::ServFail, &[]).await;
    let denying = NameServer::start(|name, _| {
        Some((if name == "." { ResponseCode::NoError } else { ResponseCode::NXDomain }, Vec::new()))
    })
    .await;
    let dead = NameServer::mute().await;
    for servers in [[&failing, &denying], [&denying, &failing], [&dead, &denying], [&denying, &dead]] {
        let (failed, took) = timed(&asking(&servers, anybody()), HOST).await;
        assert_eq!(failed.unwrap_err().to_string(), "DNS: no such host hooks.example");
        assert!(took < Duration::from_secs(6), "{took:?}: two seconds, and on a busy machine more");
    }
    let alike = NameServer::start(|name, _| {
        Some((if name == "." { ResponseCode::NoError } else { ResponseCode::ServFail }, Vec::new()))
    })
    .await;
    let (failed, took) = timed(&asking(&[&failing, &alike], anybody()), HOST).await;
    let text = "DNS: looking up hooks.example failed (the name server failed)";
    assert!(matches!(&failed, Err(LookupError::Failed(fault)) if fault.to_string() == text), "{failed:?}");
    assert!(took < Duration::from_secs(6), "{took:?}: two seconds, and on a busy machine more");
}
