//! What a worker does beside delivering: claim, promote, renew, publish. Each role is one loop that ends when
//! the worker stops.

use std::{sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    READ_MAX, Worker,
    heartbeat::{PROMOTE_EVERY, Role},
    slots::{Share, Taker},
    until_answered::{Backoff, tell},
};
use crate::{
    failpoint,
    store::{BATCH_MAX_BYTES, Claimed, Entry, Room, StoreError, Untold},
};

/// Leases renewed by one script.
const RENEW_BATCH: usize = 100;
/// A worker's figures are published this often, so that they say what limits an endpoint now; they expire in 30 s.
const PUBLISH_EVERY: Duration = Duration::from_secs(2);
/// Suspects are looked through in at most this many claims in a row, each of which may read 4 MiB.
const LOOKS_MAX: usize = 16;
/// The promoter turns at most this often: what becomes due meanwhile is moved together.
const PROMOTE_PACE: Duration = Duration::from_millis(5);
/// Consumers of workers that are long dead, and rejected entries that are too old, are looked for this often.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
/// Whether a worker's thread has time left is measured over this long.
const GAUGE_EVERY: Duration = Duration::from_millis(250);
/// Of an entry claimed this often, the worker may have died: it is attempted apart from other such entries.
const SUSPECT_DELIVERIES: u32 = 3;

/// Takes over entries whose worker died.
pub(super) async fn claim(worker: Arc<Worker>, partition: u16) {
    let mut claims = Claims::default();
    loop {
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = worker.suspects.next(partition) => {}
            () = tokio::time::sleep(worker.claim_every.mul_f64(rand::random_range(0.5..1.5))) => {}
        }
        // A dead worker may have held far more than one claim takes. Each claim that is repeated took an entry at least, so
        // there are never more of them than entries to take over; or it looks on among the suspects.
        let mut looks = 0;
        while looks < LOOKS_MAX && claim_once(&worker, partition, &mut claims).await {
            looks += usize::from(claims.next.is_some());
        }
    }
}

/// What one claim leaves to the next.
#[derive(Default)]
struct Claims {
    /// Where to look on among the suspects.
    next: Option<String>,
    /// When the claim was sent that got no answer: what it took is to be taken back.
    untold: Option<Instant>,
}

/// Claims as many entries as there are slots; `true` where more may be left.
async fn claim_once(worker: &Arc<Worker>, partition: u16, claims: &mut Claims) -> bool {
    worker.turns.note(Role::Claim, partition);
    failpoint::wedge("claim").await;
    // After Redis's clock leapt forward all leases seem to have ended, until their holders have renewed them.
    if worker.clock.leapt_within(worker.renew_every * 12 / 5) {
        return false;
    }
    let Some(mut slots) = worker.slots_for_claim(partition).await else { return false };
    let room = slots.num_permits();
    let sent = Instant::now();
    let mut alone = worker.suspects.try_begin(partition);
    let (not, last) = worker.suspects.names();
    let may_take = Room {
        entries: room,
        suspects: usize::from(alone.is_some()),
        from: claims.next.take(),
        not,
        last,
        latest: worker.clock.known().latest,
    };
    let claimed = if let Some(untold) = claims.untold {
        let in_hand = worker.leases.due(partition, Duration::ZERO);
        // And a while more, for this may have to wait for a connection.
        let untold = Untold::Claimed { in_hand: &in_hand, within: untold.elapsed() + worker.lease / 4 };
        let taken = worker.store.take_back(partition, &worker.consumer, untold, room).await;
        taken.map(|entries| Claimed { entries, next: None })
    } else {
        worker.store.claim(partition, &worker.consumer, worker.lease, may_take).await
    };
    let entries = match claimed {
        Ok(claimed) => {
            claims.next = claimed.next;
            claimed.entries
        }
        Err(StoreError::NoGroup) => return false,
        Err(error) => {
            tell("claim", Some(partition), &error);
            claims.untold.get_or_insert(sent);
            return false;
        }
    };
    let bytes: usize = entries.iter().map(Entry::size_bytes).sum();
    let is_full = entries.len() == room || bytes >= BATCH_MAX_BYTES;
    let was_untold = claims.untold.is_some();
    claims.untold = claims.untold.filter(|_| is_full);
    match entries.len() {
        0 => {}
        count if was_untold => {
            tracing::info!(partition, entries = count, "took back entries that a claim's lost answer had told of");
        }
        count => {
            tracing::info!(
                partition,
                entries = count,
                "took over entries whose worker was not heard of for a whole lease"
            );
        }
    }
    for entry in entries {
        let slot = slots.split(1).expect("never more entries than slots");
        let suspect = entry.deliveries >= SUSPECT_DELIVERIES;
        let watched = suspect.then(|| worker.watch_suspect(partition, &entry, alone.take()));
        let Some(taken) = worker.take(partition, entry, sent) else { continue };
        worker.begin(taken, move || drop((slot, watched)));
    }
    is_full || was_untold || claims.next.is_some() && alone.is_some()
}

