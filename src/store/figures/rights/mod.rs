//! The rights that a Redis user needs for each role, and which of them a user lacks.
//!
//! Trying the rights does no harm. Redis checks a command that is sent after `MULTI` at once, and refuses it (`NOPERM`)
//! if the user may not run it or touch its keys. Nothing is ever executed, because the connection ends without `EXEC`.

use redis::{Cmd, RedisResult, Value};

use crate::{
    domain::webhook::WebhookId,
    store::{Store, StoreError, link::answered},
};

/// The purpose of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRole {
    /// `lynkhook worker`.
    Worker,
    /// `lynkhook enqueue`, and backends that use the library.
    Producer,
    /// All other commands: webhooks, the queue's figures, rejected entries, API keys.
    Operator,
    /// `lynkhook server`.
    Server,
}

/// The rights that a user lacks for a role, as `ACL SETUSER` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The user in `redis.url`.
    pub user: String,
    /// The missing rights without which the role fails.
    pub needed: Vec<String>,
    /// The missing rights without which the role works, but costs more.
    pub useful: Vec<String>,
    /// The partitions in which keys are refused, if they are not refused in all.
    pub partitions: Vec<u16>,
    /// Whether the rights could be tried at all, which takes `+multi`.
    pub tried: bool,
}

/// The commands with which every process checks whether this Redis fits.
const START: &[&str] = &["INFO", "HMGET {meta} schema partitions", "HSETNX {meta} schema 1"];

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
    "EVALSHA 0 1 {idempotency}",
    "EVALSHA 0 1 {idempotency_before}",
    "EVALSHA 0 1 {webhooks}",
    "EVALSHA 0 1 {logs}",
    "EVALSHA 0 1 {held}",
    "EVALSHA 0 1 {failed}",
];

/// The rights to run the scripts of API keys and of the portal.
const ACCESS: &[&str] = &["EVALSHA 0 1 {apikeys}", "EVALSHA 0 1 {apikeys:used}", "EVALSHA 0 1 {portal}"];

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

/// Commands that a worker can do without. It then asks for webhooks at each delivery, and takes a few seconds longer to
/// stop.
const USEFUL_TO_A_WORKER: &[&str] = &["CLIENT ID", "CLIENT UNBLOCK 1", "CLIENT TRACKING ON BCAST PREFIX {webhooks}"];

/// The commands of a producer.
const PRODUCER: &[&str] = &["XADD {queue} * field value"];

/// A command that a producer can do without. Its refusal still shows that the connection serves, but appears in Redis's
/// `ACL LOG`.
const USEFUL_TO_A_PRODUCER: &[&str] = &["PING"];

/// The Redis commands of the operator's commands and of their scripts.
const OPERATOR: &[&str] = &[
    "SCAN 0",
    "GET {worker}",
    "HGET {webhooks} field",
    "HGETALL {webhooks}",
    "HMGET {idempotency} field",
    "HEXISTS {webhooks} field",
    "HLEN {webhooks}",
    "HSET {webhooks} field value",
    "HDEL {webhooks} field",
    "HINCRBY {counts} field 1",
    "EXISTS {held}",
    "DEL {held}",
    "UNLINK {held}",
    "MEMORY USAGE {held}",
    "LPUSH {logs} entry",
    "LRANGE {logs} 0 0",
    "LTRIM {logs} 0 0",
    "EXPIRE {logs} 1",
    "XADD {queue} * field value",
    "XDEL {rejected} 0-1",
    "XINFO CONSUMERS {queue} workers",
    "XINFO GROUPS {queue}",
    "XINFO STREAM {queue}",
    "XLEN {queue}",
    "XPENDING {queue} workers",
    "XRANGE {queue} - +",
    "XREVRANGE {failed} + -",
    "ZADD {visits} 0 member",
    "ZCARD {retries}",
    "ZCOUNT {retries} 0 1",
    "ZRANGE {retries} 0 0",
    "ZREM {visits} member",
    "ZSCAN {visits} 0",
];

/// The commands of a server besides those of an operator: customers enter the portal with them, and events are enqueued
/// once for each idempotency key. A server needs all that an operator needs, because its routes do what an operator's
/// commands do.
const SERVER: &[&str] = &["PEXPIREAT {portal} 1", "RENAME {idempotency} {idempotency_before}"];

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

    /// One command for each kind of key in a partition, with the access that the role needs.
    fn on_keys(self) -> impl Iterator<Item = &'static str> {
        let commands: [&[&str]; 2] = match self {
            Self::Worker => [SCRIPTS, &[]],
            Self::Producer => [PRODUCER, &[]],
            Self::Operator | Self::Server => [SCRIPTS, ACCESS],
        };
        let of_a_partition = |command: &&str| command.contains('{') && !command.contains("{apikeys");
        commands.into_iter().flatten().copied().filter(of_a_partition)
    }

    /// The role's commands by list, and whether the role needs them.
    fn commands(self) -> Vec<(&'static [&'static str], bool)> {
        let (needed, useful): (&[&'static [&'static str]], &'static [&'static str]) = match self {
            Self::Worker => (&[START, SCRIPTS, WORKER], USEFUL_TO_A_WORKER),
            Self::Producer => (&[START, PRODUCER], USEFUL_TO_A_PRODUCER),
            Self::Operator => (&[START, SCRIPTS, ACCESS, OPERATOR], &[]),
            // A server enqueues as a producer does.
            Self::Server => (&[START, SCRIPTS, ACCESS, OPERATOR, SERVER], USEFUL_TO_A_PRODUCER),
        };
        needed.iter().map(|commands| (*commands, true)).chain([(useful, false)]).collect()
    }

    /// All rights of the role on an installation, as [`for_shell`] writes them. `+multi` allows trying them.
    #[cfg(test)]
    fn rights(self, prefix: &str) -> String {
        let commands = self.commands().into_iter().flat_map(|(commands, _)| commands);
        let mut rights: Vec<String> = commands.map(|command| right(command)).collect();
        rights.push("+multi".to_owned());
        rights.sort_unstable();
        rights.dedup();
        rights.insert(0, format!("~{prefix}:*"));
        for_shell(&rights)
    }
}

