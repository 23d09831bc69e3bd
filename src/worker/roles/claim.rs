//! The claimer: it takes over entries whose worker died.
//!
//! A claim that probably finds nothing is for one entry, with one slot: while Redis does not answer, the slot is kept,
//! and other partitions' masters may be there.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::READ_MAX;
use crate::{
    domain::{entry::Work, lease::SUSPECT_DELIVERIES},
    store::{BATCH_MAX_BYTES, Claimed, Entry, MayTake, StoreError, Untold},
    worker::{
        Worker,
        parts::{
            heartbeat::Role,
            slots::{Share, Taker},
        },
        until_answered::tell,
    },
};

/// The most claims in a row that look through suspects. Each may read 4 MiB.
const LOOKS_MAX: usize = 16;

/// Takes over entries whose worker died, until the worker stops.
pub(crate) async fn claim(worker: Arc<Worker>, partition: u16) {
    let mut claims = Claims::default();
    loop {
        let due = async {
            tokio::select! {
                () = worker.room.suspects.next(partition) => {}
                () = tokio::time::sleep(worker.rules.leases.claim_every.mul_f64(rand::random_range(0.5..1.5))) => {}
            }
        };
        let Some(()) = worker.wait_for(Role::Claim, partition, due).await else { return };
        // A dead worker may have held far more entries than one claim takes. A claim is repeated only if it took at
        // least one entry, so there are never more claims than entries; or if more suspects are left to look at.
        let mut looks = 0;
        while looks < LOOKS_MAX && claim_once(&worker, partition, &mut claims).await {
            looks += usize::from(claims.next.is_some());
        }
    }
}

/// The state that one claim leaves to the next.
#[derive(Default)]
struct Claims {
    /// Whether the last claim took something, so that more may be left.
    more: bool,
    /// The id from which the next claim looks at suspects.
    next: Option<String>,
    /// While Redis did not answer, nobody could renew a lease. Until this time, their holders may do so.
    not_before: Option<Instant>,
    /// The time at which a claim was sent that got no answer. The entries that it claimed have to be taken back.
    untold: Option<Instant>,
}

/// Claims as many entries as there are slots; returns whether more may be left.
async fn claim_once(worker: &Arc<Worker>, partition: u16, claims: &mut Claims) -> bool {
    // After Redis's clock leapt forward, all leases seem to have ended until their holders have renewed them.
    if worker.partition(partition).clock.leapt_within(worker.rules.leases.two_renewals())
        || claims.not_before.is_some_and(|time| Instant::now() < time)
    {
        return false;
    }
    let share = Share::UpTo(if claims.more { READ_MAX } else { 1 });
    let slots = worker.room.slots.several(Taker::Claimer, share);
    let Some(mut slots) = worker.wait_for(Role::Claim, partition, slots).await else { return false };
    let room = slots.num_permits();
    let sent = Instant::now();
    let mut alone = worker.room.suspects.try_begin(partition);
    let (not, last) = worker.room.suspects.names();
    let may_take = MayTake {
        entries: room,
        suspects: usize::from(alone.is_some()),
        from: claims.next.take(),
        not,
        last,
        latest: worker.partition(partition).clock.known().latest,
    };
    let claimed = if let Some(untold) = claims.untold {
        let in_hand = worker.in_hand.leases.due(partition, Duration::ZERO);
        // A quarter of a lease more, because this step may have to wait for a connection.
        let untold = Untold::Claimed { in_hand: &in_hand, within: untold.elapsed() + worker.rules.leases.lease / 4 };
        let taken = worker.store.take_back(partition, &worker.name, untold, room).await;
        taken.map(|entries| Claimed { entries, next: None })
    } else {
        worker.store.claim(partition, &worker.name, worker.rules.leases.lease, may_take).await
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
            claims.more = false;
            return false;
        }
    };
    let bytes: usize = entries.iter().map(Entry::size_bytes).sum();
    let is_full = entries.len() == room || bytes >= BATCH_MAX_BYTES;
    let was_untold = claims.untold.is_some();
    claims.more = !entries.is_empty();
    claims.untold = claims.untold.filter(|_| is_full);
    if was_untold && claims.untold.is_none() {
        claims.not_before = Some(Instant::now() + worker.rules.leases.two_renewals());
    }
    tell_of(worker, partition, &entries, was_untold);
    for entry in entries {
        let slot = slots.split(1).expect("never more entries than slots");
        let suspect = entry.deliveries >= SUSPECT_DELIVERIES;
        let watched = suspect.then(|| {
            let endpoint = worker.endpoint_of(partition, &entry);
            worker.room.suspects.watch(partition, endpoint, alone.take())
        });
        let Some(taken) = worker.in_hand.take(partition, entry, sent, false) else { continue };
        worker.begin(taken, move || drop((slot, watched)));
    }
    is_full || was_untold || claims.next.is_some() && alone.is_some()
}

/// Says in the log and in the metrics that entries were claimed, or taken back.
fn tell_of(worker: &Worker, partition: u16, entries: &[Entry], were_untold: bool) {
    match entries.len() {
        0 => {}
        count if were_untold => {
            tracing::info!(partition, entries = count, "took back entries of a claim whose answer was lost");
        }
        count => {
            // An entry that nobody held is claimed for the first time.
            let of_dead = entries.iter().filter(|entry| entry.deliveries > 1).count();
            worker.vitals.counters.metrics.leases_lost(of_dead);
            tracing::info!(partition, entries = count, "took over entries whose worker did not renew their leases");
        }
    }
}

impl Worker {
    /// The endpoint of an entry, as a claim names it: the webhook of a delivery, the account of an event. `None` for an
    /// entry that is neither, or that makes parsing panic: then the task that delivers it panics as well, which counts
    /// as a loss.
    fn endpoint_of(&self, partition: u16, entry: &Entry) -> Option<String> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(partition, entry))).ok()?.ok()?;
        Some(match judged.work {
            Work::Event(event) => event.account.to_string(),
            Work::Delivery(delivery) => delivery.webhook.to_string(),
        })
    }
}
