//! The worker's loops, one file each. A loop ends when the worker stops.

mod audit;
mod claim;
mod gauge;
mod mend;
mod promote;
mod publish;
mod read;
mod release;
pub(crate) mod renew;
mod sweep;
mod together;
mod visit;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, task::JoinSet};

use super::{
    Worker,
    parts::{
        heartbeat::{BEAT_EVERY, Role},
        partition::StepBatches,
    },
};
use crate::failpoint;

/// A release or visit that Redis refuses is tried again after this long.
const PUT_OFF: Duration = Duration::from_mins(1);
/// One read takes at most this many entries.
const READ_MAX: usize = 64;

/// Starts the loops: `taking` take entries from Redis; `serving` serve the entries in hand, until none is left.
pub(crate) fn spawn(
    worker: &Arc<Worker>,
    asked: Vec<StepBatches>,
    taking: &mut JoinSet<()>,
    serving: &mut JoinSet<()>,
) {
    // The partition whose visits are made holds this lock.
    let one_visits = Arc::new(Mutex::new(()));
    for (partition, StepBatches { look_up, settle, hold }) in (0..).zip(asked) {
        taking.spawn(read::read(worker.clone(), partition));
        taking.spawn(claim::claim(worker.clone(), partition));
        taking.spawn(promote::promote(worker.clone(), partition));
        taking.spawn(release::release(worker.clone(), partition));
        taking.spawn(visit::visit(worker.clone(), partition, one_visits.clone()));
        taking.spawn(audit::audit(worker.clone(), partition));
        taking.spawn(mend::mend(worker.clone(), partition));
        serving.spawn(together::look_up(worker.clone(), partition, look_up));
        serving.spawn(together::settle(worker.clone(), partition, settle));
        serving.spawn(together::hold(worker.clone(), partition, hold));
    }
    taking.spawn(publish::publish(worker.clone()));
    taking.spawn(sweep::sweep(worker.clone()));
    taking.spawn(gauge::gauge(worker.clone()));
}

impl Worker {
    /// Leaves a mark of a loop, which shows that it is not wedged. A test may wedge it here.
    async fn beat(&self, role: Role, partition: u16) {
        self.vitals.heartbeats.note(role, partition);
        failpoint::wedge(role.name()).await;
    }

    /// Waits on behalf of a loop, and leaves marks of it meanwhile.
    async fn beating<T>(&self, role: Role, partition: u16, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            self.beat(role, partition).await;
            tokio::select! {
                biased;
                answer = &mut what => return answer,
                () = tokio::time::sleep(BEAT_EVERY) => {}
            }
        }
    }

    /// The same; `None` if the worker stops first.
    async fn wait_for<T>(&self, role: Role, partition: u16, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.begins() => None,
            answer = self.beating(role, partition, what) => Some(answer),
        }
    }
}