impl Store {
    /// Tries each right of a role, and returns those that the user in `redis.url` lacks. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if Redis is out of reach.
    pub async fn missing_rights(&self, role: UserRole) -> Result<Missing, StoreError> {
        let user = self.only().user();
        let mut missing = Missing { user, needed: Vec::new(), useful: Vec::new(), partitions: Vec::new(), tried: true };
        // A connection of its own. It ends with this function, and Redis then forgets the queued commands.
        let mut connection = self.only().dedicated(|_| ()).await?;
        match redis::cmd("MULTI").query_async::<()>(&mut connection).await.map_err(StoreError::from) {
            Ok(()) => {}
            Err(StoreError::Forbidden(_)) => return Ok(Missing { tried: false, ..missing }),
            Err(error) => return Err(error),
        }
        let all_keys = format!("~{}:*", self.0.keys.prefix());
        // Try all commands with the keys of the first partition. For the others, only try whether their keys may be
        // used.
        for partition in 0..self.0.keys.partitions() {
            let tried: Vec<(&str, bool)> = match partition {
                0 => {
                    role.commands().iter().flat_map(|(list, needed)| list.iter().map(|line| (*line, *needed))).collect()
                }
                _ => role.on_keys().map(|line| (line, true)).collect(),
            };
            let mut pipeline = redis::pipe();
            for (line, _) in &tried {
                pipeline.add_command(self.command(line, partition));
            }
            let answers = pipeline.ignore_errors().query_async::<Vec<RedisResult<Value>>>(&mut connection);
            let answers = answered(self.only().response_timeout(), answers).await?;
            for ((line, needed), answer) in tried.into_iter().zip(answers) {
                let lacking = match answer.map_err(StoreError::from) {
                    // Redis 7 says "no permissions to run the 'xadd' command" or "no permissions to access one of the
                    // keys".
                    Err(StoreError::Forbidden(error)) if error.to_string().contains("command") => right(line),
                    Err(StoreError::Forbidden(_)) => {
                        if role.on_keys().any(|on_key| on_key == line) && missing.partitions.last() != Some(&partition)
                        {
                            missing.partitions.push(partition);
                        }
                        all_keys.clone()
                    }
                    Err(error @ StoreError::Unreachable(_)) => return Err(error),
                    // The command may be run, even if another error hinders it now.
                    _ => continue,
                };
                let list = if needed { &mut missing.needed } else { &mut missing.useful };
                if !list.contains(&lacking) {
                    list.push(lacking);
                }
            }
        }
        if missing.partitions.len() == usize::from(self.0.keys.partitions()) {
            missing.partitions.clear();
        }
        Ok(missing)
    }

    /// A command of the lists above, with keys of this installation: those of a partition, and of an account and a
    /// webhook that do not exist.
    fn command(&self, line: &str, partition: u16) -> Cmd {
        let (keys, webhook) = (&self.0.keys, WebhookId::new(uuid::Uuid::nil()));
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().expect("a command"));
        for word in words {
            match word {
                "{meta}" => command.arg(keys.meta()),
                "{worker}" => command.arg(keys.worker("rights")),
                "{apikeys}" => command.arg(keys.api_keys()),
                "{apikeys:used}" => command.arg(keys.api_keys_used()),
                "{portal}" => command.arg(keys.portal_of(partition)),
                "{queue}" => command.arg(keys.queue(partition)),
                "{retries}" => command.arg(keys.retries(partition)),
                "{releases}" => command.arg(keys.releases(partition)),
                "{visits}" => command.arg(keys.visits(partition)),
                "{rejected}" => command.arg(keys.rejected(partition)),
                "{counts}" => command.arg(keys.counts(partition)),
                "{audit}" => command.arg(keys.audit(partition)),
                "{idempotency}" => command.arg(keys.idempotency(partition)),
                "{idempotency_before}" => command.arg(keys.idempotency_before(partition)),
                "{held_bytes}" => command.arg(keys.held_bytes(partition)),
                "{webhooks}" => command.arg(keys.webhooks_of(partition)),
                "{logs}" => command.arg(keys.logs(partition, webhook)),
                "{held}" => command.arg(keys.held(partition, webhook)),
                "{failed}" => command.arg(keys.failed(partition, webhook)),
                word => command.arg(word),
            };
        }
        command
    }
}

/// Rights in one line that can be pasted into `redis-cli`, and into a shell after `redis-cli`.
pub fn for_shell(rights: &[String]) -> String {
    let quoted =
        rights.iter().map(|right| if right.contains(['|', '~', '*']) { format!("'{right}'") } else { right.clone() });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The right to run a command: `+xadd`, `+xgroup|create`.
fn right(command: &str) -> String {
    let mut words = command.split(' ').map(str::to_ascii_lowercase);
    let (name, first) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match &*name {
        "client" | "memory" | "script" | "xgroup" | "xinfo" => format!("+{name}|{first}"),
        _ => format!("+{name}"),
    }
}

#[cfg(test)]
mod tests;