impl Worker {
    /// Slots for a claim, waited for; `None` where the worker stops first.
    async fn slots_for_claim(&self, partition: u16) -> Option<OwnedSemaphorePermit> {
        self.wait_for(Role::Claim, partition, self.slots.several(Taker::Claimer, Share::UpTo(READ_MAX))).await
    }

    /// What a loop waits for, which is no sign of its being wedged; `None` where the worker stops first.
    pub(super) async fn wait_for<T>(&self, role: Role, partition: u16, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
                        answer = &mut what => return Some(answer),
            () = tokio::time::sleep(Duration::from_secs(1)) => self.turns.note(role, partition),
                    }
        }
    }
}

/// Moves due retries to the queue, and tells the releaser and the visitor what others have planned.
pub(super) async fn promote(worker: Arc<Worker>, partition: u16) {
    let (mut backoff, next) = (Backoff::new(), &worker.next_promote[usize::from(partition)]);
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = next.come(not_before, PROMOTE_EVERY) => {}
        }
        worker.turns.note(Role::Promote, partition);
        failpoint::wedge("promote").await;
        let sent = Instant::now();
        match worker.store.promote(partition, &worker.clock.known()).await {
            Ok(promoted) => {
                backoff.reset();
                if promoted.moved > 0 {
                    worker.turns.promoted();
                }
                worker.hear(promoted.now_ms, sent);
                if let Some(release_in) = promoted.release_in {
                    worker.next_release[usize::from(partition)].by(Instant::now() + release_in);
                }
                if let Some(visit_in) = promoted.visit_in {
                    worker.next_visit[usize::from(partition)].by(Instant::now() + visit_in);
                }
                if let Some(wait) = promoted.next_in {
                    next.by(Instant::now() + wait);
                }
            }
            Err(error) => {
                tell("promote", Some(partition), &error);
                backoff.pause().await;
                next.by(Instant::now());
            }
        }
        not_before = Instant::now() + PROMOTE_PACE;
    }
}

/// Renews what this worker holds. Goes on while the worker finishes what is in flight.
pub(super) async fn renew(worker: Arc<Worker>) {
    let mut before = Instant::now();
    loop {
        // Counted from the beginning of the round before: one that got no answer is followed by the next without delay. A
        // request that waits for a renewal gets one at once, after a process stood still for example.
        tokio::select! {
            () = tokio::time::sleep_until(before + worker.renew_every.mul_f64(rand::random_range(0.8..1.2))) => {}
            () = worker.leases.wanted() => {}
        }
        before = Instant::now();
        failpoint::wedge("renew").await;
        renew_round(&worker).await;
    }
}

