//! The figures that live workers publish.
//!
//! Workers are found among the queue's consumers, and by a `SCAN`, because Redis 7.0 does not list a worker as a
//! consumer before it has read an entry. The scan goes through all keys of a Redis that may be shared with others, so
//! it has a bound ([`SCANS_MAX`]).

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{Store, StoreError, Unanswered, link::Node};

/// The most pages of keys that are searched for workers: about a million keys.
const SCANS_MAX: usize = 1000;
/// The approximate number of keys in one page.
const SCAN_PAGE: usize = 1000;
/// The most commands in one round trip.
const PAGE: usize = 500;

/// A worker that is alive: it published its figures at most half a minute ago.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LiveWorker {
    /// Its name in the consumer groups.
    pub name: String,
    /// The figures that it published.
    #[serde(flatten)]
    pub figures: WorkerFigures,
}

/// The figures that a worker publishes. A worker of another version may publish fewer or others.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerFigures {
    /// The program's version.
    pub version: String,
    /// Its process id, on its own machine.
    pub pid: u32,
    /// The time at which it started.
    pub started_at: String,
    /// The time at which it published these figures.
    pub at: String,
    /// The entries that it has in hand.
    pub in_flight: usize,
    /// The attempts that it may have in flight.
    pub concurrency: usize,
    /// The part of the time for which its thread works, in percent.
    pub busy_percent: u8,
    /// Attempts that have ended since it started.
    pub attempts: u64,
    /// Attempts that delivered.
    pub delivered: u64,
    /// Attempts that failed and will be repeated.
    pub retries: u64,
    /// Deliveries that failed for good.
    pub failed: u64,
    /// Deliveries that were put off: their endpoint had no room, or no name server answered.
    pub put_off: u64,
    /// Deliveries that failed because their endpoint's waiting list was full.
    pub no_room: u64,
    /// Endpoints that are slow.
    pub slow_endpoints: usize,
    /// Endpoints whose last attempt failed.
    pub failing_endpoints: usize,
    /// Endpoints that had no room for another attempt a moment ago.
    pub limited: Vec<Limited>,
    /// The resource for requests that its machine lacked a moment ago, such as file descriptors, in words.
    pub lacking: Option<String>,
    /// Panics in its process since the process started.
    pub panics: u64,
}

/// An endpoint to which a worker makes no more attempts at the moment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = LimitedEndpoint)]
#[serde(rename_all = "camelCase")]
pub struct Limited {
    /// Its account.
    pub account: String,
    /// Its webhook.
    pub webhook: String,
    /// The reason, in words.
    pub why: String,
    /// Places that its attempts occupy at this worker.
    pub in_flight: usize,
    /// Places that they may occupy.
    pub limit: usize,
}

impl WorkerFigures {
    /// The value of `workers:<name>`, whose members come in the order of their names.
    pub fn to_json(&self) -> String {
        serde_json::to_value(self).expect("plain JSON").to_string()
    }

    /// Reads the JSON that [`to_json`](Self::to_json) of any version wrote. If it cannot be read at all, the figures
    /// are empty, because the worker is still alive.
    pub(super) fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }
}

impl Store {
    /// Publishes a live worker's figures for half a minute.
    pub async fn publish_worker(&self, name: &str, figures: &str) -> Result<(), StoreError> {
        let key = self.0.keys.worker(name);
        let mut script = self.0.scripts.publish.key(&key);
        script.arg(figures).arg(30);
        self.at_key(&key).run_script::<String>(&script).await.map(drop)
    }

    /// Withdraws a worker's figures, when it leaves.
    pub async fn withdraw_worker(&self, name: &str) -> Result<(), StoreError> {
        let key = self.0.keys.worker(name);
        self.at_key(&key).run::<()>(redis::cmd("DEL").arg(&key)).await
    }

