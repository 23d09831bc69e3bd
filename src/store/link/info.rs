//! A server's own facts, and whether it can serve. A server on which an accepted event could vanish by itself is
//! refused.

use std::{collections::HashMap, sync::Arc};

#[cfg(feature = "program")]
use super::Master;
use super::node::Node;
use crate::store::{Store, StoreError};

/// The oldest Redis that serves (script flags, `XAUTOCLAIM`-era pending lists, `EXPIRE` options).
pub(in crate::store) const OLDEST_REDIS: (u32, u32) = (7, 0);

/// The only policy with which a full Redis refuses new data instead of deleting data that it has.
pub const NO_EVICTION: &str = "noeviction";

/// The name of the limit on clients, in `INFO` and in the configuration.
pub const MAX_CLIENTS: &str = "maxclients";

/// The fields of `INFO`.
#[derive(Debug, Clone, Default)]
pub struct ServerInfo(HashMap<String, String>);

/// As much memory as a server may use, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Its `maxmemory`.
    Maxmemory(u64),
    /// The machine's memory, because `maxmemory` is not set.
    Machine(u64),
}

impl MemoryLimit {
    /// The bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Maxmemory(bytes) | Self::Machine(bytes) => bytes,
        }
    }
}

impl ServerInfo {
    /// Reads the answer to `INFO`: lines `field:value`, and comments.
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(fields.map(|(field, value)| (field.to_owned(), value.to_owned())).collect())
    }

    /// The text of a field; `None` if this server does not have it.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// The value of a field that is a whole number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.text(field)?.parse().ok()
    }

    /// Redis's version. A compatible server names the version of Redis that it stands for.
    pub fn version(&self) -> &str {
        self.text("redis_version").unwrap_or("0.0")
    }

    /// Whether it is Redis 7.0 or newer, or stands for one.
    pub fn is_new_enough(&self) -> bool {
        let mut parts = self.version().split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST_REDIS
    }

    /// Whether the server reports a change to readers before it answers the client that made the change, now and while
    /// it runs. From Redis 8 on, an I/O thread may answer first. Valkey has such threads from 8 on. It calls itself
    /// Redis 7.2.4, says only whether its threads are awake at the moment, and can change their number while it runs,
    /// so `INFO` is not enough there.
    pub(in crate::store) fn tells_before_it_answers(&self) -> bool {
        let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if let Some(valkey) = self.text("valkey_version") {
            return major(valkey).is_some_and(|major| major < 8);
        }
        major(self.version()).is_some_and(|major| major < 8) || self.number("io_threads_active").unwrap_or(0) == 0
    }

    /// Whether it is a node of a cluster. Valkey 9 does not name its mode `cluster`.
    pub fn is_in_a_cluster(&self) -> bool {
        self.number("cluster_enabled") == Some(1) || self.text("redis_mode") == Some("cluster")
    }

    /// Refuses a node of a cluster if the settings name a single Redis.
    pub(in crate::store) fn check_kind(&self, in_a_cluster: bool) -> Result<(), StoreError> {
        if !self.is_in_a_cluster() || in_a_cluster {
            return Ok(());
        }
        Err(StoreError::Unfit(
            "this Redis is a node of a cluster: write redis+cluster:// in redis.url, or rediss+cluster://".to_owned(),
        ))
    }

    /// The bytes in use, and those that there may be: `maxmemory`, or all memory of the machine if that is not set.
    /// `None` if it does not show a limit.
    pub fn memory(&self) -> (u64, Option<MemoryLimit>) {
        let limit = match (self.number("maxmemory"), self.number("total_system_memory")) {
            (Some(0) | None, Some(system)) if system > 0 => Some(MemoryLimit::Machine(system)),
            (Some(most), _) if most > 0 => Some(MemoryLimit::Maxmemory(most)),
            _ => None,
        };
        (self.number("used_memory").unwrap_or(0), limit)
    }

    /// Its policy for a full memory, if it tells.
    pub fn eviction_policy(&self) -> Option<&str> {
        self.text("maxmemory_policy")
    }
}

impl Node {
    /// Asks the server about itself.
    pub(in crate::store) async fn info(&self) -> Result<ServerInfo, StoreError> {
        let text: String = self.run(&redis::cmd("INFO")).await?;
        Ok(ServerInfo::parse(&text))
    }

    /// The memory in use, and its limit.
    async fn memory(&self) -> Result<(u64, Option<MemoryLimit>), StoreError> {
        let text: String = self.run(redis::cmd("INFO").arg("memory")).await?;
        Ok(ServerInfo::parse(&text).memory())
    }

