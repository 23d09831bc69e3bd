//! Where a delivery waits whose host's name cannot be looked up because no name server answers: among the retries, and
//! under its own attempt number, since none was made. It keeps no slot and no place, so that hosts whose names are known
//! are served meanwhile. In `held` it would count against its webhook's limit.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    Worker,
    admit::{PutOff, hold},
    leases::Lease,
};
use crate::{
    domain::{delivery::Delivery, entry::Judged},
    store::{Reason, Settled},
};

/// A delivery waits this long, and this much longer than the one before, so that however many wait, they take little of
/// the worker's time; but no longer than the last of these.
const WAIT: Duration = Duration::from_secs(1);
const APART: Duration = Duration::from_millis(2);
const WAIT_AT_MOST: Duration = Duration::from_secs(30);

/// When the last of those that wait is due.
#[derive(Default)]
pub(super) struct Unnamed(Mutex<Option<Instant>>);

impl Unnamed {
    fn wait(&self, now: Instant) -> Duration {
        let mut last = self.0.lock().expect("never poisoned");
        let after_last = last.map_or(now, |last| last + APART);
        let due = after_last.clamp(now + WAIT, now + WAIT_AT_MOST);
        *last = Some(due);
        due - now
    }
}

/// Puts a delivery off until its host's name can be looked up, perhaps.
pub(super) async fn wait_for_names(worker: &Worker, lease: &Lease, delivery: &Delivery, judged: &Judged) -> PutOff {
    let after = worker.unnamed.wait(Instant::now());
    if let Some(Settled::Done) = hold(worker, lease, delivery, &judged.envelope, Reason::Again { after }).await {
        worker.figures.put_off();
        worker.next_promote[usize::from(lease.partition())].by(tokio::time::Instant::now() + after);
    }
    PutOff::Waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_wait_for_a_second_and_many_one_after_the_other_but_never_long() {
        let (unnamed, now) = (Unnamed::default(), Instant::now());
        let waits: Vec<Duration> = (0..20_000).map(|_| unnamed.wait(now)).collect();
        assert_eq!((waits[0], waits[100]), (WAIT, Duration::from_millis(1200)));
        assert_eq!(waits[19_999], WAIT_AT_MOST);
        assert_eq!(unnamed.wait(now + WAIT_AT_MOST * 2), WAIT, "when the others came back, there is no queue");
    }
}
