//! Several workers in one process, one for each thread, for machines with several cores. They share nothing: each has
//! its own name in the consumer groups, its own connections to Redis and to endpoints, and its share of `concurrency`,
//! `max_bytes`, `failing_rate` and `max_connections`. So no worker waits for another, and one process of four workers
//! is like four processes of one.

use std::{sync::Arc, thread};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{WorkerError, probes::Workers, work};
use crate::{config::Settings, secrets::Vault, store::Store};

/// The result of a thread, once it ends.
type Ending = oneshot::Receiver<Result<(), WorkerError>>;

/// The settings of the `nth` worker: its share of the process's limits.
pub(super) fn share(settings: &Settings, nth: usize) -> Settings {
    let threads = settings.threads();
    let mut own = settings.clone();
    let worker = &mut own.worker;
    worker.concurrency = worker.concurrency / threads + usize::from(nth < worker.concurrency % threads);
    worker.max_bytes = (worker.max_bytes / threads as u64).max(1);
    // Looking up a name takes two connections.
    own.egress.max_connections = (own.egress.max_connections / threads).max(2);
    worker.failing_rate = (worker.failing_rate / u32::try_from(threads).unwrap_or(u32::MAX)).max(1);
    own
}

/// Starts all but the first, which runs on the thread that calls this. Whichever cannot start or ends by itself ends the
/// others, in good order.
pub(super) fn start(
    settings: &Settings,
    vault: &Vault,
    workers: &Arc<Workers>,
    stop: &CancellationToken,
) -> Vec<Ending> {
    (1..settings.threads())
        .map(|nth| {
            let (settings, vault, workers, stop) = (share(settings, nth), vault.clone(), workers.clone(), stop.clone());
            let (end, ended) = oneshot::channel();
            let unstarted = stop.clone();
            let run = move || {
                // However this worker ends, even by a panic, the others are told to stop.
                let others = stop.clone().drop_guard();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let result = runtime.map_err(WorkerError::Thread).and_then(|runtime| {
                    runtime.block_on(async {
                        let store = Store::open(&settings).await?;
                        work(&settings, (store, vault), (&workers, nth), stop).await
                    })
                });
                drop(others);
                let _ = end.send(result);
            };
            match thread::Builder::new().name(format!("worker-{nth}")).spawn(run) {
                Ok(_) => ended,
                Err(error) => {
                    unstarted.cancel();
                    let (end, ended) = oneshot::channel();
                    let _ = end.send(Err(WorkerError::Thread(error)));
                    ended
                }
            }
        })
        .collect()
}

/// Waits until all of them have ended; returns the first error.
pub(super) async fn ended(others: Vec<Ending>) -> Result<(), WorkerError> {
    let mut all = Ok(());
    for other in others {
        all = all.and(other.await.unwrap_or(Err(WorkerError::ThreadEnded)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_share_the_process_limits_and_each_gets_something() {
        for (concurrency, threads) in [(256, 1), (256, 3), (7, 2), (1, 4)] {
            let variables = [("concurrency", concurrency), ("threads", threads)]
                .map(|(name, value)| (format!("LYNKHOOK_WORKER__{}", name.to_uppercase()), value.to_string()));
            let settings = Settings::load(None, variables).unwrap();
            let workers = settings.threads();
            let shares: Vec<usize> = (0..workers).map(|nth| share(&settings, nth).worker.concurrency).collect();
            assert_eq!(shares.iter().sum::<usize>(), concurrency, "{shares:?}");
            assert!(shares.iter().all(|share| *share >= concurrency / workers && *share >= 1), "{shares:?}");
        }
    }
}
