//! The queue's figures, for operators. They are only read, and cheaply: no cost grows with the length of the queue.
//!
//! Each partition takes one script. Each webhook that a worker looks after (its name is in `visits`) takes an `XLEN`
//! and a `MEMORY USAGE` for its held deliveries and for its failed ones, for up to [`WEBHOOKS_MAX`] webhooks.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{away::AwayMaster, known_keys::KnownKeys, workers::LiveWorker};
use crate::{
    config::Retention,
    domain::{account::AccountId, lateness, log_entry::timestamp, webhook::WebhookId},
    store::{Master, Store, StoreError, keys::Keys, link::Node, ms},
};

/// The most webhooks whose held and failed deliveries are counted. If there are more, [`Status::complete`] is false.
pub const WEBHOOKS_MAX: usize = 10_000;
/// The number of webhooks named in [`Status::most_held`].
const MOST_HELD: usize = 10;
/// The approximate number of webhooks in one page of a scan.
const PAGE: usize = 500;

/// The queue's state, as far as it can be read cheaply.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = QueueStatus)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The time at which the state was read, by Redis's clock (RFC 3339, UTC, ms).
    pub time: String,
    /// The figures of all partitions together.
    #[serde(flatten)]
    pub all: QueueFigures,
    /// Held deliveries; the limit is for each webhook.
    pub held: Kept,
    /// Deliveries that failed for good; the limit is for each webhook.
    pub failed: Kept,
    /// The webhooks with the most held deliveries, the fullest first.
    pub most_held: Vec<Holding>,
    /// Whether all webhooks and all keys were looked at. `false` if the bounds were reached: [`WEBHOOKS_MAX`], or a
    /// million keys in the search for workers that are not among the queue's consumers. Also `false` while a master is
    /// away.
    pub complete: bool,
    /// The settings whose bound is reached somewhere, such as `held.limit` or `failed.max_bytes`.
    pub limits_reached: Vec<String>,
    /// Each partition whose master answers.
    pub partitions: Vec<PartitionFigures>,
    /// The workers that are alive.
    pub workers: Vec<LiveWorker>,
    /// The masters of a cluster that do not answer; absent if all answer. Nothing in this answer counts what they have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<AwayMaster>,
}

/// One partition.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PartitionFigures {
    /// Its number.
    pub partition: u16,
    /// Its figures.
    #[serde(flatten)]
    pub figures: QueueFigures,
}

/// The figures of one partition, or of all.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueFigures {
    /// Entries in the queue, those in flight included.
    pub depth: u64,
    /// The age of the oldest entry that no worker has taken, or else of the oldest in flight.
    #[schema(required)]
    pub oldest_ms: Option<u64>,
    /// The age of the oldest entry that no worker has taken.
    #[serde(skip)]
    pub(crate) untaken_ms: Option<u64>,
    /// Entries that a worker has taken and not settled.
    pub in_flight: u64,
    /// Workers that have read from the queue, including those that died within the last hour.
    pub consumers: usize,
    /// Deliveries whose attempt failed and that wait for their next.
    pub retries: Retries,
    /// Webhooks that are on and have held deliveries: the releases planned for them.
    pub releases: Planned,
    /// Webhooks with held or failed deliveries, or a log: the visits planned for them.
    pub visits: Planned,
    /// Entries that are no valid event; the limit is for each partition.
    pub rejected: Kept,
    /// Dropped deliveries and entries since the beginning, by cause.
    pub counts: BTreeMap<String, u64>,
    /// Idempotency keys; the bound is for each partition.
    pub idempotency: KnownKeys,
}

/// Deliveries whose attempt failed and that wait for their next.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Their number.
    pub waiting: u64,
    /// The number of those that are over a second late: no worker promotes them.
    pub late: u64,
    /// The time since the first was due, in ms; 0 if it is not due yet.
    pub late_by_ms: u64,
}

/// Webhooks for which something is planned.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct Planned {
    /// Their number.
    pub waiting: u64,
    /// The number of those whose time has come.
    pub due: u64,
}

