//! A real Redis Cluster for the tests: masters and replicas on this machine, and the faults that a cluster can have.
//!
//! Each node is a [`RedisServer`], so none outlives the test process.

mod moving;
mod view;

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redis::{RedisResult, aio::MultiplexedConnection};

use super::{RedisServer, connect, eventually};
pub use moving::Moving;
use view::View;

/// The settings of each node.
const SETTINGS: [&str; 10] = [
    "--cluster-node-timeout",
    "2000",
    // Each node keeps its role until a test changes it: no replica moves to another master, and a master without slots
    // stays one.
    "--cluster-allow-replica-migration",
    "no",
    // Replicas begin to copy at once instead of after 5 s, and know within a second how far they are.
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
    "--cluster-announce-ip",
    "127.0.0.1",
];
/// The longest time until a new cluster or node is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// The longest time until a replica is promoted.
const PROMOTION_LIMIT: Duration = Duration::from_secs(30);
/// The time after which Redis gives up a planned failover.
const FAILOVER_LIMIT: Duration = Duration::from_secs(6);

/// The pause between two looks at all nodes, so that a test that measures times is not slowed down.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running cluster. Its nodes have numbers: first the masters that it began with, then their replicas.
pub struct RedisCluster {
    nodes: Vec<Node>,
    /// The number of masters at the start.
    masters: usize,
    arguments: Vec<String>,
    /// The number of prefixes given out so far.
    prefixes: AtomicU32,
}

struct Node {
    server: RedisServer,
    is_paused: bool,
    /// Its name in the cluster.
    id: String,
    /// The node that was the master of its shard at the start. Nodes of one shard have the same data.
    shard: usize,
}

impl RedisCluster {
    /// Three masters with one replica each.
    pub async fn start() -> Self {
        Self::start_with(3, 1, &[]).await
    }

    /// A cluster whose nodes have these additional arguments. Redis wants three masters at least.
    pub async fn start_with(masters: usize, replicas_each: usize, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = SETTINGS.iter().chain(arguments).map(|&argument| argument.to_owned()).collect();
        let (nodes, prefixes) = (Vec::new(), AtomicU32::new(0));
        let mut cluster = Self { nodes, masters, arguments, prefixes };
        for _ in 0..masters * (1 + replicas_each) {
            cluster.launch().await;
        }
        let mut create = vec!["create".to_owned()];
        create.extend(cluster.nodes.iter().map(|node| node.server.address_in_cluster()));
        create.extend(["--cluster-replicas".to_owned(), replicas_each.to_string(), "--cluster-yes".to_owned()]);
        redis_cli(&create);
        let is_complete = |view: &View| view.count_replicas() == masters * replicas_each;
        cluster.known_by_all("all know who is whose replica", is_complete).await;
        cluster.healthy().await;
        cluster.in_sync().await;
        let view = cluster.view().await;
        for node in 0..cluster.nodes() {
            cluster.nodes[node].shard = view.master_of_node(cluster.port(node)).map_or(node, |port| cluster.at(port));
        }
        cluster
    }

