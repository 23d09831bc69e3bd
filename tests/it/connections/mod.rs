//! Each request has a connection to itself. These tests are about connections: how they are opened, kept and used
//! again, what an endpoint's own limits on them cost, and that no endpoint is blamed for a shortage on this side.
//!
//! The endpoints count the connections; attempts and their times are those of the worker's log. The limits are wide
//! enough for a machine that is busy with other tests, and times are compared within a run where they can be.

mod addresses;
mod early_answers;
mod files;
mod host_limit;
mod idle;
mod protocol;
mod reuse;
mod settings;
mod shared_host;

use std::time::Duration;

use crate::support::*;

/// One attempt for each event, so that an attempt that failed is an event that failed.
const NO_RETRIES: (&str, &str) = ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "");

/// A worker that tells of its attempts.
struct Scene {
    here: Installation,
    worker: Process,
    times: Timetable,
    /// Its file of authorities has to stay while the worker runs.
    authority: Receiver,
}

impl Scene {
    /// A worker with these settings.
    async fn start(settings: &[(&str, &str)]) -> Self {
        let authority = Receiver::start().await;
        let here = Installation::new(&authority).await;
        let settings = TELLING.iter().chain(settings);
        let program = settings.fold(here.program.clone(), |program, (name, value)| program.env(name, value));
        let worker = program.worker([]);
        worker.wait_for_line("worker started").await;
        let times = Timetable::watch(&here);
        Self { here, worker, times, authority }
    }

    /// Pushes an event for an account.
    async fn push(&self, account: &str) {
        self.times.push(&self.here, account).await;
    }

    /// The attempts at an account's events so far.
    fn record(&self, account: &str) -> Record {
        self.times.of(account, &[self.worker.stderr()])
    }

    /// Waits until each event of an account had its last attempt; answers all attempts.
    async fn finished(&self, account: &str) -> Record {
        eventually(SOON, &format!("the last attempt of each event of {account}"), async || {
            let record = self.record(account);
            let is_done = record.events.values().all(|(_, attempts)| attempts.last().is_some_and(|last| last.last));
            if !is_done {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            is_done.then_some(record)
        })
        .await
    }
}

/// How many events never arrived.
fn lost(record: &Record) -> usize {
    record.events.values().filter(|(_, attempts)| !attempts.iter().any(Timed::is_good)).count()
}

/// The errors of the attempts that failed, each text once with how often it was met.
fn errors(record: &Record) -> std::collections::BTreeMap<&str, usize> {
    let mut errors = std::collections::BTreeMap::new();
    for error in record.attempts().filter_map(|attempt| attempt.error.as_deref()) {
        *errors.entry(error).or_default() += 1;
    }
    errors
}
