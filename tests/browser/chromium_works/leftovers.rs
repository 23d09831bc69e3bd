use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::outcome;
use crate::{
    chromium::{Page, home},
    site::Site,
    support::{SOON, eventually},
};

const HOME: &str = "the home of the browser is ";

/// The processes of this machine whose command line names this directory.
fn processes_of(home: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let command = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&command).contains(home).then_some(())
    });
    processes.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_process_that_is_killed_leaves_no_browser_and_no_directory() {
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "chromium_works::leftovers::waits_with_a_browser_to_be_killed"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    let home = loop {
        let line = lines.next_line().await.unwrap().expect("it prints its directory");
        if let Some((_, home)) = line.split_once(HOME) {
            break home.to_owned();
        }
    };
    assert!(PathBuf::from(&home).is_dir() && processes_of(&home) > 2, "there is a browser in {home}");
    killed.kill().await.unwrap();
    eventually(SOON, "the browser and its directory are gone", async || {
        (!PathBuf::from(&home).exists() && processes_of(&home) == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it waits to be killed: the test above runs it"]
async fn waits_with_a_browser_to_be_killed() {
    let site = Site::of_page("here").await;
    let page = Page::open(&site.url("/")).await;
    page.sees("here").await;
    println!("{HOME}{}", home().display());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_fails_ends_its_browser() {
    let site = Site::of_page("here").await;
    let url = site.url("/");
    let (tell, told) = tokio::sync::oneshot::channel();
    let ended = outcome(async move || {
        let page = Page::open(&url).await;
        tell.send(page.driver.session_id().to_string()).unwrap();
        panic!("a test fails");
    });
    assert_eq!(ended.await.unwrap_err(), "a test fails");
    let session = told.await.unwrap();
    let sessions = reqwest::get(format!("{}/sessions", crate::chromium::driver_url())).await.unwrap();
    let sessions = String::from_utf8(sessions.bytes().await.unwrap().to_vec()).unwrap();
    assert!(sessions.contains("\"value\"") && !sessions.contains(&session), "{session}: {sessions}");
}