/// Renews all of them, until one gets no answer: then the others would not either, and each would wait for it anew.
async fn renew_round(worker: &Worker) {
    worker.turns.note(Role::Renew, 0);
    let due = may_wait(worker.start_within, worker.renew_every);
    for partition in 0..worker.partitions() {
        let mut leases = worker.leases.due(partition, due);
        // Those that lie together are looked at together.
        leases.sort_unstable_by_key(|fence| fence.entry.order());
        for leases in leases.chunks(RENEW_BATCH) {
            let sent = Instant::now();
            match worker.store.renew(partition, &worker.consumer, leases).await {
                Ok(found) => {
                    let gone = worker.leases.renewed(leases, &found, worker.lease, sent);
                    let entries = found[1].len() as u64 + gone;
                    if gone > 0
                        && let Err(error) = worker.store.count_trimmed(partition, gone).await
                    {
                        tell("count", Some(partition), &error);
                    }
                    if entries > 0 {
                        tracing::warn!(
                            partition,
                            entries,
                            "somebody took entries out of the queue while they were in hand"
                        );
                    }
                }
                Err(error) => {
                    tell("renew", Some(partition), &error);
                    return;
                }
            }
            worker.turns.note(Role::Renew, 0);
        }
    }
}

/// A lease that is younger can wait for the next round, and even for the one after that, should the next be lost: two rounds are
/// 2.4 times `renew_every` apart at most. Most entries are settled by then.
fn may_wait(start_within: Duration, renew_every: Duration) -> Duration {
    start_within.saturating_sub(renew_every * 12 / 5).min(renew_every / 4)
}

/// Publishes this worker's figures.
pub(super) async fn publish(worker: Arc<Worker>) {
    loop {
        let figures = worker.figures.to_json(&worker);
        if let Err(error) = worker.store.publish_worker(&worker.consumer, &figures).await {
            tell("publish", None, &error);
        }
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = tokio::time::sleep(PUBLISH_EVERY) => {}
        }
    }
}

/// Measures whether this worker's thread has time left.
pub(super) async fn gauge(worker: Arc<Worker>) {
    let metrics = tokio::runtime::Handle::current().metrics();
    let busy = || (0..metrics.num_workers()).map(|thread| metrics.worker_total_busy_duration(thread)).sum::<Duration>();
    let (mut from, mut before) = (Instant::now(), busy());
    loop {
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = tokio::time::sleep(GAUGE_EVERY) => {}
        }
        let (to, now) = (Instant::now(), busy());
        let percent = now.saturating_sub(before).as_micros() * 100 / (to - from).as_micros().max(1);
        // A moment without work does not make a worker idle.
        let lately = worker.endpoints.busy_percent() / 8 * 7;
        worker.endpoints.note_busy(u8::try_from(percent.min(100)).unwrap_or(100).max(lately));
        (from, before) = (to, now);
    }
}

/// Removes consumers whose workers are long dead and hold nothing, and rejected entries that are too old.
pub(super) async fn sweep(worker: Arc<Worker>) {
    loop {
        // What would be too old by a clock that has just leapt forward is looked at by the next round.
        let partitions = match worker.is_clock_believed().await {
            Ok(true) => worker.partitions(),
            Ok(false) => 0,
            Err(error) => {
                tell("sweep", None, &error);
                0
            }
        };
        for partition in 0..partitions {
            let left = worker.store.leave(partition, &worker.consumer, false, &[]).await.map(drop);
            let swept = loop {
                match worker.store.sweep(partition).await {
                    Ok(true) => {}
                    other => break other.map(drop),
                }
            };
            if let Err(error) = left.and(swept) {
                tell("sweep", Some(partition), &error);
            }
        }
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY.mul_f64(rand::random_range(0.5..1.5))) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_skips_a_round_is_young_enough_though_the_next_is_lost() {
        let seconds = Duration::from_secs_f64;
        for (start_within, renew_every) in [(8.0, 3.0), (15.0, 5.0), (2.5, 1.0), (2.41, 1.0), (100.0, 1.0), (0.9, 0.3)]
        {
            let (start_within, renew_every) = (seconds(start_within), seconds(renew_every));
            let age = may_wait(start_within, renew_every);
            assert!(age + renew_every * 12 / 5 <= start_within, "{age:?} of {start_within:?}");
            assert!(age <= renew_every / 4, "{age:?}");
        }
        assert_eq!(may_wait(seconds(8.0), seconds(3.0)), seconds(0.75));
    }
}
