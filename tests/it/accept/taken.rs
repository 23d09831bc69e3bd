//! The events that are taken of a batch, and those that cannot be taken back.

use lynkhook::{
    domain::event::EventId,
    producer::{AcceptError, Accepted},
};

use super::{Here, batch};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_of_which_other_events_are_taken_is_told_and_adds_nothing() {
    let here = Here::new().await;
    let (events, body) = batch(3);
    // A server with an older catalogue does not know the first event's type.
    let first = here.send_taken("k", &events[1..], &[1, 2], &body).await.unwrap();
    assert!(first.ids.iter().map(EventId::as_str).zip(["-1", "-2"]).all(|(id, place)| id.ends_with(place)));
    let again = here.send_taken("k", &events[1..], &[1, 2], &body).await.unwrap();
    assert_eq!(again, Accepted { repeated: true, ..first.clone() });
    let all = here.send_all("k", &events, &body).await;
    assert!(matches!(all, Err(AcceptError::KeyReused)), "{all:?}");
    assert_eq!(here.queue().await.len(), 2);
    // Under a new key, the events that are in the queue already have other ids, and the first is added.
    assert_eq!(here.send_all("new", &events, &body).await.unwrap().ids.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_which_nothing_is_taken_notes_its_key() {
    let here = Here::new().await;
    let none = here.send_taken("k", &[], &[], "one body").await.unwrap();
    assert_eq!(none, Accepted { ids: Vec::new(), repeated: false });
    assert!(here.send_taken("k", &[], &[], "one body").await.unwrap().repeated);
    let other = here.send_taken("k", &[], &[], "another body").await;
    assert!(matches!(other, Err(AcceptError::KeyReused)), "{other:?}");
    assert_eq!(here.queue().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_cannot_be_taken_back_are_no_certain_refusal() {
    let redis = RedisServer::start(AppendFsync::No);
    let here = Here::on(&redis, &[("idempotency.max_bytes", "2KiB")]).await;
    let _: () = redis::cmd("ACL")
        .arg(&["SETUSER", "default", "-xdel", "-rename"])
        .query_async(&mut redis.connection().await)
        .await
        .unwrap();
    // Their hash is to rotate with so many keys, and this user may not rotate it.
    let mut refused = Vec::new();
    for number in 0..12 {
        refused.extend(here.send(&format!("{number}"), TRANSCRIPT).await.err());
    }
    assert!(!refused.is_empty(), "no rotation was due");
    assert!(refused.iter().all(|error| matches!(error, AcceptError::Unknown(_))), "{refused:?}");
}