    /// The number of clients that it allows; `None` if it does not tell. `INFO` has the number from Redis 7.0 on, but
    /// not on every server, and not every user may ask for the setting.
    async fn max_clients(&self) -> Result<Option<u64>, StoreError> {
        if let Some(most) = self.info().await?.number(MAX_CLIENTS) {
            return Ok(Some(most));
        }
        match self.run::<Vec<String>>(redis::cmd("CONFIG").arg("GET").arg(MAX_CLIENTS)).await {
            Ok(answer) => Ok(answer.into_iter().nth(1).and_then(|most| most.parse().ok())),
            Err(StoreError::Refused(_) | StoreError::Forbidden(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Refuses a server that is too old, or that may evict keys unless the operator accepted its policy by name.
    async fn check(&self, accepted_eviction: &str, in_a_cluster: bool) -> Result<(), StoreError> {
        let info = self.info().await?;
        if !info.is_new_enough() {
            let (version, (major, minor)) = (info.version(), OLDEST_REDIS);
            return Err(StoreError::Unfit(format!(
                "Redis {version} is too old; Lynkhook needs {major}.{minor} or newer"
            )));
        }
        info.check_kind(in_a_cluster)?;
        match info.eviction_policy() {
            Some(policy) if policy != NO_EVICTION && policy != accepted_eviction => Err(StoreError::Unfit(format!(
                "this Redis has `maxmemory-policy {policy}`: when it is full, it deletes events that it has accepted; \
                 set `maxmemory-policy noeviction`, or accept the loss with redis.accept_eviction = \"{policy}\""
            ))),
            _ => Ok(()),
        }
    }
}

impl Store {
    /// The smallest number of clients that a node allows, as far as the nodes tell.
    pub(crate) async fn max_clients(&self) -> Result<Option<u64>, StoreError> {
        let mut least = None;
        for node in self.nodes() {
            least = least.into_iter().chain(node.max_clients().await?).min();
        }
        Ok(least)
    }

    /// The bytes in use at each master and its limit, if it shows its limit.
    #[cfg(feature = "program")]
    pub(crate) async fn memory(&self) -> Vec<(Master, Result<Option<(u64, u64)>, StoreError>)> {
        let memory = |node: Arc<Node>, _| async move {
            let (used, limit) = node.memory().await?;
            Ok(limit.map(|limit| (used, limit.bytes())))
        };
        self.each_node(memory).await
    }

    /// Refuses nodes that cannot serve. Of several, some may be away: the others are checked.
    ///
    /// # Errors
    /// That of a node, if none answers.
    pub(in crate::store) async fn check_nodes(&self, accepted_eviction: &str) -> Result<(), StoreError> {
        let in_a_cluster = self.epoch().is_some();
        let check = |node: Arc<Node>, _| {
            let accepted_eviction = accepted_eviction.to_owned();
            async move { node.check(&accepted_eviction, in_a_cluster).await }
        };
        let (mut any_answers, mut silence) = (false, None);
        for (_, checked) in self.each_node(check).await {
            match checked {
                Ok(()) => any_answers = true,
                Err(error) if error.is_passing() => silence = silence.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        silence.filter(|_| !any_answers).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_info_are_read_and_missing_fields_are_none() {
        let info = ServerInfo::parse("# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nmaxmemory:1048576\r\n");
        assert_eq!((info.version(), info.number("maxmemory")), ("7.0.15", Some(1 << 20)));
        assert_eq!((info.text("aof_enabled"), info.eviction_policy()), (None, None));
        for (version, serves) in [("7.0.0", true), ("7.2", true), ("8.2.1", true), ("6.2.14", false), ("x", false)] {
            let info = ServerInfo::parse(&format!("redis_version:{version}"));
            assert_eq!(info.is_new_enough(), serves, "{version}");
        }
        assert!(!ServerInfo::default().is_new_enough());
        for (version, threads, tells) in [("7.4.1", 1, true), ("8.0.0", 0, true), ("8.2.1", 1, false)] {
            let info = ServerInfo::parse(&format!("redis_version:{version}\r\nio_threads_active:{threads}\r\n"));
            assert_eq!(info.tells_before_it_answers(), tells, "{version} with {threads}");
        }
        for (valkey, threads, tells) in
            [("7.2.9", 1, true), ("8.1.1", 0, false), ("8.1.1", 1, false), ("9.1.2", 0, false), ("x", 0, false)]
        {
            let text = format!(
                "redis_version:7.2.4\nserver_name:valkey\nvalkey_version:{valkey}\nio_threads_active:{threads}"
            );
            assert_eq!(ServerInfo::parse(&text).tells_before_it_answers(), tells, "Valkey {valkey} with {threads}");
        }
        for (text, is) in [("redis_mode:cluster", true), ("cluster_enabled:1", true), ("cluster_enabled:0", false)] {
            assert_eq!(ServerInfo::parse(text).is_in_a_cluster(), is, "{text}");
        }
    }
}
