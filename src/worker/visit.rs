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
/// Where Redis does not answer, the next round comes after this long at least.
const NO_ANSWER: Duration = Duration::from_millis(500);
/// Rounds of visits are at least this far apart, while the worker has time and while it is busy. Many rounds that bring little
/// disturb other endpoints less than few that bring much.
const VISIT_PACE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(10)];
/// Webhooks of either kind visited in one round.
const VISITS_MAX: usize = 16;
/// While the worker is busy, one round fills one of this many places: what many endpoints hold does not come back all at
/// once, though each had room, for that would be a flood to the others.
const BUSY_SHARE: usize = 40;

/// Looks after webhooks: brings back what they hold, and drops what is too old.
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
        let mut pace = VISIT_PACE[usize::from(worker.endpoints.is_busy())];
        match Round::new(&worker, partition).make().await {
            Ok(wait) => next.by(Instant::now() + wait.min(VISIT_EVERY)),
            Err(error) => {
                tell("visit", Some(partition), &error);
                pace = NO_ANSWER;
            }
        }
        not_before = Instant::now() + pace;
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

    /// Makes it: webhooks whose visit is due come first, or those that places became free for would keep them waiting. Answers
    /// when the next round is to come; an error where Redis does not answer.
    async fn make(&mut self) -> Result<Duration, StoreError> {
        let now_ms = self.worker.clock.now().timestamp_millis();
        let (due, next_in) = self.worker.store.due_visits(self.partition, now_ms, VISITS_MAX).await?;
        let mut next = next_in.unwrap_or(VISIT_EVERY);
        for (account, webhook) in due {
            if self.is_over() {
                return Ok(Duration::ZERO);
            }
            let next_in = self.visit_or_put_off(&account, webhook, false).await?;
            next = next_in.map_or(next, |next_in| next.min(next_in));
        }
        for _ in 0..VISITS_MAX {
            if self.is_over() {
                return Ok(Duration::ZERO);
            }
            let Some((account, webhook)) = self.worker.endpoints.next_rung(self.partition) else { return Ok(next) };
            self.visit_or_put_off(&account, webhook, true).await?;
        }
        Ok(Duration::ZERO)
    }

    fn is_over(&self) -> bool {
        self.share == 0 || self.worker.stop.is_cancelled()
    }

    /// Answers when the webhook is to be visited next. A visit that Redis refuses is put off.
    async fn visit_or_put_off(
        &mut self,
        account: &AccountId,
        webhook: WebhookId,
        rung: bool,
    ) -> Result<Option<Duration>, StoreError> {
        self.worker.turns.note(Role::Visit, self.partition);
        match self.visit_one(account, webhook, rung).await {
            Err(error) if !error.is_passing() => {
                tracing::warn!(%error, %account, %webhook, "a visit failed and is put off");
                let later = self.worker.clock.now() + PUT_OFF;
                let _ = self.worker.store.postpone_visit(account, webhook, later).await;
                Ok(None)
            }
            visited => visited,
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
