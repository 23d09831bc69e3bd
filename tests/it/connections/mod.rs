//! Each request has a connection to itself. These tests are about connections: how they are opened, kept and reused,
//! the cost of an endpoint's own limits, and that no endpoint is blamed for a shortage in the worker.
//!
//! The endpoints count the connections; attempts and their times come from the worker's log. The limits leave room for
//! a machine that is busy with other tests. Times are compared within a run if possible.

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

/// One attempt for each event, so that every failed attempt is a failed event.
const NO_RETRIES: (&str, &str) = ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "");

/// A worker that logs its attempts.
struct Scene {
    here: Installation,
    worker: Process,
    times: Timetable,
    /// Its file of authorities must exist while the worker runs.
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

    /// The attempts for an account's events so far.
    fn record(&self, account: &str) -> Record {
        self.times.of(account, &[self.worker.stderr()])
    }

    /// Waits until each event of an account has had its last attempt. Answers all attempts.
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

/// The number of events that never arrived.
fn lost(record: &Record) -> usize {
    record.events.values().filter(|(_, attempts)| !attempts.iter().any(Timed::is_good)).count()
}

/// The errors of failed attempts: each text with its number of occurrences.
fn errors(record: &Record) -> std::collections::BTreeMap<&str, usize> {
    let mut errors = std::collections::BTreeMap::new();
    for error in record.attempts().filter_map(|attempt| attempt.error.as_deref()) {
        *errors.entry(error).or_default() += 1;
    }
    errors
}