    /// The URL for `redis.url`: the masters at the start.
    pub fn url(&self) -> String {
        let addresses: Vec<_> = (0..self.masters).map(|node| format!("127.0.0.1:{}", self.port(node))).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// A key prefix that no other test on this cluster uses.
    pub fn unique_prefix(&self) -> String {
        format!("t{}-{}", std::process::id(), self.prefixes.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].server.port()
    }

    /// The server of a node, for its log and directory.
    pub fn server(&self, node: usize) -> &RedisServer {
        &self.nodes[node].server
    }

    /// A new connection to a node.
    pub async fn connection(&self, node: usize) -> MultiplexedConnection {
        self.nodes[node].server.connection().await
    }

    /// A new connection to the present master of the key's slot.
    pub async fn connection_of(&self, key: &str) -> MultiplexedConnection {
        self.connection(self.master_of(slot_of(key)).await).await
    }

    /// The present master of a slot. If it was killed or paused, it is the master until a replica is promoted.
    pub async fn master_of(&self, slot: u16) -> usize {
        self.at(self.view().await.master_of(slot).expect("each slot has a master"))
    }

    /// The present replicas of a master, those that do not run included.
    pub async fn replicas_of(&self, master: usize) -> Vec<usize> {
        self.view().await.replicas_of(self.port(master)).into_iter().map(|port| self.at(port)).collect()
    }

    /// The present masters that run.
    pub async fn masters(&self) -> Vec<usize> {
        let masters = self.view().await.masters();
        self.running().filter(|&node| masters.contains(&self.port(node))).collect()
    }

    /// A planned failover: makes the replica a master, without loss. Returns when all nodes know it.
    ///
    /// Do not make the same node step down twice within 4 s: Redis refuses at first, and clients cannot write for 5 s.
    pub async fn failover(&self, replica: usize) {
        let started = Instant::now();
        while started.elapsed() < PROMOTION_LIMIT {
            // Redis gives up without a word if nodes voted for this shard shortly before, so ask again.
            if !self.view().await.is_master(self.port(replica)) {
                let () = ask(&mut self.connection(replica).await, "CLUSTER FAILOVER").await;
            }
            let promoted = self.known_by_all("", |view| view.is_master(self.port(replica)));
            if tokio::time::timeout(FAILOVER_LIMIT, promoted).await.is_ok() {
                return;
            }
        }
        panic!("node {replica} did not become a master: {}", self.server(replica).log());
    }

    /// Waits until a replica of this former master is the master of its slots and all running nodes know it. Answers
    /// the new master.
    pub async fn promoted_after(&self, old: usize) -> usize {
        let others =
            || (0..self.nodes()).filter(|&node| node != old && self.nodes[node].shard == self.nodes[old].shard);
        let promoted = |view: &View| others().find(|&node| view.has_slots(self.port(node)));
        self.known_by_all("a replica was promoted", |view| promoted(view).is_some()).await;
        promoted(&self.view().await).expect("it was promoted")
    }

    /// Kills a node with SIGKILL. Its data stays.
    pub fn kill9(&mut self, node: usize) {
        self.nodes[node].server.kill9();
        self.nodes[node].is_paused = false;
    }

    /// Starts a killed node again. Returns when it answers; the cluster may take longer to accept it.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].server.restart();
    }

    /// Freezes a node (SIGSTOP): connections stay open and get no answers until [`resume`](Self::resume).
    pub fn pause(&mut self, node: usize) {
        self.nodes[node].server.pause();
        self.nodes[node].is_paused = true;
    }

    pub fn resume(&mut self, node: usize) {
        self.nodes[node].server.resume();
        self.nodes[node].is_paused = false;
    }

    /// Adds a master without slots. Answers its number.
    pub async fn add_master(&mut self) -> usize {
        let member = self.running().next().expect("a node runs");
        let member = self.server(member).address_in_cluster();
        let new = self.launch().await;
        redis_cli(&["add-node".to_owned(), self.nodes[new].server.address_in_cluster(), member]);
        self.known_by_all("all know the new node", |view| view.is_master(self.port(new))).await;
        self.healthy().await;
        new
    }

