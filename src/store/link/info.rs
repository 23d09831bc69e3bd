//! A server's own facts, and whether it can serve: refused here are servers on which an event that was accepted
//! could vanish without anybody's doing.

use std::collections::HashMap;

use super::node::Node;
use crate::store::{Store, StoreError};

/// The oldest Redis that serves (script flags, `XAUTOCLAIM`-era pending lists, `EXPIRE` options).
pub(in crate::store) const OLDEST_REDIS: (u32, u32) = (7, 0);

/// The only policy under which a full Redis refuses what is new rather than forget what it has.
pub const NO_EVICTION: &str = "noeviction";

/// The name of the limit of clients, in `INFO` and in the configuration.
pub const MAX_CLIENTS: &str = "maxclients";

/// The fields of `INFO`.
#[derive(Debug, Clone, Default)]
pub struct ServerInfo(HashMap<String, String>);

impl ServerInfo {
    /// Reads the answer to `INFO`: lines `field:value`, and comments.
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(fields.map(|(field, value)| (field.to_owned(), value.to_owned())).collect())
    }

    /// A field, or nothing where this server has it not.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// A field that is a whole number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.text(field)?.parse().ok()
    }

    /// Redis's version; where another server speaks its protocol, the one that it stands for.
    pub fn version(&self) -> &str {
        self.text("redis_version").unwrap_or("0.0")
    }

    /// Whether it is Redis 7.0 or newer, or stands for one.
    pub fn is_new_enough(&self) -> bool {
        let mut parts = self.version().split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST_REDIS
    }

    /// Whether it tells of a change before it answers who made it, now and as long as it runs. From Redis 8 on a thread for
    /// clients may answer first. Valkey has such threads from 8 on, calls itself Redis 7.2.4, says of its threads only whether
    /// they are awake at this moment, and takes another number of them while it runs: no word of `INFO` is enough there.
    pub(in crate::store) fn tells_before_it_answers(&self) -> bool {
        let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if let Some(valkey) = self.text("valkey_version") {
            return major(valkey).is_some_and(|major| major < 8);
        }
        major(self.version()).is_some_and(|major| major < 8) || self.number("io_threads_active").unwrap_or(0) == 0
    }

    /// Whether it is a node of a cluster. Valkey 9 has another word than `cluster` for its mode.
    pub fn is_in_a_cluster(&self) -> bool {
        self.number("cluster_enabled") == Some(1) || self.text("redis_mode") == Some("cluster")
    }

    /// Its policy when it is full, if it says so.
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

    /// How many clients it allows; nothing where it does not tell. `INFO` says it from Redis 7.0 on, but not everywhere, and
    /// not every user may ask for the setting.
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
    async fn check(&self, accepted_eviction: &str) -> Result<(), StoreError> {
        let info = self.info().await?;
        if !info.is_new_enough() {
            let (version, (major, minor)) = (info.version(), OLDEST_REDIS);
            return Err(StoreError::Unfit(format!(
                "Redis {version} is too old; Lynkhook needs {major}.{minor} or newer"
            )));
        }
        if info.is_in_a_cluster() {
            return Err(StoreError::Unfit(
                "this is a node of a cluster, and clusters are not served yet: name a single Redis in redis.url"
                    .to_owned(),
            ));
        }
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
    /// How many clients each node allows at least, as far as they tell.
    pub(crate) async fn max_clients(&self) -> Result<Option<u64>, StoreError> {
        let mut least = None;
        for node in self.nodes() {
            least = least.into_iter().chain(node.max_clients().await?).min();
        }
        Ok(least)
    }

    /// Refuses nodes that cannot serve.
    pub(in crate::store) async fn check_nodes(&self, accepted_eviction: &str) -> Result<(), StoreError> {
        for node in self.nodes() {
            node.check(accepted_eviction).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_info_are_read_and_what_is_missing_is_missing() {
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
