//! The visitor: looks after webhooks for whose held deliveries a place became free at this worker, and after those whose
//! visit is due.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Worker,
    persist::tell,
    turns::{Role, VISIT_EVERY},
};
use crate::{
    domain::{
        account::AccountId,
        endpoint::LOOK_AGAIN,
        log_entry::{LOG_RETENTION, timestamp},
        webhook::WebhookId,
    },
    failpoint,
    store::StoreError,
};

/// A visit that Redis refuses is tried again after this long.
const PUT_OFF: Duration = Duration::from_mins(1);
/// Rounds of visits are at least this far apart, while the worker has time and while it is busy. Many that bring little disturb
/// the others less than few that bring much.
const VISIT_PACE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(10)];
/// Webhooks of either kind visited in one round.
const VISITS_MAX: usize = 16;
/// While the worker is busy, one round fills one of this many places: what many endpoints hold does not come back all at
/// once, though each had room, for that would be a flood to the others.
const BUSY_SHARE: usize = 40;

/// Looks after webhooks: what they hold comes back, what is too old goes.
pub(super) async fn visit(worker: Arc<Worker>, partition: u16) {
    let next = &worker.next_visit[usize::from(partition)];
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = next.come(not_before, VISIT_EVERY) => {}
        }
        worker.turns.note(Role::Visit, partition);
        failpoint::wedge("visit").await;
        let wait = Round::new(&worker, partition).make().await;
        not_before = Instant::now() + VISIT_PACE[usize::from(worker.endpoints.is_busy())];
        next.by(Instant::now() + wait.min(VISIT_EVERY));
    }
}

/// One round of a partition's visits.
struct Round<'a> {
    worker: &'a Worker,
    partition: u16,
    oldest_log: String,
    /// Places that it may still fill.
    share: usize,
}

impl<'a> Round<'a> {
    fn new(worker: &'a Worker, partition: u16) -> Self {
        let oldest_log = timestamp(worker.clock.now() - LOG_RETENTION);
        let part = if worker.endpoints.is_busy() { BUSY_SHARE } else { 1 };
        Self { worker, partition, oldest_log, share: worker.concurrency.div_ceil(part) }
    }

    /// Makes it; answers when the next one is to come.
    async fn make(&mut self) -> Duration {
        for _ in 0..VISITS_MAX {
            if self.is_over() {
                return Duration::ZERO;
            }
            let Some((account, webhook)) = self.worker.endpoints.next_rung(self.partition) else { break };
            if self.visit_and_tell(&account, webhook, true).await.is_err() {
                return VISIT_EVERY;
            }
        }
        let now_ms = self.worker.clock.now().timestamp_millis();
        let (due, next_in) = match self.worker.store.due_visits(self.partition, now_ms, VISITS_MAX).await {
            Ok(looked) => looked,
            Err(error) => {
                tell("visit", Some(self.partition), &error);
                return VISIT_EVERY;
            }
        };
        let mut next = next_in.unwrap_or(VISIT_EVERY);
        for (account, webhook) in due {
            if self.is_over() {
                return Duration::ZERO;
            }
            match self.visit_and_tell(&account, webhook, false).await {
                Ok(next_in) => next = next_in.map_or(next, |next_in| next.min(next_in)),
                Err(()) => break,
            }
        }
        if self.worker.endpoints.is_rung(self.partition) { Duration::ZERO } else { next }
    }

    fn is_over(&self) -> bool {
        self.share == 0 || self.worker.stop.is_cancelled()
    }

    /// Answers when the webhook is to be visited next; an error where the others would not be answered either.
    async fn visit_and_tell(
        &mut self,
        account: &AccountId,
        webhook: WebhookId,
        rung: bool,
    ) -> Result<Option<Duration>, ()> {
        self.worker.turns.note(Role::Visit, self.partition);
        match self.visit_one(account, webhook, rung).await {
            Ok(next_in) => Ok(next_in),
            Err(error) if error.is_passing() => {
                tell("visit", Some(self.partition), &error);
                Err(())
            }
            Err(error) => {
                tracing::warn!(%error, %account, %webhook, "a visit failed and is put off");
                let later = self.worker.clock.now() + PUT_OFF;
                let _ = self.worker.store.postpone_visit(account, webhook, later).await;
                Ok(None)
            }
        }
    }

    /// Brings back what one webhook holds, as much as there is room for, within what is left of this round's share; answers
    /// when it is to be visited next.
    async fn visit_one(
        &mut self,
        account: &AccountId,
        webhook: WebhookId,
        rung: bool,
    ) -> Result<Option<Duration>, StoreError> {
        let (mut left, place_bytes) = self.worker.endpoints.room(webhook, self.share);
        if rung && left == 0 {
            return Ok(None);
        }
        loop {
            let free = (left, place_bytes, LOOK_AGAIN);
            let most = isize::try_from(left).unwrap_or(isize::MAX);
            self.worker.endpoints.expect(webhook, most);
            let visited = self.worker.store.visit(account, webhook, &self.oldest_log, free, rung).await?;
            if visited.moved > 0 {
                tracing::debug!(%account, %webhook, moved = visited.moved, "held deliveries go back to the queue");
            }
            self.worker.endpoints.expect(webhook, isize::try_from(visited.places).unwrap_or(isize::MAX) - most);
            left = left.saturating_sub(visited.places);
            self.share = self.share.saturating_sub(visited.places);
            match visited.more_held {
                Some(true) => self.worker.endpoints.note_held(account, webhook),
                Some(false) => self.worker.endpoints.note_none_held(webhook),
                None if rung => self.worker.endpoints.note_none_held(webhook),
                None => {}
            }
            if visited.moved == 0 || left == 0 || visited.next_in != Some(Duration::ZERO) {
                return Ok(visited.next_in);
            }
        }
    }
}
