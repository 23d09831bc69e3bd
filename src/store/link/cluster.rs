//! Redis Cluster: its masters, as its nodes name them.
//!
//! All known masters are asked about once a second, and at once after an answer that suggests a change. Of their answers,
//! the one with the highest epoch counts. No answer is waited for longer than necessary: a node may hang. When a node is no
//! longer a master, everything that waits for its answers ends: what it would still accept would be lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use redis::Value;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{timeout, timeout_at},
};

use super::{
    node::{Address, Node, Way},
    slot::SLOTS,
    topology::Elsewhere,
};
use crate::store::StoreError;

/// The interval at which masters are looked up (± 20 %).
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// The time in which most masters should answer. After it, all other known nodes are asked as well.
const MOST_WITHIN: Duration = Duration::from_millis(300);
/// The time for further answers after the first.
const OTHERS_WITHIN: Duration = Duration::from_millis(50);
/// The time in which any node has to answer.
const ANY_WITHIN: Duration = Duration::from_secs(5);
/// A redirection counts for this long, even if a node that has not heard of it says otherwise.
const REDIRECTED_FOR: Duration = Duration::from_secs(2);
/// Redis's text if it is no node of a cluster.
const NO_CLUSTER: &str = "cluster support disabled";
/// The most nodes that are remembered besides the masters.
const OTHERS_MAX: usize = 1000;

/// A cluster.
pub(in crate::store) struct Cluster {
    way: Way,
    /// The addresses in the settings.
    seeds: Vec<Address>,
    map: watch::Sender<Arc<Map>>,
    /// Somebody wants the masters to be looked up at once.
    wanted: Arc<Notify>,
}

/// The masters at one time.
#[derive(Default, Clone)]
struct Map {
    /// The cluster's epoch, which rises with each change.
    epoch: u64,
    masters: Vec<Arc<Node>>,
    /// The place in `masters` of each slot's master. Empty before the first look.
    of_slots: Vec<Option<u16>>,
    /// Nodes that were met and are no masters: replicas, and those that the settings name.
    others: Vec<Arc<Node>>,
    /// Slots that a node redirected, and when.
    redirected: HashMap<u16, Instant>,
}

/// A node's view of the cluster.
struct View {
    epoch: u64,
    /// The first and the last slot of each range, its master, and the master's replicas.
    ranges: Vec<(u16, u16, Address, Vec<Address>)>,
}

impl Cluster {
    /// A cluster of which nothing is known but these nodes.
    pub(super) fn new(way: Way, seeds: Vec<Address>) -> Result<Self, StoreError> {
        let others = seeds.iter().map(|seed| way.to(seed).map(Arc::new)).collect::<Result<_, _>>()?;
        let map = watch::Sender::new(Arc::new(Map { others, ..Map::default() }));
        Ok(Self { way, seeds, map, wanted: Arc::default() })
    }

    /// Looks the masters up, and begins to do so at intervals until this is dropped.
    pub(super) async fn keep_looking(self: &Arc<Self>) -> Result<(), StoreError> {
        self.look().await?;
        tokio::spawn(watch(Arc::downgrade(self), self.wanted.clone()));
        Ok(())
    }

    fn map(&self) -> Arc<Map> {
        self.map.borrow().clone()
    }