/// The content of all streams of one kind, each of which is bounded: `held`, `failed`, `rejected`.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Entries in all of them.
    pub entries: u64,
    /// Streams with at least one entry.
    pub streams: u64,
    /// Bytes of all of them, as Redis estimates them.
    pub bytes: u64,
    /// Streams that have reached `limit`.
    pub at_limit: u64,
    /// Streams without room for one more entry of their average size.
    pub at_max_bytes: u64,
    /// The most entries of a stream.
    pub limit: u64,
    /// The most bytes of a stream.
    pub max_bytes: u64,
}

/// A webhook with held deliveries.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Holding {
    /// Its account.
    pub account: AccountId,
    /// The webhook.
    pub webhook: WebhookId,
    /// Its held deliveries.
    pub held: u64,
    /// Its deliveries that failed for good.
    pub failed: u64,
    /// The bytes of both, as Redis estimates them.
    #[serde(skip)]
    bytes: [u64; 2],
}

/// The answer of `status.lua`.
type Answer = (
    i64,
    (u64, String, String, u64),
    Vec<String>,
    (u64, u64, u64),
    (u64, u64),
    (u64, u64),
    (u64, u64),
    BTreeMap<String, u64>,
    (u64, String),
    (u64, String),
);

impl Store {
    /// Reads the queue's figures. Of a cluster's masters, those that are away are named, and the others are asked.
    ///
    /// # Errors
    /// That of a master, if none answers.
    pub async fn status(&self) -> Result<Status, StoreError> {
        let mut read = Reading::new(self);
        let mut nodes = Vec::new();
        let there = |node: Arc<Node>, _| async move { node.run::<()>(&redis::cmd("TIME")).await.map(|()| node) };
        for (master, there) in self.each_node(there).await {
            match there {
                Ok(node) => {
                    nodes.push(node);
                    self.read_partitions(master, &mut read).await?;
                }
                Err(error) => read.is_away(&master, error)?,
            }
        }
        let Reading { partitions, mut consumers, now_ms, holdings, away, fault } = read;
        if let Some(error) = fault.filter(|_| partitions.is_empty()) {
            return Err(error);
        }
        let Holdings { held, failed, most_held, complete, .. } = holdings;
        let all = QueueFigures::sum(partitions.iter().map(|partition| &partition.figures), consumers.len());
        let scanned = self.scan_workers(&nodes, &mut consumers).await?;
        let (workers, all_told) = self.live_workers(&nodes, consumers.into_iter().collect()).await?;
        let kept = [("held", held), ("failed", failed), ("rejected", all.rejected)];
        let reached = kept
            .into_iter()
            .flat_map(|(section, kept)| kept.reached().map(move |(bound, _)| format!("{section}.{bound}")))
            .chain(all.idempotency.shortened_to_ms.map(|_| "idempotency.max_bytes".to_owned()));
        Ok(Status {
            time: timestamp(DateTime::<Utc>::from_timestamp_millis(now_ms).unwrap_or_default()),
            limits_reached: reached.collect(),
            workers,
            all,
            held,
            failed,
            most_held,
            complete: complete && scanned && all_told && away.is_empty(),
            partitions,
            away,
        })
    }

