//! The visitor: looks after webhooks whose visit is due.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Worker,
    bounds::Room,
    persist::tell,
    turns::{Role, VISIT_EVERY},
};
use crate::{
    domain::{
        account::AccountId,
        log_entry::{LOG_RETENTION, timestamp},
        webhook::WebhookId,
    },
    failpoint,
    store::StoreError,
};

/// A visit that Redis refuses is tried again after this long.
const PUT_OFF: Duration = Duration::from_mins(1);
/// Rounds of visits are at least so far apart. Many that bring little disturb the others less than few that bring much.
const VISIT_PACE: Duration = Duration::from_millis(10);
/// Webhooks visited in one round.
const VISITS_MAX: usize = 16;
/// Of the worker's places, one in so many may be filled again by one round.
const VISIT_SHARE: usize = 40;

/// When a partition's visitor looks next for visits that are due.
pub(super) struct NextVisit(watch::Sender<Instant>);

impl NextVisit {
    /// At once.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }

    /// It is to look then, or sooner.
    pub(super) fn by(&self, at: Instant) {
        self.0.send_if_modified(|next| std::mem::replace(next, at.min(*next)) > at);
    }

    /// Waits until it is to look, but not for what is asked for from then on.
    async fn come(&self, not_before: Instant) {
        let mut next = self.0.subscribe();
        loop {
            let at = not_before.max(*next.borrow_and_update());
            tokio::select! {
                () = sleep_until(at) => break,
                _ = next.changed() => {}
            }
        }
        self.0.send_replace(Instant::now() + VISIT_EVERY);
    }
}

/// Looks after webhooks whose visit is due: what they hold comes back, what is too old goes.
pub(super) async fn visit(worker: Arc<Worker>, partition: u16) {
    let next = &worker.next_visit[usize::from(partition)];
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = next.come(not_before) => {}
        }
        worker.turns.note(Role::Visit, partition);
        failpoint::wedge("visit").await;
        let wait = visit_round(&worker, partition).await;
        not_before = Instant::now() + VISIT_PACE;
        next.by(Instant::now() + wait.min(VISIT_EVERY));
    }
}

/// Visits those that are due; when the first of them, or one that was not visited, is to be visited next.
async fn visit_round(worker: &Worker, partition: u16) -> Duration {
    let now = worker.clock.now();
    let (due, next_in) = match worker.store.due_visits(partition, now.timestamp_millis(), VISITS_MAX).await {
        Ok(looked) => looked,
        Err(error) => {
            tell("visit", Some(partition), &error);
            return VISIT_EVERY;
        }
    };
    let oldest_log = timestamp(now - LOG_RETENTION);
    let mut next = next_in.unwrap_or(VISIT_EVERY);
    // What many endpoints hold does not come back all at once, though each had room: that would be a flood to the others.
    let mut share = worker.concurrency.div_ceil(VISIT_SHARE);
    for (account, webhook) in due {
        if worker.stop.is_cancelled() {
            break;
        }
        if share == 0 {
            return Duration::ZERO;
        }
        worker.turns.note(Role::Visit, partition);
        match visit_one(worker, &account, webhook, &oldest_log, &mut share).await {
            Ok(next_in) => next = next_in.map_or(next, |next_in| next.min(next_in)),
            Err(error) if error.is_passing() => {
                tell("visit", Some(partition), &error);
                break;
            }
            Err(error) => {
                tracing::warn!(%error, %account, %webhook, "a visit failed and is put off");
                let _ = worker.store.postpone_visit(&account, webhook, now + PUT_OFF).await;
            }
        }
    }
    next
}

/// Brings back what one webhook holds, as much as there is room for, within what is left of this round's share unless it is
/// alone; answers when it is to be visited next.
async fn visit_one(
    worker: &Worker,
    account: &AccountId,
    webhook: WebhookId,
    oldest_log: &str,
    share: &mut usize,
) -> Result<Option<Duration>, StoreError> {
    let Room { places, place_bytes, pace, alone } = worker.bounds.room(webhook);
    // So many of its places are kept from it, that this round may serve others.
    let kept = if alone { 0 } else { places.saturating_sub(*share) };
    // Where it is the share that has an end, the rest follows so much sooner. (Not at once: what was moved is not in flight
    // before it was read, and so would count for nothing.)
    let count = |places: usize| u32::try_from(places).unwrap_or(u32::MAX);
    let pace = if kept > 0 { pace * count(places - kept) / count(places) } else { pace };
    let mut left = places;
    loop {
        let room = left.saturating_sub(kept);
        let visited = worker.store.visit(account, webhook, oldest_log, (room, place_bytes, pace), false).await?;
        if visited.moved > 0 {
            tracing::debug!(%account, %webhook, moved = visited.moved, "held deliveries go back to the queue");
        }
        left = left.saturating_sub(visited.places);
        match visited.more_held {
            // Where it is the share that has an end, it waits for its turn, and not for room.
            Some(true) => worker.bounds.waits(webhook, left == 0),
            Some(false) => worker.bounds.waits_no_more(webhook),
            None => {}
        }
        *share = share.saturating_sub(visited.places);
        if visited.moved == 0 || left <= kept || visited.next_in != Some(Duration::ZERO) {
            return Ok(visited.next_in);
        }
    }
}