    /// Adds the names of live workers whose figures are at these nodes; returns whether all keys were looked at.
    pub(super) async fn scan_workers(
        &self,
        nodes: &[Arc<Node>],
        names: &mut BTreeSet<String>,
    ) -> Result<bool, StoreError> {
        let prefix = self.0.keys.worker("");
        let (mut nodes, mut cursor) = (nodes.iter(), 0_u64);
        let Some(mut node) = nodes.next() else { return Ok(true) };
        for _ in 0..SCANS_MAX {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(SCAN_PAGE);
            let (next, keys): (u64, Vec<String>) = node.run(&scan).await?;
            names.extend(keys.iter().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned));
            cursor = next;
            if cursor == 0 {
                match nodes.next() {
                    Some(next) => node = next,
                    None => return Ok(true),
                }
            }
        }
        Ok(false)
    }

    /// The workers of these names that have published figures in the last half minute, in order, as far as their
    /// figures are at these nodes; and whether they are to be had now.
    pub(super) async fn live_workers(
        &self,
        nodes: &[Arc<Node>],
        names: Vec<String>,
    ) -> Result<(Vec<LiveWorker>, bool), StoreError> {
        let is_there = |name: &String| {
            let place = self.at_key(&self.0.keys.worker(name));
            nodes.iter().any(|node| place.is(node))
        };
        let names: Vec<String> = names.into_iter().filter(is_there).collect();
        let (mut workers, mut all_told) = (Vec::new(), true);
        for names in names.chunks(PAGE) {
            let get = |name: &String| {
                let key = self.0.keys.worker(name);
                (self.at_key(&key), redis::cmd("GET").arg(&key).clone())
            };
            let figures = self.run_each::<Option<String>>(names.iter().map(get).collect()).await;
            for (name, figures) in names.iter().zip(figures) {
                match figures.map_err(Unanswered::into_cause) {
                    Ok(Some(figures)) => {
                        workers.push(LiveWorker { name: name.clone(), figures: WorkerFigures::parse(&figures) });
                    }
                    Ok(None) => {}
                    Err(error) if error.is_passing() => all_told = false,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((workers, all_told))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The figures that version 0.1.0 publishes.
    fn published() -> Value {
        json!({
            "version": "0.1.0", "pid": 7, "startedAt": "2026-03-26T14:32:00.000Z", "at": "2026-03-26T15:32:00.000Z",
            "inFlight": 1, "concurrency": 256, "busyPercent": 12, "attempts": 9, "delivered": 6, "retries": 2, "failed": 1,
            "putOff": 5, "noRoom": 6, "slowEndpoints": 3, "failingEndpoints": 4,
            "limited": [{ "account": "acme", "webhook": "wh_1", "why": "has not answered yet", "inFlight": 3, "limit": 3 }],
            "lacking": null, "panics": 0
        })
    }

    #[test]
    fn figures_are_read_as_they_were_written_and_written_as_they_were_read() {
        let figures = WorkerFigures::parse(&published().to_string());
        assert_eq!(serde_json::from_str::<Value>(&figures.to_json()).unwrap(), published());
        let mut shown = published();
        shown["name"] = json!("w-1");
        assert_eq!(serde_json::to_value(LiveWorker { name: "w-1".to_owned(), figures }).unwrap(), shown);
    }

    #[test]
    fn figures_of_another_version_are_read_as_far_as_they_can_be() {
        let mut newer = published();
        newer["fresh"] = json!(1);
        assert_eq!(WorkerFigures::parse(&newer.to_string()).attempts, 9);
        assert_eq!(WorkerFigures::parse(r#"{"attempts":9}"#).attempts, 9, "an older one");
        let none = serde_json::to_value(WorkerFigures::default()).unwrap();
        for strange in [r#"{"attempts":"nine"}"#, "[]", ""] {
            assert_eq!(serde_json::to_value(WorkerFigures::parse(strange)).unwrap(), none, "{strange}");
        }
    }
}
