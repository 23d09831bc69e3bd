//! A process that accepts a request is killed before and after its script. Its client repeats the request, and the
//! events are there once.

use std::process::Stdio;

use lynkhook::{
    config::Settings,
    producer::{Accepted, Keyed, NewEvent, Producer},
};
use redis::AsyncCommands;

use super::scene::Scene;
use crate::support::*;

/// Set in the process that is killed. It is this test program again, because a backend's process is its own.
const IS_BACKEND: &str = "LYNKHOOK_TEST_IS_BACKEND";

/// Sends the request: two events under one key.
async fn accept(variables: impl IntoIterator<Item = (String, String)>) -> Accepted {
    let settings = Settings::load(None, variables).unwrap();
    let producer = Producer::connect(&settings).await.unwrap();
    let (key, events) = ("k".parse().unwrap(), [(); 2].map(|()| NewEvent::from_envelope(TRANSCRIPT)));
    let keyed = Keyed { key: &key, body: b"the same at each repetition", places: Some(&[0, 1]) };
    producer.accept(&account_id("solo"), &events, Some(keyed)).await.unwrap()
}

/// The backend's process. As a test by itself it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_sends_its_request_if_another_test_started_it() {
    if std::env::var_os(IS_BACKEND).is_some() {
        accept(std::env::vars()).await;
    }
}

pub async fn a_backend_is_killed(side: &str) {
    let point = format!("{side}-accept");
    let scene = Scene::empty().await;
    let variables = || scene.here.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let mut backend = tokio::process::Command::new(std::env::current_exe().unwrap());
    backend
        .args(["--exact", "crash_points::accepting::a_backend_sends_its_request_if_another_test_started_it"])
        .env(IS_BACKEND, "1")
        .env("LYNKHOOK_FAILPOINT", &point)
        .envs(variables())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert_eq!(backend.status().await.unwrap().code(), None, "{point} was not reached");
    let queue = scene.here.key("queue");
    let there: usize = scene.redis().xlen(&queue).await.unwrap();
    assert_eq!(there, if side == "before" { 0 } else { 2 }, "{point}");

    let repeated = accept(variables()).await;
    assert_eq!(repeated.repeated, side == "after", "{point}");
    let there: usize = scene.redis().xlen(&queue).await.unwrap();
    assert_eq!(there, 2, "{point}");
    let _worker = scene.here.program.worker([]);
    scene.drained().await;
    for id in repeated.ids {
        assert_eq!(scene.requests("/solo", id.as_str()), 1, "{point}");
    }
}