    /// Reads the figures of a master's partitions. Those that are not to be had are noted as away.
    async fn read_partitions(&self, master: Master, read: &mut Reading) -> Result<(), StoreError> {
        let (mut missing, mut fault) = (Master { partitions: Vec::new(), ..master }, None);
        let mut left = master.partitions.into_iter();
        while let Some(partition) = left.next() {
            match self.read_partition(partition, read).await {
                Ok(()) => {}
                Err(error) if error.is_passing() => {
                    missing.partitions.push(partition);
                    if error.answer().is_none() {
                        missing.partitions.extend(left.by_ref());
                    }
                    fault = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        fault.map_or(Ok(()), |error| read.is_away(&missing, error))
    }

    async fn read_partition(&self, partition: u16, read: &mut Reading) -> Result<(), StoreError> {
        let (figures, names, now_ms) = self.figures(partition, true).await?;
        self.add_holdings(partition, &mut read.holdings).await?;
        read.partitions.push(PartitionFigures { partition, figures });
        read.consumers.extend(names);
        read.now_ms = now_ms;
        Ok(())
    }

    /// One partition's figures, the names of its consumers, and the time in Unix ms. Without the idempotency keys the
    /// figures need no more than a worker's rights.
    pub(crate) async fn figures(
        &self,
        partition: u16,
        with_idempotency: bool,
    ) -> Result<(QueueFigures, Vec<String>, i64), StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.status.key(keys.queue(partition));
        script.key(keys.retries(partition)).key(keys.releases(partition)).key(keys.visits(partition));
        script.key(keys.rejected(partition)).key(keys.counts(partition));
        if with_idempotency {
            script.key(keys.idempotency(partition)).key(keys.idempotency_before(partition));
        }
        script.arg(ms(lateness::RETRY_COUNTED));
        let (
            now_ms,
            (depth, untaken, oldest, in_flight),
            consumers,
            retries,
            releases,
            visits,
            rejected,
            counts,
            known,
            before,
        ): Answer = self.at(partition).run_script(&script).await?;
        let age_ms = |entry: &str| {
            let added: Option<i64> = entry.split('-').next().and_then(|ms| ms.parse().ok());
            added.map(|added| u64::try_from(now_ms - added).unwrap_or(0))
        };
        let untaken_ms = age_ms(&untaken);
        let figures = QueueFigures {
            depth,
            oldest_ms: untaken_ms.or_else(|| age_ms(&oldest)),
            untaken_ms,
            in_flight,
            consumers: consumers.len(),
            retries: Retries { waiting: retries.0, late: retries.1, late_by_ms: retries.2 },
            releases: Planned { waiting: releases.0, due: releases.1 },
            visits: Planned { waiting: visits.0, due: visits.1 },
            rejected: Kept::new(&self.0.rejected).with(rejected),
            counts,
            idempotency: KnownKeys::read(&known, &before, now_ms, self.0.idempotency_max_bytes),
        };
        Ok((figures, consumers, now_ms))
    }

    /// Adds the held and failed deliveries of a partition's webhooks, unless enough webhooks were looked at.
    async fn add_holdings(&self, partition: u16, holdings: &mut Holdings) -> Result<(), StoreError> {
        let mut cursor = 0_u64;
        while holdings.complete {
            let mut scan = redis::cmd("ZSCAN");
            scan.arg(self.0.keys.visits(partition)).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, found): (u64, Vec<(String, String)>) = self.at(partition).run(&scan).await?;
            let visits = found.iter().filter_map(|(member, _)| Keys::parse_member(member));
            // A scan may show the same webhook twice.
            let page: Vec<_> = visits.filter(|(_, webhook)| holdings.seen.insert(*webhook)).collect();
            holdings.add(self.lengths(partition, page).await?);
            cursor = next;
            if cursor == 0 {
                break;
            }
            holdings.complete = holdings.seen.len() < WEBHOOKS_MAX;
        }
        Ok(())
    }

    async fn lengths(&self, partition: u16, webhooks: Vec<(AccountId, WebhookId)>) -> Result<Vec<Holding>, StoreError> {
        if webhooks.is_empty() {
            return Ok(Vec::new());
        }
        let mut sizes = redis::pipe();
        for &(_, webhook) in &webhooks {
            for key in [self.0.keys.held(partition, webhook), self.0.keys.failed(partition, webhook)] {
                sizes.cmd("XLEN").arg(&key).cmd("MEMORY").arg("USAGE").arg(&key);
            }
        }
        // A missing key has no bytes.
        let sizes: Vec<Option<u64>> = self.at(partition).run_pipeline(&sizes).await?;
        let holding = |((account, webhook), sizes): ((AccountId, WebhookId), &[Option<u64>])| {
            let [held, held_bytes, failed, failed_bytes] = std::array::from_fn(|i| sizes[i].unwrap_or(0));
            Holding { account, webhook, held, failed, bytes: [held_bytes, failed_bytes] }
        };
        Ok(webhooks.into_iter().zip(sizes.chunks_exact(4)).map(holding).collect())
    }
}

/// The figures that [`Store::status`] has read so far.
struct Reading {
    partitions: Vec<PartitionFigures>,
    consumers: BTreeSet<String>,
    now_ms: i64,
    holdings: Holdings,
    away: Vec<AwayMaster>,
    /// The first error of a master that is away.
    fault: Option<StoreError>,
}

impl Reading {
    fn new(store: &Store) -> Self {
        Self {
            partitions: Vec::new(),
            consumers: BTreeSet::new(),
            now_ms: 0,
            holdings: Holdings {
                held: Kept::new(&store.0.held),
                failed: Kept::new(&store.0.failed),
                most_held: Vec::new(),
                seen: HashSet::new(),
                complete: true,
            },
            away: Vec::new(),
            fault: None,
        }
    }

