//! Events of a known size, pushed as any backend pushes them: with `XADD` in pipelines.
//!
//! Each event carries the moment it was sent in its id, from which the receiver computes the latency.

use std::time::Duration;

use lynkhook::domain::account::AccountId;
use redis::aio::MultiplexedConnection;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::receiver::now_micros;

/// The queue's consumer group.
pub const GROUP: &str = "workers";

/// The bytes of an envelope unless a setup says otherwise.
pub const ENVELOPE_BYTES: usize = 600;

/// The number of events in one pipeline when time does not matter.
const PAGE: usize = 1000;
/// The approximate limit of a pipeline in bytes.
const PAGE_BYTES: usize = 8 << 20;

/// How often an open loop pushes the events that are due.
const TICK: Duration = Duration::from_millis(1);

/// An envelope of exactly this many bytes; at least about 130.
pub fn envelope(bytes: usize) -> Vec<u8> {
    let head = r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00.000Z","data":{"messageId":"6601abc123def4567890abcd","text":""#;
    let text = "x".repeat(bytes.checked_sub(head.len() + 3).expect("it is long enough for an event"));
    format!("{head}{text}\"}}}}").into_bytes()
}

/// Account number `n`.
pub fn account(n: usize) -> AccountId {
    format!("a{n}").parse().expect("an account")
}

/// Pushes events for accounts in turn.
pub struct Producer {
    redis: MultiplexedConnection,
    /// Each account with its queue.
    accounts: Vec<(AccountId, String)>,
    envelope: Vec<u8>,
    pushed: usize,
    /// When each event was sent, in Unix µs.
    sent_us: Vec<u64>,
}

impl Producer {
    /// `accounts` with their queues, and how large each event is.
    pub fn new(redis: MultiplexedConnection, accounts: Vec<(AccountId, String)>, envelope_bytes: usize) -> Self {
        Self { redis, accounts, envelope: envelope(envelope_bytes), pushed: 0, sent_us: Vec::new() }
    }

    /// When each event was sent, in Unix µs, by its number.
    pub fn sent_us(&self) -> &[u64] {
        &self.sent_us
    }

    /// Pushes `count` events as fast as possible.
    pub async fn push(&mut self, count: usize) {
        let most = PAGE.min(PAGE_BYTES.div_ceil(self.envelope.len()));
        for pushed in (0..count).step_by(most) {
            let page = self.page(most.min(count - pushed));
            page.exec_async(&mut self.redis).await.expect("Redis takes events");
        }
    }

    /// Pushes events at this rate for this time, without waiting for any: a slow Redis does not delay later events.
    /// Answers their number.
    pub async fn push_steadily(&mut self, per_second: f64, duration: Duration) -> usize {
        let (started, before) = (Instant::now(), self.pushed);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut under_way = JoinSet::new();
        while started.elapsed() < duration {
            ticks.tick().await;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of events")]
            let due = (started.elapsed().as_secs_f64() * per_second) as usize;
            let count = (before + due).saturating_sub(self.pushed);
            if count > 0 {
                let (page, mut redis) = (self.page(count), self.redis.clone());
                under_way.spawn(async move { page.exec_async(&mut redis).await.expect("Redis takes events") });
            }
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
        self.pushed - before
    }

    /// The next events, sent now.
    fn page(&mut self, count: usize) -> redis::Pipeline {
        let mut page = redis::pipe();
        let now = now_micros();
        self.sent_us.extend(std::iter::repeat_n(now, count));
        for _ in 0..count {
            let (account, queue) = &self.accounts[self.pushed % self.accounts.len()];
            let id = format!("{now}-{}", self.pushed);
            page.cmd("XADD").arg(queue).arg("*").arg("account").arg(account.as_str());
            page.arg("envelope").arg(&self.envelope[..]).arg("id").arg(id).ignore();
            self.pushed += 1;
        }
        page
    }
}
