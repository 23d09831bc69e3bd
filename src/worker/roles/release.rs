//! The releaser: it brings held deliveries back to the queue when this worker has a free place for them, or when their
//! time has come.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::PUT_OFF;
use crate::{
    domain::{account::AccountId, endpoint::LOOK_AGAIN, webhook::WebhookId},
    store::{StoreError, Times},
    worker::{Worker, parts::heartbeat::Role, until_answered::tell},
};

/// The releaser runs at least this often, even if nothing is due.
const RELEASE_EVERY: Duration = Duration::from_secs(5);
/// The shortest pause before the next round if Redis does not answer.
const NO_ANSWER: Duration = Duration::from_millis(500);
/// The most webhooks of either kind (due, or with free places) in one round.
const WEBHOOKS_MAX: usize = 16;

/// Releases held deliveries of one partition until the worker stops.
pub(crate) async fn release(worker: Arc<Worker>, partition: u16) {
    let next = &worker.partition(partition).alarms.release;
    let mut not_before = Instant::now();
    loop {
        let due = next.come(not_before, RELEASE_EVERY);
        let Some(()) = worker.wait_for(Role::Release, partition, due).await else { return };
        let mut pace = worker.room.endpoints.busy().release_pace();
        match Round::new(&worker, partition).make().await {
            Ok(wait) => next.by(Instant::now() + wait.min(RELEASE_EVERY)),
            Err(error) => {
                tell("release", Some(partition), &error);
                pace = NO_ANSWER;
            }
        }
        not_before = Instant::now() + pace;
    }
}

/// One round of a partition's releases.
struct Round<'a> {
    worker: &'a Worker,
    partition: u16,
    /// The places that this round may still fill.
    share: usize,
}

impl<'a> Round<'a> {
    fn new(worker: &'a Worker, partition: u16) -> Self {
        let share = worker.room.endpoints.busy().release_share(worker.rules.concurrency);
        Self { worker, partition, share }
    }

    /// Makes the round and returns the wait until the next. Webhooks whose time has come go first; otherwise those with
    /// free places would keep them waiting. An error means that Redis does not answer.
    async fn make(&mut self) -> Result<Duration, StoreError> {
        let now_ms = self.worker.partition(self.partition).clock.now().timestamp_millis();
        let (due, next_in) = self.worker.store.due(Times::Releases, self.partition, now_ms, WEBHOOKS_MAX).await?;
        let mut next = next_in.unwrap_or(RELEASE_EVERY);
        for (account, webhook) in due {
            if self.is_over() {
                return Ok(Duration::ZERO);
            }
            let next_in = self.release_or_put_off(&account, webhook, false).await?;
            next = next_in.map_or(next, |next_in| next.min(next_in));
        }
        for _ in 0..WEBHOOKS_MAX {
            if self.is_over() {
                return Ok(Duration::ZERO);
            }
            let Some((account, webhook)) = self.worker.room.endpoints.next_rung(self.partition) else {
                return Ok(next);
            };
            self.release_or_put_off(&account, webhook, true).await?;
        }
        Ok(Duration::ZERO)
    }

    fn is_over(&self) -> bool {
        self.share == 0 || self.worker.stop.has_begun()
    }

    /// Releases deliveries of one webhook, or puts that off if Redis refuses. Returns the wait until its next release.
    async fn release_or_put_off(
        &mut self,
        account: &AccountId,
        webhook: WebhookId,
        rung: bool,
    ) -> Result<Option<Duration>, StoreError> {
        self.worker.vitals.heartbeats.note(Role::Release, self.partition);
        match self.release_one(account, webhook, rung).await {
            Err(error) if !error.is_passing() => {
                tracing::warn!(%error, %account, %webhook, "held deliveries cannot be released now; trying again later");
                let later = self.worker.partition(self.partition).clock.now() + PUT_OFF;
                let _ = self.worker.store.put_off(Times::Releases, account, webhook, later).await;
                Ok(None)
            }
            released => released,
        }
    }

    /// Releases deliveries of one webhook, as many as its endpoint has room for within the rest of this round's share.
    /// Returns the wait until its next release.
    async fn release_one(
        &mut self,
        account: &AccountId,
        webhook: WebhookId,
        rung: bool,
    ) -> Result<Option<Duration>, StoreError> {
        let (mut left, place_bytes) = self.worker.room.endpoints.room(webhook, self.share);
        if rung && left == 0 {
            return Ok(None);
        }
        loop {
            let free = (left, place_bytes, LOOK_AGAIN);
            let most = isize::try_from(left).unwrap_or(isize::MAX);
            self.worker.room.endpoints.expect(webhook, most);
            let released = self.worker.store.release(account, webhook, free, rung).await?;
            if released.moved > 0 {
                tracing::debug!(%account, %webhook, moved = released.moved, "held deliveries go back to the queue");
            }
            self.worker.room.endpoints.expect(webhook, isize::try_from(released.places).unwrap_or(isize::MAX) - most);
            left = left.saturating_sub(released.places);
            self.share = self.share.saturating_sub(released.places);
            match released.more_held {
                Some(true) => self.worker.room.endpoints.note_held(account, webhook),
                Some(false) => self.worker.room.endpoints.note_none_held(webhook),
                None if rung => self.worker.room.endpoints.note_none_held(webhook),
                None => {}
            }
            if released.moved == 0 || left == 0 || released.next_in != Some(Duration::ZERO) {
                return Ok(released.next_in);
            }
        }
    }
}
