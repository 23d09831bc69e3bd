//! Reading new entries of one partition, with slots in hand for all that may come.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{READ_MAX, Unstarted, Worker, persist::Backoff};
use crate::{
    domain::entry::Work,
    store::{Entry, Reader, StoreError},
};

/// How long a read waits for the first entry.
const BLOCKING: Duration = Duration::from_secs(2);

/// Reads until the worker stops. Survives whatever Redis does.
pub(super) async fn read(worker: Arc<Worker>, partition: u16) {
    let mut backoff = Backoff::new();
    let mut reader: Option<Reader> = None;
    while !worker.stop.is_cancelled() {
        let answer = match &mut reader {
            Some(reader) => read_once(&worker, partition, reader).await,
            None => open(&worker, partition).await.map(|opened| reader = Some(opened)),
        };
        match answer {
            Ok(()) => backoff.reset(),
            Err(StoreError::NoGroup) => {
                tracing::warn!(partition, "the consumer group was gone and is created anew");
                reader = None;
            }
            Err(error) => {
                tracing::warn!(%error, partition, "reading failed, trying again");
                reader = None;
                tokio::select! {
                    () = worker.stop.cancelled() => return,
                    () = backoff.pause() => {}
                }
            }
        }
    }
}

async fn open(worker: &Worker, partition: u16) -> Result<Reader, StoreError> {
    worker.store.ensure_group(partition).await?;
    let known = worker.steps[usize::from(partition)].known.clone();
    worker.store.reader(partition, &worker.consumer, BLOCKING, known).await
}

async fn read_once(worker: &Arc<Worker>, partition: u16, reader: &mut Reader) -> Result<(), StoreError> {
    // Waits for one slot, then takes along what else is free.
    let one = tokio::select! {
        () = worker.stop.cancelled() => return Ok(()),
        slot = worker.slots.clone().acquire_owned() => slot.expect("the slots are never closed"),
    };
    let room = tokio::select! {
        () = worker.stop.cancelled() => return Ok(()),
        room = worker.load.room() => room,
    };
    let most = worker.reading_share().min(room);
    let more = worker.slots.available_permits().min(most - 1);
    let mut slots = one;
    if let Ok(others) = worker.slots.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
        slots.merge(others);
    }
    let sent = Instant::now();
    let client_id = reader.client_id();
    // Never dropped, not even on stopping: what the command takes must not be lost with its future.
    let mut reading = std::pin::pin!(reader.read(slots.num_permits()));
    let entries = tokio::select! {
        entries = &mut reading => entries?,
        () = worker.stop.cancelled() => {
            // If this fails, the read ends by itself soon.
            let _ = worker.store.unblock(client_id).await;
            reading.await?
        }
    };
    for entry in entries {
        if worker.stop.is_cancelled() {
            set_aside(worker, partition, entry, sent).await;
        } else {
            let slot = slots.split(1).expect("never more entries than slots");
            worker.begin(partition, entry, sent, move || drop(slot));
        }
    }
    Ok(())
}

/// An entry that came when the worker was stopping already: given back on leaving, under the event id it has.
async fn set_aside(worker: &Arc<Worker>, partition: u16, entry: Entry, sent: Instant) {
    let (event_id, bytes) = match worker.judge(partition, &entry).map(|judged| (judged.work, judged.envelope.len())) {
        Ok((Work::Event(event), bytes)) => (event.id.to_string(), bytes),
        // Deliveries carry theirs; what is no event is left pending for a worker that rejects it.
        Ok((Work::Delivery(_), bytes)) => (String::new(), bytes),
        Err(_) => return,
    };
    if let Some(lease) = worker.leases.take(partition, entry.id, entry.deliveries, sent) {
        worker.unstarted.lock().await.push(Unstarted { lease, event_id, bytes });
    }
}

impl Worker {
    /// How many entries one read may take, so that idle partitions' readers leave room for a busy one's.
    fn reading_share(&self) -> usize {
        let partitions = usize::from(self.partitions());
        if partitions == 1 { READ_MAX } else { (self.concurrency / (4 * partitions)).clamp(1, READ_MAX) }
    }
}
