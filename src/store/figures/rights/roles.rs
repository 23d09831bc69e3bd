//! The roles of Redis users, and the commands that each role runs. `deploy/redis/users.acl` grants these and no others;
//! a test compares the two.

#[cfg(test)]
use super::right;

/// The purpose of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRole {
    /// `lynkhook worker`.
    Worker,
    /// `lynkhook enqueue`, and backends that use the library.
    Producer,
    /// Commands that only look: webhooks, their logs, the queue's figures, API keys, `doctor`.
    Operator,
    /// `lynkhook server`, and all commands that change something.
    Server,
}

/// The commands with which every process checks whether this Redis fits.
const START: &[&str] = &["INFO", "HMGET {meta} schema partitions"];

/// The command that begins an installation. A producer and an operator leave it to the others.
const BEGIN: &[&str] = &["HSETNX {meta} schema 1"];

/// The rights to run scripts. `EVALSHA` tries a key for reading and writing.
const SCRIPTS: &[&str] = &[
    "TIME",
    "SCRIPT LOAD return",
    "EVALSHA 0 1 {queue}",
    "EVALSHA 0 1 {retries}",
    "EVALSHA 0 1 {releases}",
    "EVALSHA 0 1 {visits}",
    "EVALSHA 0 1 {rejected}",
    "EVALSHA 0 1 {counts}",
    "EVALSHA 0 1 {audit}",
    "EVALSHA 0 1 {held_bytes}",
    "EVALSHA 0 1 {webhooks}",
    "EVALSHA 0 1 {logs}",
    "EVALSHA 0 1 {held}",
    "EVALSHA 0 1 {failed}",
];

/// The rights to run the scripts of idempotency keys, API keys and the portal.
const OF_THE_API: &[&str] = &[
    "EVALSHA 0 1 {idempotency}",
    "EVALSHA 0 1 {idempotency_before}",
    "EVALSHA 0 1 {apikeys}",
    "EVALSHA 0 1 {apikeys:used}",
    "EVALSHA 0 1 {portal}",
];

/// The commands of a worker and of its scripts, each with a key on which it is used.
const WORKER: &[&str] = &[
    "EVALSHA 0 1 {worker}",
    "XREADGROUP GROUP workers rights STREAMS {queue} >",
    "XGROUP CREATE {queue} workers 0",
    "XGROUP DELCONSUMER {queue} workers rights",
    "XGROUP SETID {queue} workers 0-1",
    "XINFO CONSUMERS {queue} workers",
    "XINFO GROUPS {queue}",
    "XINFO STREAM {queue}",
    "XINFO STREAM {held}",
    "XPENDING {queue} workers",
    "XCLAIM {queue} workers rights 0 0-1",
    "XACK {queue} workers 0-1",
    "XADD {queue} * field value",
    "XDEL {queue} 0-1",
    "XLEN {queue}",
    "XRANGE {queue} - +",
    "XREVRANGE {queue} + -",
    "XSETID {queue} 0-1",
    "XTRIM {rejected} MAXLEN 1",
    "MEMORY USAGE {held}",
    "HGET {webhooks} field",
    "HGETALL {webhooks}",
    "HEXISTS {webhooks} field",
    "HMGET {webhooks} field",
    "HSET {held_bytes} field 0",
    "HDEL {held_bytes} field",
    "HINCRBY {counts} field 1",
    "LPUSH {logs} entry",
    "LPUSHX {logs} entry",
    "LINDEX {logs} 0",
    "LPOS {logs} entry",
    "LTRIM {logs} 0 0",
    "RPOP {logs}",
    "EXPIRE {logs} 1",
    "ZADD {retries} 0 member",
    "ZREM {retries} member",
    "ZRANGE {retries} 0 0",
    "ZSCORE {releases} member",
    "DEL {worker}",
    "SET {worker} figures",
    "UNLINK {held}",
];

/// A worker's keys: those of deliveries. Not those of the API, because a worker talks to strangers' endpoints.
const WORKERS_KEYS: &[&str] = &[
    "meta",
    "workers:*",
    "{*}:queue",
    "{*}:retries",
    "{*}:releases",
    "{*}:visits",
    "{*}:rejected",
    "{*}:counts",
    "{*}:audit",
    "{*}:held_bytes",
    "{*}:webhooks:*",
    "{*}:logs:*",
    "{*}:held:*",
    "{*}:failed:*",
];

/// Commands that a worker can do without. It then asks for webhooks at each delivery, takes a few seconds longer to
/// stop, and has no figures of the queue among its metrics.
const USEFUL_TO_A_WORKER: &[&str] = &[
    "CLIENT ID",
    "CLIENT UNBLOCK 1",
    "CLIENT TRACKING ON BCAST PREFIX {webhooks}",
    "ZCARD {retries}",
    "ZCOUNT {retries} 0 1",
];

/// The commands with which every process finds the node of a partition, on a cluster alone.
const ON_A_CLUSTER: &[&str] = &["CLUSTER INFO", "CLUSTER SLOTS", "ASKING"];

/// A command that no part of Lynkhook sends. Client libraries for clusters learn from it which word of a command is a key.
const USEFUL_TO_A_PRODUCER_ON_A_CLUSTER: &[&str] = &["COMMAND"];

/// The commands of a producer.
const PRODUCER: &[&str] = &["XADD {queue} * field value"];

/// A command that every role can do without. Its refusal still shows that the connection serves, but appears in Redis's
/// `ACL LOG`.
const USEFUL_TO_ALL: &[&str] = &["PING"];

