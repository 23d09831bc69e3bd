//! What a Redis user must be allowed to do, by what it is used for, and which of it a user may not do.
//!
//! The rights are tried harmlessly: a command that is sent after `MULTI` is judged when it comes, and refused there (`NOPERM`)
//! if the user may not run it or touch its keys. Nothing is ever executed, because the connection ends without `EXEC`.

use redis::{Cmd, RedisResult, Value};

use super::{Store, StoreError, connect::answered};
use crate::domain::webhook::WebhookId;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `lynkhook worker`.
    Worker,
    /// `lynkhook enqueue`, and backends that use the library.
    Producer,
    /// All other commands: webhooks, the queue's figures, what was rejected.
    Operator,
}

/// The rights that a user lacks for a role, as `ACL SETUSER` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The user in `redis.url`.
    pub user: String,
    /// Without these the role fails.
    pub needed: Vec<String>,
    /// Without these it works, and costs more.
    pub useful: Vec<String>,
    /// The partitions in which keys are refused, if they are not refused in all.
    pub partitions: Vec<u16>,
    /// Whether the rights could be tried at all: that takes `+multi`.
    pub tried: bool,
}

/// The commands with which every process finds out whether this Redis fits.
const START: &[&str] = &["INFO", "HMGET {meta} schema partitions", "HSETNX {meta} schema 1"];

/// What running scripts takes. `EVALSHA` tries a key for reading and writing.
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

/// The commands of a worker and of its scripts, each with a key that it is used on.
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

/// Without these a worker asks for webhooks at each delivery, and needs a few seconds more to stop.
const USEFUL_TO_A_WORKER: &[&str] = &["CLIENT ID", "CLIENT UNBLOCK 1", "CLIENT TRACKING ON BCAST PREFIX {webhooks}"];

/// The commands of a producer.
const PRODUCER: &[&str] = &["XADD {queue} * field value"];

/// Without it a refusal shows that the connection still serves, and stands in Redis's `ACL LOG`.
const USEFUL_TO_A_PRODUCER: &[&str] = &["PING"];

