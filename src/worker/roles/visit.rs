//! The visitor: it visits webhooks whose visit is due, and drops deliveries and log entries that are too old, too many,
//! or left without settings.
//!
//! After Redis's clock leapt forward, no visit is made for a while: everything would seem older than it is.
//!
//! No delivery waits for a visit. So visits are made a few at a time, even if many are due together, for example after
//! an outage.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::PUT_OFF;
use crate::{
    domain::log_entry::{LOG_RETENTION, timestamp},
    store::{StoreError, Times, Visited},
    worker::{Worker, parts::heartbeat::Role, until_answered::tell},
};

/// The visitor runs at least this often, even if nothing is due.
const VISIT_EVERY: Duration = Duration::from_secs(5);
/// Visits of a round, and how long all of a worker's visits rest for each: 200 visits a second, which take 1 % of Redis's
/// time. 50,000 that are due together take four minutes.
const VISITS_MAX: usize = 8;
/// The rest of a worker's visits after each visit. That makes 200 visits a second, which take 1 % of Redis's time;
/// 50,000 that are due together take four minutes.
const PACE: Duration = Duration::from_millis(5);
/// The shortest pause before the next round if another worker made all visits of a round first.
const OTHERS: Duration = Duration::from_secs(1);

/// Makes the visits of one partition. One partition at a time has the worker's turn for visits.
pub(crate) async fn visit(worker: Arc<Worker>, partition: u16, one_visits: Arc<Mutex<()>>) {
    let next = &worker.partition(partition).alarms.visit;
    loop {
        let turn = async {
            next.come(Instant::now(), VISIT_EVERY).await;
            one_visits.lock().await
        };
        let Some(turn) = worker.wait_for(Role::Visit, partition, turn).await else { return };
        match round(&worker, partition).await {
            Ok((visits, wait)) => {
                next.by(Instant::now() + wait);
                sleep(PACE * visits).await;
            }
            Err(error) => tell("visit", Some(partition), &error),
        }
        drop(turn);
    }
}

/// Makes some of the visits that are due; returns their number and the wait until the next. An error means that Redis
/// does not answer.
async fn round(worker: &Worker, partition: u16) -> Result<(u32, Duration), StoreError> {
    if !worker.is_clock_believed(partition).await? {
        return Ok((0, VISIT_EVERY));
    }
    let now = worker.partition(partition).clock.now();
    let oldest_log = timestamp(now - LOG_RETENTION);
    let (due, next_in) = worker.store.due(Times::Visits, partition, now.timestamp_millis(), VISITS_MAX).await?;
    let (mut visits, mut next, mut others_make_them) = (0, next_in.unwrap_or(VISIT_EVERY), !due.is_empty());
    for (account, webhook) in due {
        if worker.stop.has_begun() {
            break;
        }
        worker.vitals.heartbeats.note(Role::Visit, partition);
        visits += 1;
        let visited = worker.store.visit(&account, webhook, &oldest_log).await;
        others_make_them &= matches!(visited, Ok(Visited::NotDue));
        match visited {
            Ok(Visited::Gone) => {
                tracing::warn!(%account, %webhook, "a webhook's settings are gone, so its log, held and failed deliveries were deleted");
            }
            Ok(Visited::Again) => next = Duration::ZERO,
            Ok(Visited::Made | Visited::NotDue) => {}
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, %account, %webhook, "a webhook's visit failed; trying again later");
                let _ = worker.store.put_off(Times::Visits, &account, webhook, now + PUT_OFF).await;
            }
        }
    }
    Ok((visits, if others_make_them { next.max(OTHERS) } else { next }))
}
