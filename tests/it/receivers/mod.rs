//! `make test-receivers`: real servers as receivers, each with a reload or a restart in the middle of the load.
//!
//! In each [`row`] a worker delivers to a server ([`recipes`]), while Node's `fetch` POSTs the same bodies to the same
//! server, at the same rate, from another loopback address ([`load`]). A server that reloads may lose requests of every
//! client, so the worker is compared with Node: its share of lost first attempts may be half a percent larger, and no
//! delivery may fail for good. The rows of early answers ([`early`]) compare it with `curl`. One table has all figures
//! ([`tell`]).
//!
//! The servers are programs from the system's packages. They run as an unprivileged user in a directory of their own,
//! on free ports of the loopback, with certificates of the tests' authority, and end with this process ([`server`]).

#![allow(unreachable_pub, reason = "`pub` marks the items that one part offers the others")]

mod attempts;
mod early;
mod load;
mod recipes;
mod row;
mod server;
mod tell;

use row::{ROWS, Row};
use tell::{Ending, Told};
use tokio::task::LocalSet;

/// The name of a server, or part of a row's name: only matching rows run.
const ONLY: &str = "LYNKHOOK_RECEIVERS_ONLY";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and needs servers: make test-receivers"]
async fn at_real_servers_the_worker_loses_no_more_than_an_ordinary_client_and_nothing_for_good() {
    let only = std::env::var(ONLY).unwrap_or_default();
    let rows: Vec<&'static Row> = ROWS.iter().filter(|row| row.name().contains(&only)).collect();
    assert!(!rows.is_empty(), "no row is called {only:?}; there are {:#?}", ROWS.map(|row| row.name()));
    let mut told = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", at + 1, rows.len(), row.name(), row.announcement());
        // A row that panics must not end the others.
        let tasks = LocalSet::new();
        let task = tasks.spawn_local(row.run());
        let ending = match tasks.run_until(task).await {
            Ok(ending) => ending,
            Err(error) => Ending::Broken(error.to_string()),
        };
        let one = Told { row: row.name(), ending };
        eprintln!("{one}");
        told.push(one);
    }
    println!("\n{}\n", tell::table(&told));
    let wrong: Vec<String> = told.iter().flat_map(Told::wrong).collect();
    let logs = row::logs();
    assert!(wrong.is_empty(), "not as promised (the worker's logs are in {}):\n{}", logs.display(), wrong.join("\n"));
}