/// The commands of people's commands and of their scripts.
const OPERATOR: &[&str] = &[
    "SCAN 0",
    "GET {worker}",
    "HGET {webhooks} field",
    "HGETALL {webhooks}",
    "HEXISTS {webhooks} field",
    "HKEYS {webhooks}",
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

impl Role {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Producer => "producer",
            Self::Operator => "operator",
        }
    }

    /// The word with its article.
    pub fn one(self) -> &'static str {
        match self {
            Self::Worker => "a worker",
            Self::Producer => "a producer",
            Self::Operator => "an operator",
        }
    }

    /// One command for each kind of key that a partition has, with all that the role does to it.
    fn on_keys(self) -> impl Iterator<Item = &'static str> {
        let commands = if self == Self::Producer { PRODUCER } else { SCRIPTS };
        commands.iter().copied().filter(|command| command.contains('{'))
    }

    /// The commands that it needs, and those that it can do without.
    fn commands(self) -> [(&'static [&'static str], bool); 4] {
        let (scripts, own, useful): (&[&str], _, &[&str]) = match self {
            Self::Worker => (SCRIPTS, WORKER, USEFUL_TO_A_WORKER),
            Self::Producer => (&[], PRODUCER, USEFUL_TO_A_PRODUCER),
            Self::Operator => (SCRIPTS, OPERATOR, &[]),
        };
        [(START, true), (scripts, true), (own, true), (useful, false)]
    }

    /// All rights of the role on an installation, as [`for_shell`] writes them. With `+multi` they can be tried.
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
    /// Tries each right of a role, and answers which of them the user in `redis.url` lacks. Changes nothing.
    ///
    /// # Errors
    /// Where Redis is out of reach.
    pub async fn missing_rights(&self, role: Role) -> Result<Missing, StoreError> {
        let user = self.0.link.user();
        let mut missing = Missing { user, needed: Vec::new(), useful: Vec::new(), partitions: Vec::new(), tried: true };
        // One of its own, which ends with this function: what was queued on it is forgotten then.
        let mut connection = self.0.link.dedicated(|_| ()).await?;
        match redis::cmd("MULTI").query_async::<()>(&mut connection).await.map_err(StoreError::from) {
            Ok(()) => {}
            Err(StoreError::Forbidden(_)) => return Ok(Missing { tried: false, ..missing }),
            Err(error) => return Err(error),
        }
        let all_keys = format!("~{}:*", self.0.keys.prefix());
        // All commands with the keys of the first partition, and then only what tells whether the others' may be used.
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
            let answers = answered(self.0.link.response_timeout(), answers).await?;
            for ((line, needed), answer) in tried.into_iter().zip(answers) {
                let lacking = match answer.map_err(StoreError::from) {
                    // Redis 7 says "no permissions to run the 'xadd' command" or "no permissions to access one of the keys".
                    Err(StoreError::Forbidden(error)) if error.to_string().contains("command") => right(line),
                    Err(StoreError::Forbidden(_)) => {
                        if role.on_keys().any(|on_key| on_key == line) && missing.partitions.last() != Some(&partition)
                        {
                            missing.partitions.push(partition);
                        }
                        all_keys.clone()
                    }
                    Err(error @ StoreError::Unreachable(_)) => return Err(error),
                    // It may be run, whatever else hinders it now.
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

    /// A command of the lists above, with keys of this installation: those of a partition, of an account and a webhook that
    /// nobody has.
    fn command(&self, line: &str, partition: u16) -> Cmd {
        let (keys, webhook) = (&self.0.keys, WebhookId::new(uuid::Uuid::nil()));
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().expect("a command"));
        for word in words {
            match word {
                "{meta}" => command.arg(keys.meta()),
                "{worker}" => command.arg(keys.worker("rights")),
                "{queue}" => command.arg(keys.queue(partition)),
                "{retries}" => command.arg(keys.retries(partition)),
                "{releases}" => command.arg(keys.releases(partition)),
                "{visits}" => command.arg(keys.visits(partition)),
                "{rejected}" => command.arg(keys.rejected(partition)),
                "{counts}" => command.arg(keys.counts(partition)),
                "{audit}" => command.arg(keys.audit(partition)),
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

/// Rights in one line that can be pasted, into `redis-cli` as well as behind it in a shell.
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
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        path::Path,
    };

    use super::*;

    /// The scripts that no worker runs.
    const OF_OPERATORS: [&str; 8] = [
        "delete_webhook",
        "drop_rejected",
        "list_failed",
        "log",
        "put_webhook",
        "redeliver",
        "requeue_rejected",
        "status",
    ];

    /// Commands that are asked for and not needed: whoever may not ask is told so.
    const ASKED_FOR: [&str; 1] = ["+config"];

    fn source(path: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    /// A script without its comments.
    fn lua(path: &Path) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split("--").next().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// Texts between quotes behind a word, as far as only commas and blanks are between them: `'XGROUP', 'CREATE'`.
    fn quoted(text: &str) -> Vec<&str> {
        let (mut found, mut rest) = (Vec::new(), text.trim_start());
        while let Some((word, behind)) = rest.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
            found.push(word);
            rest = behind.trim_start_matches([',', ' ']);
        }
        found
    }

    /// The rights that a piece of a script takes by itself.
    fn called(piece: &str) -> BTreeSet<String> {
        let calls = piece.split("redis.call(").skip(1).chain(piece.split("redis.pcall(").skip(1));
        let mut rights = BTreeSet::new();
        for call in calls {
            match quoted(call)[..] {
                // Its callers say which.
                [] => assert!(call.starts_with("push,"), "no command: {call:.40}"),
                ["XINFO"] => rights.extend(["GROUPS", "CONSUMERS"].map(|kind| right(&format!("XINFO {kind}")))),
                [command, ref more @ ..] => {
                    rights.insert(right(&format!("{command} {}", more.first().unwrap_or(&""))));
                }
            }
        }
        for push in ["'LPUSH'", "'LPUSHX'"].into_iter().filter(|push| piece.contains(push)) {
            rights.insert(right(push.trim_matches('\'')));
        }
        rights
    }

    /// The rights that each script takes, with what it uses of the prelude.
    fn of_scripts() -> BTreeMap<String, BTreeSet<String>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/lua");
        let prelude = lua(&folder.join("prelude.lua"));
        let functions: Vec<(&str, &str)> = prelude
            .split("local function ")
            .skip(1)
            .map(|function| (function.split('(').next().unwrap(), function))
            .collect();
        let calls = |piece: &str, name: &str| {
            let mut words = piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.any(|word| word == name)
        };
        let scripts = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let of_script = scripts.map(|path| {
            let mut pieces = vec![lua(&path)];
            let mut seen = 0;
            while seen < pieces.len() {
                let piece = pieces[seen].clone();
                let called = functions.iter().filter(|(name, _)| calls(&piece, name));
                let new: Vec<String> =
                    called.map(|(_, text)| (*text).to_owned()).filter(|text| !pieces.contains(text)).collect();
                pieces.extend(new);
                seen += 1;
            }
            let rights = pieces.iter().flat_map(|piece| called(piece)).collect();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), rights)
        });
        of_script.filter(|(name, _)| name != "prelude").collect()
    }

    fn rights_of(role: Role) -> BTreeSet<String> {
        role.commands().into_iter().flat_map(|(commands, _)| commands).map(|command| right(command)).collect()
    }

    #[test]
    fn each_role_may_run_every_command_of_its_scripts() {
        for (script, rights) in of_scripts() {
            assert!(!rights.is_empty(), "{script}");
            let role = if OF_OPERATORS.contains(&&*script) { Role::Operator } else { Role::Worker };
            let lacking: Vec<_> = rights.difference(&rights_of(role)).cloned().collect();
            assert!(lacking.is_empty(), "{script}.lua runs what {} may not: {lacking:?}", role.one());
        }
    }

    #[test]
    fn every_command_that_the_store_sends_is_in_a_list_and_no_list_has_one_that_nobody_sends() {
        let mut sent: BTreeSet<String> = of_scripts().into_values().flatten().collect();
        let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("rights.rs") {
                let text = std::fs::read_to_string(path).unwrap();
                for call in text.split("cmd(\"").skip(1) {
                    let (name, behind) = call.split_once('"').unwrap();
                    let argument = behind.strip_prefix(").arg(\"").and_then(|behind| behind.split('"').next());
                    // Where the subcommand follows in a line of its own.
                    let argument = argument.unwrap_or(if name == "CLIENT" { "TRACKING" } else { "" });
                    sent.insert(right(&format!("{name} {argument}")));
                }
            }
        }
        // The library loads scripts.
        sent.insert(right("SCRIPT LOAD"));
        // AUTH takes no right, and SELECT is sent only where redis.url has a database: README says so beside the lists.
        assert!(sent.remove("+auth") && sent.remove("+select") && source("README.md").contains("`+select`"));
        let listed: BTreeSet<String> =
            [Role::Worker, Role::Producer, Role::Operator].into_iter().flat_map(rights_of).collect();
        let asked_for = ASKED_FOR.map(str::to_owned).into();
        let unlisted: Vec<_> = sent.difference(&listed).filter(|right| !ASKED_FOR.contains(&right.as_str())).collect();
        assert!(unlisted.is_empty(), "no list has {unlisted:?}");
        let unsent: Vec<_> = listed.difference(&sent.union(&asked_for).cloned().collect()).cloned().collect();
        assert!(unsent.is_empty(), "nothing sends {unsent:?}");
    }

    #[test]
    fn each_key_of_a_partition_that_a_role_uses_is_tried_in_every_partition() {
        let keys = |lines: &[&str]| -> BTreeSet<String> {
            let words = lines.iter().flat_map(|line| line.split(' ')).filter(|word| word.starts_with('{'));
            words.filter(|word| !["{meta}", "{worker}"].contains(word)).map(str::to_owned).collect()
        };
        for role in [Role::Worker, Role::Producer, Role::Operator] {
            let used: Vec<&str> = role.commands().iter().flat_map(|(lines, _)| lines.iter().copied()).collect();
            assert_eq!(keys(&role.on_keys().collect::<Vec<_>>()), keys(&used), "{role:?}");
        }
    }

    #[test]
    fn readme_has_the_rights_of_each_role() {
        let readme = source("README.md");
        for role in [Role::Worker, Role::Producer, Role::Operator] {
            let line = format!("ACL SETUSER lynkhook-{} on '>PASSWORD' {}", role.name(), role.rights("lynkhook"));
            assert!(readme.lines().any(|found| found.ends_with(&line)), "README has no line\nredis-cli {line}");
        }
    }
}