/// The commands that read webhooks, logs, figures and keys, and those of their scripts.
const OPERATOR: &[&str] = &[
    "SCAN 0",
    "GET {worker}",
    "HGET {webhooks} field",
    "HGETALL {webhooks}",
    "HLEN {webhooks}",
    "HMGET {webhooks} field",
    "LRANGE {logs} 0 0",
    "MEMORY USAGE {held}",
    "XINFO CONSUMERS {queue} workers",
    "XINFO GROUPS {queue}",
    "XINFO STREAM {queue}",
    "XLEN {queue}",
    "XPENDING {queue} workers",
    "XRANGE {queue} - +",
    "XREVRANGE {failed} + -",
    "ZCARD {retries}",
    "ZCOUNT {retries} 0 1",
    "ZRANGE {retries} 0 0",
    "ZSCAN {visits} 0",
];

/// Commands that no part of Lynkhook sends, but that an operator types into `redis-cli`.
const USEFUL_TO_AN_OPERATOR: &[&str] = &["CLIENT LIST", "SLOWLOG GET", "TYPE {queue}"];

/// The commands of a server besides those of an operator. A server needs all that an operator needs, because its routes
/// read as an operator's commands do.
const SERVER: &[&str] = &[
    "XADD {queue} * field value",
    "XDEL {rejected} 0-1",
    "DEL {held}",
    "EXISTS {held}",
    "EXPIRE {logs} 1",
    "HDEL {webhooks} field",
    "HEXISTS {webhooks} field",
    "HINCRBY {counts} field 1",
    "HSET {webhooks} field value",
    "LPUSH {logs} entry",
    "LTRIM {logs} 0 0",
    "PEXPIREAT {portal} 1",
    "RENAME {idempotency} {idempotency_before}",
    "UNLINK {held}",
    "ZADD {visits} 0 member",
    "ZREM {visits} member",
];

/// A command that no part of Lynkhook sends. A person sends it to end a script that keeps Redis busy.
const USEFUL_TO_A_SERVER: &[&str] = &["SCRIPT KILL"];

impl UserRole {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Producer => "producer",
            Self::Operator => "operator",
            Self::Server => "server",
        }
    }

    /// The name with its article.
    pub fn one(self) -> &'static str {
        match self {
            Self::Worker => "a worker",
            Self::Producer => "a producer",
            Self::Operator => "an operator",
            Self::Server => "a server",
        }
    }

    /// The patterns of the keys that the role uses, as `ACL SETUSER` takes them.
    pub(super) fn key_patterns(self, prefix: &str) -> Vec<String> {
        match self {
            Self::Worker => WORKERS_KEYS.iter().map(|key| format!("~{prefix}:{key}")).collect(),
            Self::Producer => vec![format!("%R~{prefix}:meta"), format!("%W~{prefix}:{{*}}:queue")],
            // Not `%R~`: Redis counts each key that a script is given as written.
            Self::Operator | Self::Server => vec![format!("~{prefix}:*")],
        }
    }

    /// Whether the role runs scripts.
    pub(in crate::store) fn runs_scripts(self) -> bool {
        self != Self::Producer
    }

    /// One command for each kind of key in a partition, with the access that the role needs.
    pub(super) fn on_keys(self) -> impl Iterator<Item = &'static str> {
        let commands: [&[&str]; 2] = match self {
            Self::Worker => [SCRIPTS, &[]],
            Self::Producer => [PRODUCER, &[]],
            Self::Operator | Self::Server => [SCRIPTS, OF_THE_API],
        };
        let of_a_partition = |command: &&str| command.contains('{') && !command.contains("{apikeys");
        commands.into_iter().flatten().copied().filter(of_a_partition)
    }

    /// The role's commands on a single Redis, and whether the role needs them.
    pub(in crate::store) fn commands(self) -> Vec<(&'static str, bool)> {
        let (needed, useful): (&[&[&'static str]], &[&'static str]) = match self {
            Self::Worker => (&[START, BEGIN, SCRIPTS, WORKER], USEFUL_TO_A_WORKER),
            Self::Producer => (&[START, PRODUCER], &[]),
            Self::Operator => (&[START, SCRIPTS, OF_THE_API, OPERATOR], USEFUL_TO_AN_OPERATOR),
            Self::Server => (&[START, BEGIN, SCRIPTS, OF_THE_API, OPERATOR, SERVER], USEFUL_TO_A_SERVER),
        };
        let needed = needed.iter().copied().flatten().map(|command| (*command, true));
        needed.chain(useful.iter().chain(USEFUL_TO_ALL).map(|command| (*command, false))).collect()
    }

    /// The commands that the role runs besides on a cluster, and whether it needs them there.
    pub(super) fn commands_on_a_cluster(self) -> impl Iterator<Item = (&'static str, bool)> {
        let useful = if self == Self::Producer { USEFUL_TO_A_PRODUCER_ON_A_CLUSTER } else { &[] };
        let needed = ON_A_CLUSTER.iter().map(|command| (*command, true));
        needed.chain(useful.iter().map(|command| (*command, false)))
    }

    /// All rights of the role on an installation, as in an ACL file. `+multi` allows trying them.
    #[cfg(test)]
    pub(super) fn rights(self, prefix: &str) -> Vec<String> {
        let commands = self.commands().into_iter().chain(self.commands_on_a_cluster());
        let mut rights: Vec<String> = commands.map(|(command, _)| right(command)).collect();
        rights.push("+multi".to_owned());
        rights.sort_unstable();
        rights.dedup();
        [self.key_patterns(prefix), rights].concat()
    }
}
