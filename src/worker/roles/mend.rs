//! The mender: it corrects times and leases after a step of Redis's clock. It brings back times that lie too far ahead,
//! and restarts leases that began in the future. It runs as soon as this worker notices a step, and at intervals,
//! because the worker that could have noticed a step may have died.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::PUT_OFF;
use crate::{
    domain::{endpoint::LONGEST_PUT_OFF, retry::Schedule},
    store::{Longest, StoreError},
    worker::{
        Worker,
        parts::{heartbeat::Role, names},
        until_answered::tell,
    },
};

/// The interval at which times are checked (± 50 %).
const MEND_EVERY: Duration = Duration::from_secs(30);
/// The pause before the next check if Redis does not answer.
const NO_ANSWER: Duration = Duration::from_secs(1);
/// The margin by which rounding may make a wait longer than planned.
const MARGIN: Duration = Duration::from_secs(1);
/// Visits further ahead than this are brought back. They are planned within 55 minutes.
const VISIT_LONGEST: Duration = Duration::from_hours(1);
/// The time after which a new time of Redis's clock is taken to be right.
const RIGHT_AFTER: Duration = Duration::from_mins(5);

/// Mends the times of one partition.
pub(crate) async fn mend(worker: Arc<Worker>, partition: u16) {
    let next = &worker.partition(partition).alarms.mend;
    loop {
        let every = MEND_EVERY.mul_f64(rand::random_range(0.5..1.5));
        let due = next.come(Instant::now(), every);
        let Some(()) = worker.wait_for(Role::Mend, partition, due).await else { return };
        let longest = longest(&worker.rules.schedule, worker.partition(partition).clock.stepped_within(MEND_EVERY * 2));
        if let Err(error) = mend_all(&worker, partition, &longest).await {
            tell("mend times", Some(partition), &error);
            next.by(Instant::now() + NO_ANSWER);
        }
    }
}

/// The longest waits. Without a name server, deliveries may wait long among the retries. After a step of the clock they
/// come back with the retries.
fn longest(schedule: &Schedule, stepped: bool) -> Longest {
    let unnamed = if stepped { Duration::ZERO } else { names::LONGEST_WAIT };
    Longest {
        retry: schedule.longest_wait() + MARGIN,
        besides: LONGEST_PUT_OFF.max(unnamed) + MARGIN,
        release: PUT_OFF + MARGIN,
        visit: VISIT_LONGEST,
        stepped,
    }
}

async fn mend_all(worker: &Worker, partition: u16, longest: &Longest) -> Result<(), StoreError> {
    let (mut from, mut times, mut leases) = (Some("-".to_owned()), 0, 0);
    let result = loop {
        let Some(at) = from.take().filter(|_| !worker.stop.has_begun()) else { break Ok(()) };
        worker.vitals.heartbeats.note(Role::Mend, partition);
        match worker.store.mend_times(partition, longest, &at).await {
            Ok(mended) => {
                times += mended.times;
                leases += mended.leases;
                // After the last pending entry only times are left.
                from = mended.from.or_else(|| mended.more_times.then(|| "+".to_owned()));
            }
            Err(error) => break Err(error),
        }
    };
    if times > 0 {
        tracing::warn!(
            partition,
            times,
            "brought back retries, releases or visits that lay too far ahead: Redis's clock had stepped, or delivery.retry_delays was lowered"
        );
        worker.partition(partition).alarms.promote.by(Instant::now());
    }
    tracing::debug!(partition, leases, "leases with an idle time of zero begin now");
    result
}

impl Worker {
    /// Takes note of Redis's clock, as a partition answered a question that was sent at `sent`.
    pub(crate) fn hear(&self, partition: u16, now_ms: i64, sent: Instant) {
        if let Some(step_ms) = self.partition(partition).hear(now_ms, sent) {
            self.vitals.tell_of_step(step_ms);
        }
    }

    /// Whether Redis's clock, asked anew, is to be believed when it makes things old: it did not step forward just now.
    pub(crate) async fn is_clock_believed(&self, partition: u16) -> Result<bool, StoreError> {
        let (sent, here) = (Instant::now(), self.partition(partition));
        let now = self.store.now(partition).await?;
        self.hear(partition, now.timestamp_millis(), sent);
        Ok(!here.clock.leapt_within(RIGHT_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_a_name_server_is_brought_back_only_after_a_step_of_the_clock() {
        let schedule = Schedule::new(vec![Duration::from_secs(2), Duration::from_secs(4)]);
        assert!(longest(&schedule, false).besides > names::LONGEST_WAIT);
        assert_eq!(longest(&schedule, true).besides, LONGEST_PUT_OFF + MARGIN);
        assert_eq!(longest(&schedule, true).retry, Duration::from_millis(5200), "the longest retry, and a margin");
    }
}