    /// Waits until all slots have masters that answer and all running nodes say so.
    pub async fn healthy(&self) {
        eventually(READY_LIMIT, "cluster_state:ok at every running node", async || {
            for node in self.running() {
                let info: String = ask(&mut self.connection(node).await, "CLUSTER INFO").await;
                if !info.contains("cluster_state:ok") {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until each running replica has its master's data and each running node names it in `CLUSTER SLOTS`.
    pub async fn in_sync(&self) {
        let view = self.view().await;
        let replicas: Vec<_> = self.running().map(|node| self.port(node)).filter(|&port| view.has_copy(port)).collect();
        for node in self.running() {
            let mut redis = self.connection(node).await;
            eventually(READY_LIMIT, &format!("node {node} is in sync and names all replicas"), async || {
                let info: redis::InfoDict = ask(&mut redis, "INFO replication").await;
                let is_copy = info.get("master_link_status") == Some("up".to_owned())
                    && info.get("slave_repl_offset") > Some(0_u64);
                let slots: Vec<Vec<redis::Value>> = ask(&mut redis, "CLUSTER SLOTS").await;
                let are_named = replicas.iter().all(|&port| slots.iter().flatten().any(|node| names(node, port)));
                (are_named && (is_copy || info.get("role") == Some("master".to_owned()))).then_some(())
            })
            .await;
        }
    }

    /// Starts a server that is not in the cluster yet. Answers its number.
    async fn launch(&mut self) -> usize {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let server = RedisServer::start_node(&arguments);
        let id = ask(&mut server.connection().await, "CLUSTER MYID").await;
        self.nodes.push(Node { server, is_paused: false, id, shard: self.nodes.len() });
        self.nodes.len() - 1
    }

    fn at(&self, port: u16) -> usize {
        (0..self.nodes()).find(|&node| self.port(node) == port).expect("a node of this cluster")
    }

    /// The nodes that answer.
    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes()).filter(|&node| self.server(node).is_running() && !self.nodes[node].is_paused)
    }

    /// The newest view that a running node has.
    async fn view(&self) -> View {
        self.views().await.into_iter().max_by_key(View::age).expect("a node runs")
    }

    /// The views of all running nodes.
    async fn views(&self) -> Vec<View> {
        let mut views = Vec::new();
        for node in self.running() {
            let text: String = ask(&mut self.connection(node).await, "CLUSTER NODES").await;
            views.push(View::parse(&text));
        }
        views
    }

    async fn known_by_all(&self, what: &str, is_known: impl Fn(&View) -> bool) {
        eventually(PROMOTION_LIMIT, what, async || {
            let is_known = self.views().await.iter().all(&is_known);
            if !is_known {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            is_known.then_some(())
        })
        .await;
    }
}

/// The masters of the cluster to which a server belongs, or the server itself if it is a single one.
pub async fn masters(mut redis: MultiplexedConnection) -> Vec<MultiplexedConnection> {
    let nodes: RedisResult<String> = redis::cmd("CLUSTER").arg("NODES").query_async(&mut redis).await;
    // A single server refuses the question.
    let Ok(nodes) = nodes else { return vec![redis] };
    let mut masters = Vec::new();
    for port in View::parse(&nodes).masters() {
        masters.push(connect(&format!("redis://127.0.0.1:{port}/")).await);
    }
    masters
}

/// The slot of a key: the CRC-16/XMODEM of the part in its first braces, or of all of it.
pub fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let shifted = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    hashed.bytes().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| shifted(crc))) % 16_384
}

/// Whether a part of the answer to `CLUSTER SLOTS` is the node with this port: address, port, id, …
fn names(part: &redis::Value, node: u16) -> bool {
    matches!(part, redis::Value::Array(words) if words.get(1) == Some(&redis::Value::Int(node.into())))
}

/// Sends a command as typed into `redis-cli`.
async fn ask<T: redis::FromRedisValue>(redis: &mut MultiplexedConnection, command: &str) -> T {
    let words: Vec<&str> = command.split_whitespace().collect();
    let mut typed = redis::cmd(words[0]);
    typed.arg(&words[1..]);
    typed.query_async(redis).await.unwrap_or_else(|error| panic!("{command}: {error}"))
}

fn redis_cli(arguments: &[String]) {
    let output = Command::new("redis-cli").arg("--cluster").args(arguments).output().expect("`redis-cli` is installed");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "redis-cli --cluster {arguments:?}:\n{shown}");
}