    pub(super) fn of(&self, slot: u16) -> Arc<Node> {
        self.map().of(slot).clone()
    }

    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        let map = self.map();
        if map.masters.is_empty() { map.others.clone() } else { map.masters.clone() }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.map().epoch
    }

    #[cfg(feature = "program")]
    pub(super) fn others(&self) -> Vec<Arc<Node>> {
        self.map().others.clone()
    }

    pub(super) async fn changed(&self) {
        let _ = self.map.subscribe().changed().await;
    }

    pub(super) fn elsewhere(&self, asked: &Node, error: &StoreError) -> Option<Elsewhere> {
        if error.tells_of_a_change() {
            self.wanted.notify_one();
        }
        let redirect = error.redirect()?;
        let host = redirect.host.or_else(|| Some(asked.address()?.host))?;
        let address = Address { host, port: redirect.port };
        let node = self.map().node(&address).cloned().or_else(|| self.way.to(&address).map(Arc::new).ok())?;
        if redirect.is_for_good && redirect.slot < SLOTS {
            self.map.send_if_modified(|map| match map.redirected(redirect.slot, &node) {
                Some(new) => {
                    *map = Arc::new(new);
                    true
                }
                None => false,
            });
        }
        Some(Elsewhere { node, is_for_good: redirect.is_for_good })
    }

    /// Asks the nodes for the masters, and takes the newest answer.
    async fn look(&self) -> Result<(), StoreError> {
        let map = self.map();
        let most = map.masters.len() / 2 + 1;
        let mut asking = JoinSet::new();
        map.masters.iter().for_each(|node| drop(asking.spawn(view_of(node.clone()))));
        let (mut views, mut fault): (Vec<View>, Option<StoreError>) = (Vec::new(), None);
        let (mut until, mut all_asked) = (Instant::now() + MOST_WITHIN, false);
        loop {
            match timeout_at(until.into(), asking.join_next()).await {
                // A node that belongs to no cluster knows nothing.
                Ok(Some(Ok(Ok(view)))) if view.ranges.is_empty() => {}
                Ok(Some(Ok(Ok(view)))) => {
                    until = until.min(Instant::now() + OTHERS_WITHIN);
                    views.push(view);
                }
                Ok(Some(Ok(Err(error)))) => fault = Some(error),
                Ok(Some(Err(panic))) => std::panic::resume_unwind(panic.into_panic()),
                Ok(None) | Err(_) if views.len() < most && !all_asked => {
                    map.others.iter().for_each(|node| drop(asking.spawn(view_of(node.clone()))));
                    let within = if views.is_empty() { ANY_WITHIN } else { OTHERS_WITHIN };
                    (until, all_asked) = (Instant::now() + within, true);
                }
                Ok(None) | Err(_) => break,
            }
        }
        // A question to a node that hangs goes on, so that the connection is given up when it gets no answer.
        asking.detach_all();
        let (count, newest) = (views.len(), views.into_iter().max_by_key(|view| view.epoch));
        match newest {
            // A node that is cut off from the others may not know what they decided.
            Some(newest) if newest.epoch < map.epoch && count < most => Ok(()),
            Some(newest) => self.take(&newest),
            None => Err(fault.map_or_else(no_master, in_no_cluster)),
        }
    }

    /// Takes a view of the cluster. Nodes that are no longer masters are deposed.
    fn take(&self, view: &View) -> Result<(), StoreError> {
        let mut taken = Ok(());
        let mut deposed = Vec::new();
        self.map.send_if_modified(|map| match map.seen(view, &self.seeds, &self.way) {
            Ok(new) => {
                deposed.extend(map.masters.iter().filter(|old| !contains(&new.masters, old)).cloned());
                let is_other = !new.is_like(map);
                *map = Arc::new(new);
                is_other
            }
            Err(error) => {
                taken = Err(error);
                false
            }
        });
        for node in deposed {
            node.depose();
        }
        taken
    }
}

/// The error if nodes answer and name no master.
fn no_master() -> StoreError {
    StoreError::Unfit(
        "no node in redis.url belongs to a cluster that has masters: create it (redis-cli --cluster create)".to_owned(),
    )
}

/// The error of nodes that do not name masters.
fn in_no_cluster(fault: StoreError) -> StoreError {
    match fault.answer() {
        Some((_, detail)) if detail.contains(NO_CLUSTER) => StoreError::Unfit(
            "this Redis is no node of a cluster: write redis:// in redis.url, or rediss://".to_owned(),
        ),
        _ => fault,
    }
}

