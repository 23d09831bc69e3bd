//! A slot moves from one master to another, in the steps of `redis-cli --cluster reshard`.

use std::time::Duration;

use super::{RedisCluster, ask};

/// The most keys that one command moves.
const BATCH: usize = 100;

/// A slot that is moving: open at both ends until it is [closed](Self::close).
pub struct Moving<'a> {
    cluster: &'a RedisCluster,
    slot: u16,
    from: usize,
    to: usize,
}

impl RedisCluster {
    /// Moves a slot with its keys. It is open this long besides: half before its keys move, half after.
    pub async fn move_slot(&self, slot: u16, to: usize, held_open: Duration) {
        let moving = self.open_slot(slot, to).await;
        tokio::time::sleep(held_open / 2).await;
        moving.move_keys().await;
        tokio::time::sleep(held_open / 2).await;
        moving.close().await;
    }

    /// Opens a slot at its master and at the master that is to get it.
    pub async fn open_slot(&self, slot: u16, to: usize) -> Moving<'_> {
        let from = self.master_of(slot).await;
        assert_ne!(from, to, "slot {slot} is there already");
        let moving = Moving { cluster: self, slot, from, to };
        moving.set(to, &format!("IMPORTING {}", self.nodes[from].id)).await;
        moving.set(from, &format!("MIGRATING {}", self.nodes[to].id)).await;
        moving
    }
}

impl Moving<'_> {
    /// Moves all keys. While they are there, new ones arise at the target only.
    pub async fn move_keys(&self) {
        let mut source = self.cluster.connection(self.from).await;
        loop {
            let keys: Vec<String> = ask(&mut source, &format!("CLUSTER GETKEYSINSLOT {} {BATCH}", self.slot)).await;
            if keys.is_empty() {
                return;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(self.cluster.port(self.to)).arg("").arg(0).arg(5000).arg("KEYS").arg(keys);
            // It answers NOKEY if the keys are gone by now, which is fine.
            let _: String = migrate.query_async(&mut source).await.expect("keys can be moved");
        }
    }

    /// Gives the slot to its new master: the target learns of it first, so that at no time nobody has it.
    pub async fn close(self) {
        let (cluster, slot, to) = (self.cluster, self.slot, self.to);
        // Only masters take this; replicas hear of it.
        let mut masters = cluster.masters().await;
        masters.sort_by_key(|&node| (node != to, node != self.from));
        for node in masters {
            self.set(node, &format!("NODE {}", cluster.nodes[to].id)).await;
        }
        cluster.known_by_all("the slot has moved", |view| view.master_of(slot) == Some(cluster.port(to))).await;
    }

    async fn set(&self, node: usize, state: &str) {
        let mut redis = self.cluster.connection(node).await;
        let () = ask(&mut redis, &format!("CLUSTER SETSLOT {} {state}", self.slot)).await;
    }
}