    /// Notes that a master is away.
    ///
    /// # Errors
    /// The same error, if it does not show that a master is away.
    fn is_away(&mut self, master: &Master, error: StoreError) -> Result<(), StoreError> {
        let Some(away) = AwayMaster::of(master, &error).filter(|_| error.is_passing()) else { return Err(error) };
        self.away.push(away);
        self.fault.get_or_insert(error);
        Ok(())
    }
}

/// The held and failed deliveries of the webhooks that were looked at.
struct Holdings {
    held: Kept,
    failed: Kept,
    most_held: Vec<Holding>,
    seen: HashSet<WebhookId>,
    /// Whether all webhooks were looked at.
    complete: bool,
}

impl Holdings {
    fn add(&mut self, page: Vec<Holding>) {
        for holding in &page {
            self.held = self.held.with((holding.held, holding.bytes[0]));
            self.failed = self.failed.with((holding.failed, holding.bytes[1]));
        }
        self.most_held.extend(page.into_iter().filter(|holding| holding.held > 0));
        self.most_held.sort_by_key(|holding| (std::cmp::Reverse(holding.held), holding.webhook));
        self.most_held.truncate(MOST_HELD);
    }
}

impl Kept {
    fn new(bounds: &Retention) -> Self {
        Self { limit: bounds.limit, max_bytes: bounds.max_bytes, ..Self::default() }
    }

    /// Whether a stream with this number of entries has reached the limit.
    pub fn is_full(self, entries: u64) -> bool {
        entries >= self.limit
    }

    /// The bounds that were reached, each with the number of streams that reached it.
    pub fn reached(self) -> impl Iterator<Item = (&'static str, u64)> {
        [("limit", self.at_limit), ("max_bytes", self.at_max_bytes)].into_iter().filter(|&(_, streams)| streams > 0)
    }

    /// Adds one stream, with this number of entries and bytes.
    fn with(self, (entries, bytes): (u64, u64)) -> Self {
        let one_more = bytes + bytes / entries.max(1);
        Self {
            entries: self.entries + entries,
            streams: self.streams + u64::from(entries > 0),
            bytes: self.bytes + bytes,
            at_limit: self.at_limit + u64::from(self.is_full(entries)),
            at_max_bytes: self.at_max_bytes + u64::from(one_more > self.max_bytes),
            ..self
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            streams: self.streams + other.streams,
            bytes: self.bytes + other.bytes,
            at_limit: self.at_limit + other.at_limit,
            at_max_bytes: self.at_max_bytes + other.at_max_bytes,
            limit: self.limit.max(other.limit),
            max_bytes: self.max_bytes.max(other.max_bytes),
        }
    }
}

impl QueueFigures {
    /// The sum over partitions. A worker is a consumer in each of them, so the number of consumers is given.
    fn sum<'a>(partitions: impl Iterator<Item = &'a Self>, consumers: usize) -> Self {
        let none = Self {
            depth: 0,
            oldest_ms: None,
            untaken_ms: None,
            in_flight: 0,
            consumers,
            retries: Retries::default(),
            releases: Planned::default(),
            visits: Planned::default(),
            rejected: Kept::default(),
            counts: BTreeMap::new(),
            idempotency: KnownKeys::default(),
        };
        partitions.fold(none, |mut sum, one| {
            sum.depth += one.depth;
            sum.oldest_ms = sum.oldest_ms.max(one.oldest_ms);
            sum.untaken_ms = sum.untaken_ms.max(one.untaken_ms);
            sum.in_flight += one.in_flight;
            sum.retries.waiting += one.retries.waiting;
            sum.retries.late += one.retries.late;
            sum.retries.late_by_ms = sum.retries.late_by_ms.max(one.retries.late_by_ms);
            for (sum, one) in [(&mut sum.releases, one.releases), (&mut sum.visits, one.visits)] {
                sum.waiting += one.waiting;
                sum.due += one.due;
            }
            sum.rejected = sum.rejected.plus(one.rejected);
            sum.idempotency = sum.idempotency.plus(&one.idempotency);
            for (cause, count) in &one.counts {
                *sum.counts.entry(cause.clone()).or_default() += count;
            }
            sum
        })
    }
}