/// Looks the masters up at intervals, until the cluster is dropped.
async fn watch(cluster: Weak<Cluster>, wanted: Arc<Notify>) {
    loop {
        let jitter = Duration::from_millis(RandomState::new().hash_one(0) % 400);
        let _ = timeout(LOOK_EVERY.mul_f64(0.8) + jitter, wanted.notified()).await;
        let Some(cluster) = cluster.upgrade() else { return };
        if let Err(error) = cluster.look().await {
            tracing::debug!(%error, "no node of the cluster names its masters");
        }
        drop(cluster);
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn contains(nodes: &[Arc<Node>], node: &Arc<Node>) -> bool {
    nodes.iter().any(|known| Arc::ptr_eq(known, node))
}

impl Map {
    fn of(&self, slot: u16) -> &Arc<Node> {
        let master = self.of_slots.get(usize::from(slot)).and_then(|place| self.masters.get(usize::from((*place)?)));
        master.or(self.masters.first()).or(self.others.first()).expect("settings name a node")
    }

    fn node(&self, address: &Address) -> Option<&Arc<Node>> {
        let mut nodes = self.masters.iter().chain(&self.others);
        nodes.find(|node| node.address().as_ref() == Some(address))
    }

    /// The masters after a redirection of a slot to a node; `None` if it was its master.
    fn redirected(&self, slot: u16, node: &Arc<Node>) -> Option<Self> {
        if Arc::ptr_eq(self.of(slot), node) && !self.masters.is_empty() {
            return None;
        }
        let mut new = self.clone();
        let place = new.masters.iter().position(|known| Arc::ptr_eq(known, node)).unwrap_or_else(|| {
            new.masters.push(node.clone());
            new.others.retain(|other| !Arc::ptr_eq(other, node));
            new.masters.len() - 1
        });
        new.of_slots.resize(usize::from(SLOTS), None);
        new.of_slots[usize::from(slot)] = u16::try_from(place).ok();
        new.redirected.insert(slot, Instant::now());
        Some(new)
    }

    /// The masters after a look. Nodes that are masters still keep their connections.
    fn seen(&self, view: &View, seeds: &[Address], way: &Way) -> Result<Self, StoreError> {
        let mut new = Self { epoch: view.epoch, of_slots: vec![None; usize::from(SLOTS)], ..Self::default() };
        let mut places: BTreeMap<&Address, u16> = BTreeMap::new();
        for (first, last, master, _) in &view.ranges {
            if !places.contains_key(master) {
                places.insert(master, u16::try_from(new.masters.len()).unwrap_or(u16::MAX));
                new.masters.push(self.node(master).cloned().map_or_else(|| way.to(master).map(Arc::new), Ok)?);
            }
            let (first, last) = (usize::from(*first), usize::from((*last).min(SLOTS - 1)));
            new.of_slots[first.min(last)..=last].fill(places.get(master).copied());
        }
        for (&slot, &when) in &self.redirected {
            let place = new.masters.iter().position(|node| Arc::ptr_eq(node, self.of(slot)));
            if when.elapsed() < REDIRECTED_FOR && place.is_some() {
                new.of_slots[usize::from(slot)] = place.and_then(|place| u16::try_from(place).ok());
                new.redirected.insert(slot, when);
            }
        }
        let known = self.masters.iter().chain(&self.others).filter_map(|node| node.address());
        let replicas = view.ranges.iter().flat_map(|(.., replicas)| replicas.iter().cloned());
        let others: BTreeSet<Address> = seeds.iter().cloned().chain(replicas).chain(known).collect();
        for address in others.into_iter().filter(|address| !places.contains_key(address)).take(OTHERS_MAX) {
            let other = self.others.iter().find(|node| node.address().as_ref() == Some(&address)).cloned();
            new.others.push(other.map_or_else(|| way.to(&address).map(Arc::new), Ok)?);
        }
        Ok(new)
    }

    /// Whether each slot has the same master in both.
    fn is_like(&self, other: &Self) -> bool {
        self.masters.len() == other.masters.len()
            && self.masters.iter().all(|node| contains(&other.masters, node))
            && (0..SLOTS).all(|slot| Arc::ptr_eq(self.of(slot), other.of(slot)))
    }
}

/// Asks a node for its view of the cluster.
async fn view_of(node: Arc<Node>) -> Result<View, StoreError> {
    let mut ask = redis::pipe();
    ask.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let (info, slots): (String, Vec<Value>) = node.run_pipeline(&ask).await?;
    let epoch = info.lines().find_map(|line| line.trim_end().strip_prefix("cluster_current_epoch:")?.parse().ok());
    let host = node.address().map(|address| address.host).unwrap_or_default();
    let ranges = slots.into_iter().filter_map(|range| range_of(range, &host)).collect();
    Ok(View { epoch: epoch.unwrap_or(0), ranges })
}

/// Reads a range of `CLUSTER SLOTS`: `[first, last, [host, port, …], …]`, the master before its replicas.
fn range_of(range: Value, host: &str) -> Option<(u16, u16, Address, Vec<Address>)> {
    let Value::Array(parts) = range else { return None };
    let number = |value: &Value| redis::from_redis_value_ref::<u16>(value).ok();
    let mut nodes = parts.get(2..)?.iter().filter_map(|node| {
        let Value::Array(node) = node else { return None };
        // A node that does not know a host's name or address leaves it out: then it is its own.
        let named = redis::from_redis_value_ref::<Option<String>>(node.first()?).ok()?;
        let named = named.filter(|named| !["", "?"].contains(&named.as_str()));
        Some(Address { host: named.unwrap_or_else(|| host.to_owned()), port: number(node.get(1)?)? })
    });
    Some((number(&parts[0])?, number(&parts[1])?, nodes.next()?, nodes.collect()))
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;
    use crate::config::Settings;

    fn way() -> (Way, Vec<Address>) {
        let url = [("LYNKHOOK_REDIS__URL", "redis+cluster://:secret@10.0.0.1:7001,10.0.0.9:7009")];
        Way::new(&Settings::load(None, url).unwrap().redis).unwrap()
    }

    fn at(port: u16) -> Address {
        Address { host: "10.0.0.1".to_owned(), port }
    }

    /// A view in which each of these ports has the slots up to the given one, after those of the port before.
    fn view(epoch: u64, ports: &[(u16, u16)]) -> View {
        let mut first = 0;
        let range = |&(port, last): &(u16, u16)| {
            let range = (first, last, at(port), vec![at(port + 100)]);
            first = last + 1;
            range
        };
        View { epoch, ranges: ports.iter().map(range).collect() }
    }

    fn names(nodes: &[Arc<Node>]) -> Vec<&str> {
        nodes.iter().filter_map(|node| node.name()).collect()
    }

    fn moved(line: &str) -> StoreError {
        StoreError::answered(line)
    }

    #[tokio::test]
    async fn a_slot_is_at_the_master_that_the_newest_view_names_and_masters_that_stay_keep_their_connections() {
        let (way, seeds) = way();
        let cluster = Cluster::new(way, seeds).unwrap();
        assert_eq!(names(&cluster.masters()), ["10.0.0.1:7001", "10.0.0.9:7009"], "at first, those of the settings");
        cluster.take(&view(1, &[(7001, 5000), (7002, 16_383)])).unwrap();
        let (first, second) = (cluster.of(5000), cluster.of(5001));
        assert_eq!((first.name(), second.name()), (Some("10.0.0.1:7001"), Some("10.0.0.1:7002")));
        cluster.take(&view(2, &[(7001, 5000), (7102, 16_383)])).unwrap();
        assert!(Arc::ptr_eq(&first, &cluster.of(0)), "the first master is the same node");
        assert_eq!(names(&cluster.masters()), ["10.0.0.1:7001", "10.0.0.1:7102"]);
        assert!(names(&cluster.map().others).contains(&"10.0.0.1:7002"), "a node that was met is remembered");
        let waits = second.answered(Duration::from_secs(60), std::future::pending::<redis::RedisResult<()>>()).await;
        assert!(waits.unwrap_err().to_string().contains("no longer the master"), "a deposed master is waited for");
        let waits = first.answered(Duration::from_millis(10), std::future::pending::<redis::RedisResult<()>>()).await;
        assert!(waits.unwrap_err().to_string().contains("timed out"));
    }

    #[tokio::test]
    async fn a_redirection_counts_at_once_and_for_longer_than_views_of_nodes_that_have_not_heard() {
        let (way, seeds) = way();
        let cluster = Cluster::new(way, seeds).unwrap();
        let old = view(1, &[(7001, 5000), (7002, 16_383)]);
        cluster.take(&old).unwrap();
        let asked = cluster.of(7);
        let elsewhere = cluster.elsewhere(&asked, &moved("-MOVED 7 10.0.0.1:7002\r\n")).unwrap();
        assert!(elsewhere.is_for_good && Arc::ptr_eq(&elsewhere.node, &cluster.of(7)));
        cluster.take(&old).unwrap();
        assert_eq!((cluster.of(7).name(), cluster.of(8).name()), (Some("10.0.0.1:7002"), Some("10.0.0.1:7001")));
        // Without a host, it is the node that answered.
        for line in ["-MOVED 8 :7005\r\n", "-MOVED 8 ?:7005\r\n"] {
            let elsewhere = cluster.elsewhere(&asked, &moved(line)).unwrap();
            assert_eq!(elsewhere.node.name(), Some("10.0.0.1:7005"), "{line}");
        }
        let asking = cluster.elsewhere(&asked, &moved("-ASK 9 10.0.0.1:7002\r\n")).unwrap();
        assert!(!asking.is_for_good);
        assert_eq!(cluster.of(9).name(), Some("10.0.0.1:7001"), "only some keys have moved");
        for line in ["-TRYAGAIN Multiple keys\r\n", "-CLUSTERDOWN The cluster is down\r\n", "-ERR MOVED 1 a:1\r\n"] {
            assert!(cluster.elsewhere(&asked, &moved(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn a_range_is_read_whatever_a_node_knows_of_its_host() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())]);
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        for (host, read) in [(text("10.0.0.3"), "10.0.0.3"), (text(""), "own"), (text("?"), "own"), (Value::Nil, "own")]
        {
            let range = vec![Value::Int(1), Value::Int(9), node(host, 7001), node(text("replica"), 7101)];
            let (first, last, master, replicas) = range_of(Value::Array(range), "own").unwrap();
            assert_eq!((first, last, master.to_string()), (1, 9, format!("{read}:7001")));
            assert_eq!(replicas, [Address { host: "replica".to_owned(), port: 7101 }]);
        }
        assert!(range_of(Value::Array(vec![Value::Int(1), Value::Int(9)]), "own").is_none());
    }

    #[tokio::test]
    async fn errors_that_tell_of_a_change_make_the_cluster_look_at_once() {
        let (way, seeds) = way();
        let cluster = Cluster::new(way, seeds).unwrap();
        let asked = cluster.of(7);
        for (line, tells) in [
            ("-CLUSTERDOWN The cluster is down\r\n", true),
            ("-READONLY You can't write against a read only replica.\r\n", true),
            ("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", true),
            ("-UNBLOCKED force unblock from blocking operation\r\n", true),
            ("-NOREPLICAS Not enough good replicas to write.\r\n", true),
            ("-LOADING Redis is loading the dataset in memory\r\n", true),
            ("-ERR unknown command\r\n", false),
            ("-OOM command not allowed\r\n", false),
            ("-CROSSSLOT Keys in request don't hash to the same slot\r\n", false),
        ] {
            cluster.elsewhere(&asked, &moved(line));
            let wanted = timeout(Duration::from_millis(1), cluster.wanted.notified()).await.is_ok();
            assert_eq!(wanted, tells, "{line}");
        }
    }
}
