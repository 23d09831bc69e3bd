//! The reader: it reads new entries of one partition.
//!
//! If there are several partitions, a waiting reader holds no slot. Otherwise idle partitions would keep the slots of
//! busy ones. The reader waits for a single entry, begins to wait only while a slot is free, and the entry takes the
//! next slot after it has come. If entries follow each other closely, the reader reads with slots in hand and without
//! waiting, until nothing is left. So an event of an idle partition costs one read, a busy partition is read in
//! batches, and at most one entry for each partition is in hand without a slot.
//!
//! No entry is lost if an answer is lost with its connection. After each connect, the reader first takes back the
//! entries that are pending under this worker's name and come after the last entry that it was told of.
//!
//! The reader of a worker's only partition keeps slots in hand while it waits, so that it reads all entries that come
//! together. It keeps at most half of the free slots, because a claimer may need the others.

use std::{sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{READ_MAX, audit::audit_once};
use crate::{
    domain::entry::Work,
    store::{BATCH_MAX, Entry, EntryId, Reader, ReaderId, StoreError, Untold},
    worker::{
        Worker,
        parts::{
            heartbeat::Role,
            in_hand::{Taken, Unstarted},
            slots::{Share, Taker},
        },
        until_answered::Backoff,
    },
};

/// The longest time that a read waits for the first entry.
const BLOCKING: Duration = Duration::from_secs(5);
/// An entry follows closely if it comes within this time after the reader began to wait. Then more may follow.
const CLOSELY: Duration = Duration::from_millis(50);
/// The interval at which a read that is to end early is told so again.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(100);
/// With several partitions, one read takes at most this fraction (one fourth) of the slots, so that others can read
/// meanwhile.
const READ_PART: usize = 4;

/// Reads until the worker stops. Survives anything that Redis does.
pub(crate) async fn read(worker: Arc<Worker>, partition: u16) {
    let mut backoff = Backoff::new();
    let mut reader: Option<Reader> = None;
    let (mut more, mut last, mut master) = (false, None, None);
    while !worker.stop.has_begun() {
        worker.beat(Role::Read, partition).await;
        let answer = match &mut reader {
            Some(reader) => read_once(&worker, partition, reader, more, &mut last).await,
            None => match open(&worker, partition, &mut last).await {
                Ok(opened) => {
                    let before = std::mem::replace(&mut master, opened.master().map(str::to_owned));
                    if before.is_some() && before != master {
                        tracing::info!(partition, before, master, "the partition has another master now");
                    }
                    reader = Some(opened);
                    take_back(&worker, partition, &mut last).await.map(|()| false)
                }
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(follows) => {
                more = follows;
                backoff.reset();
            }
            Err(StoreError::NoGroup) => {
                tracing::warn!(partition, "the consumer group was gone and is created again");
                (reader, last) = (None, None);
            }
            Err(error) => {
                tracing::warn!(%error, partition, "reading failed, trying again");
                reader = None;
                worker.wait_for(Role::Read, partition, backoff.pause(&worker.store)).await;
            }
        }
    }
}

async fn open(worker: &Worker, partition: u16, last: &mut Option<EntryId>) -> Result<Reader, StoreError> {
    if worker.store.ensure_group(partition).await? {
        // The new group begins anew, so entries that were read come again.
        *last = None;
    }
    let beat = || worker.vitals.heartbeats.note(Role::Read, partition);
    beat();
    // Audit before the first read: in some versions of Redis, the next read hides that entries were taken out before
    // it.
    audit_once(worker, partition, true).await;
    beat();
    let known = worker.partition(partition).known.clone();
    // A lease counts from the time the read was sent. It must be young enough to start on when the entry comes.
    let blocking = BLOCKING.min(worker.rules.leases.start_within / 2);
    worker.store.reader(partition, &worker.name, blocking, known).await
}

/// Takes back entries that an earlier connection took without telling. It begins after `last`: earlier entries were in
/// hand once and wait for the next claim, and must not be attempted again each time a connection breaks.
async fn take_back(worker: &Arc<Worker>, partition: u16, last: &mut Option<EntryId>) -> Result<(), StoreError> {
    loop {
        let slots = worker.room.slots.several(Taker::Reader, Share::UpTo(BATCH_MAX));
        let Some(slots) = worker.wait_for(Role::Read, partition, slots).await else { return Ok(()) };
        let (sent, most) = (Instant::now(), slots.num_permits());
        let entries = worker.store.take_back(partition, &worker.name, Untold::Read(last.as_ref()), most).await?;
        let Some(newest) = entries.last() else { return Ok(()) };
        *last = Some(newest.id.clone());
        tracing::info!(partition, entries = entries.len(), "took back entries that a lost answer had told of");
        begin(worker, partition, entries, slots, sent, false).await;
    }
}

/// Makes one read, once there is a slot and room in memory. `more` says that entries probably wait. Returns whether
/// more probably wait, and notes the `last` entry that it was told of.
async fn read_once(
    worker: &Arc<Worker>,
    partition: u16,
    reader: &mut Reader,
    more: bool,
    last: &mut Option<EntryId>,
) -> Result<bool, StoreError> {
    let (id, is_only) = (reader.id(), worker.store.keys().partitions() == 1);
    let share = match () {
        () if more && is_only => Share::UpTo(READ_MAX),
        () if more => Share::UpTo((worker.rules.concurrency / READ_PART).clamp(1, READ_MAX)),
        () if is_only => Share::HalfUpTo(READ_MAX),
        () => Share::UpTo(1),
    };
    let slots = worker.room.slots.several(Taker::Reader, share);
    let Some(slots) = worker.wait_for(Role::Read, partition, slots).await else { return Ok(false) };
    let (sent, most) = (Instant::now(), slots.num_permits());
    if more || most > 1 {
        let reading = async { if more { reader.read_at_once(most).await } else { reader.read(most).await } };
        let entries = finish(worker, &id, reading).await?;
        if let Some(newest) = entries.last() {
            *last = Some(newest.id.clone());
        }
        let more = if is_only { entries.len() == most } else { !entries.is_empty() };
        begin(worker, partition, entries, slots, sent, true).await;
        Ok(more)
    } else {
        drop(slots);
        let entry = finish(worker, &id, reader.read(1)).await?.pop();
        if let Some(entry) = &entry {
            *last = Some(entry.id.clone());
        }
        let more = entry.is_some() && sent.elapsed() < CLOSELY;
        if let Some(taken) = entry.and_then(|entry| worker.in_hand.take(partition, entry, sent, true)) {
            begin_with_next_slot(worker, partition, taken).await;
        }
        Ok(more)
    }
}

/// Awaits a read to its end, even if the worker stops: dropping the future would lose the entries that the command
/// takes. When the worker stops, the read is ended early.
async fn finish(
    worker: &Worker,
    id: &ReaderId,
    reading: impl Future<Output = Result<Vec<Entry>, StoreError>>,
) -> Result<Vec<Entry>, StoreError> {
    let mut reading = std::pin::pin!(reading);
    tokio::select! {
        biased;
        entries = &mut reading => return entries,
        () = worker.stop.begins() => {}
    }
    loop {
        // Repeated, because the first may reach Redis before the read does. If Redis refuses, the read soon ends by
        // itself.
        let _ = id.unblock().await;
        tokio::select! {
            entries = &mut reading => return entries,
            () = tokio::time::sleep(UNBLOCK_AGAIN) => {}
        }
    }
}

/// Starts entries that were read with these slots in hand.
async fn begin(
    worker: &Arc<Worker>,
    partition: u16,
    entries: Vec<Entry>,
    mut slots: OwnedSemaphorePermit,
    sent: Instant,
    just_read: bool,
) {
    for entry in entries {
        let slot = slots.split(1).expect("never more entries than slots");
        let Some(taken) = worker.in_hand.take(partition, entry, sent, just_read) else { continue };
        if worker.stop.has_begun() {
            keep_unstarted(worker, partition, taken).await;
        } else {
            worker.begin(taken, move || drop(slot));
        }
    }
}

/// Starts an entry that was read without a slot, as soon as there is one. Its lease is renewed meanwhile. If the worker
/// stops first, the entry is given back.
async fn begin_with_next_slot(worker: &Arc<Worker>, partition: u16, taken: Taken) {
    match worker.wait_for(Role::Read, partition, worker.room.slots.one(Taker::Reader)).await {
        None => keep_unstarted(worker, partition, taken).await,
        Some(slot) => worker.begin(taken, move || drop(slot)),
    }
}

/// An entry that cannot be started because the worker stops: given back on leaving, under the event id it has.
async fn keep_unstarted(worker: &Worker, partition: u16, Taken { lease, entry, .. }: Taken) {
    let (event_id, bytes) = match worker.judge(partition, &entry).map(|judged| (judged.work, judged.envelope.len())) {
        Ok((Work::Event(event), bytes)) => (event.id.to_string(), bytes),
        // A delivery carries its event id. An entry that is not valid stays pending for a worker that rejects it.
        Ok((Work::Delivery(_), bytes)) => (String::new(), bytes),
        Err(_) => return,
    };
    worker.in_hand.unstarted.lock().await.push(Unstarted { lease, event_id, bytes });
}
