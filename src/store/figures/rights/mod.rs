//! The rights that a Redis user needs for each role, and which of them a user lacks.
//!
//! Trying the rights does no harm. Redis checks a command that is sent after `MULTI` at once, and refuses it (`NOPERM`)
//! if the user may not run it or touch its keys. Nothing is ever executed, because the connection ends without `EXEC`.

mod roles;

use std::sync::Arc;

use redis::{RedisResult, Value};

pub use self::roles::UserRole;
use crate::{
    domain::webhook::WebhookId,
    store::{
        Store, StoreError,
        link::{Node, side_by_side},
    },
};

/// The most commands that are sent together: few round trips for 1,024 partitions, in messages of some 300 KB.
const TRIES_AT_ONCE: usize = 4096;

/// The rights that a user lacks for a role, as `ACL SETUSER` takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// The user in `redis.url`.
    pub user: String,
    /// The missing rights without which the role fails.
    pub needed: Vec<String>,
    /// The missing rights without which the role works, but costs more.
    pub useful: Vec<String>,
    /// The partitions in which keys are refused, if they are not refused in all.
    pub partitions: Vec<u16>,
    /// The servers of a cluster at which rights are missing, if they are not missing at all.
    pub servers: Vec<String>,
    /// Whether the rights could be tried at all, which takes `MULTI`.
    pub tried: bool,
}

impl Missing {
    /// Adds what the user lacks at another server.
    fn add(&mut self, Self { user, needed, useful, partitions, servers, tried }: Self) {
        self.user = user;
        add_new(&mut self.needed, needed);
        add_new(&mut self.useful, useful);
        add_new(&mut self.partitions, partitions);
        self.servers.extend(servers);
        self.tried &= tried;
    }
}

/// Adds those that are not there yet.
fn add_new<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

impl Store {
    /// Tries each right of a role, and returns those that the user in `redis.url` lacks. Changes nothing. Of several
    /// masters, those that are away are left out.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if Redis is out of reach.
    pub async fn missing_rights(&self, role: UserRole) -> Result<Missing, StoreError> {
        self.missing_rights_at(&self.nodes(), role).await
    }

    /// The same at some nodes, for each has users of its own.
    pub(super) async fn missing_rights_at(&self, nodes: &[Arc<Node>], role: UserRole) -> Result<Missing, StoreError> {
        let ask = |node: &Arc<Node>| {
            let (store, asked) = (self.clone(), node.clone());
            (node.clone(), async move { store.try_rights(&asked, role).await })
        };
        let (mut missing, mut tried, mut silence) = (Missing { tried: true, ..Missing::default() }, 0, None);
        for lacking in side_by_side(nodes.iter().map(ask).collect()).await {
            match lacking {
                Ok(lacking) => {
                    missing.add(lacking);
                    tried += 1;
                }
                Err(error @ StoreError::Unreachable(_)) => silence = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = silence.filter(|_| tried == 0) {
            return Err(error);
        }
        missing.useful.retain(|right| !missing.needed.contains(right));
        missing.partitions.sort_unstable();
        if missing.partitions.len() == usize::from(self.0.keys.partitions()) {
            missing.partitions.clear();
        }
        if missing.servers.len() == tried {
            missing.servers.clear();
        }
        Ok(missing)
    }

    /// Tries each right of a role at one node, with keys of all partitions: a node says whether the user may use a key
    /// before it says that another node has it.
    async fn try_rights(&self, node: &Node, role: UserRole) -> Result<Missing, StoreError> {
        let mut missing = Missing { user: node.user(), tried: true, ..Missing::default() };
        // A connection of its own. It ends with this function, and Redis then forgets the queued commands.
        let mut connection = node.dedicated(|_| ()).await?;
        match redis::cmd("MULTI").query_async::<()>(&mut connection).await.map_err(StoreError::from) {
            Ok(()) => {}
            Err(error @ StoreError::Unreachable(_)) => return Err(error),
            // The user may not, or this Redis or a proxy before it has no MULTI.
            Err(_) => {
                missing.tried = false;
                return Ok(missing);
            }
        }
        // Try all commands with the keys of the first partition. For the others, only try whether their keys may be
        // used.
        let on_a_cluster = node.name().is_some().then(|| role.commands_on_a_cluster());
        let first = role.commands().into_iter().chain(on_a_cluster.into_iter().flatten());
        let first = first.map(|(line, needed)| (0, line, needed));
        let others =
            (1..self.0.keys.partitions()).flat_map(|partition| role.on_keys().map(move |line| (partition, line, true)));
        let tries: Vec<(u16, &str, bool)> = first.chain(others).collect();
        for tries in tries.chunks(TRIES_AT_ONCE) {
            let mut pipeline = redis::pipe();
            for (partition, line, _) in tries {
                let words = self.words(line, *partition);
                pipeline.cmd(&words[0]).arg(&words[1..]);
            }
            let answers = pipeline.ignore_errors().query_async::<Vec<RedisResult<Value>>>(&mut connection);
            let answers = node.answered(node.response_timeout(), answers).await?;
            for (&(partition, line, needed), answer) in tries.iter().zip(answers) {
                let lacking = match answer.map_err(StoreError::from) {
                    // Redis 7 says "no permissions to run the 'xadd' command" or "no permissions to access one of the
                    // keys".
                    Err(StoreError::Forbidden(error)) if error.to_string().contains("command") => vec![right(line)],
                    Err(StoreError::Forbidden(_)) => {
                        if role.on_keys().any(|on_key| on_key == line) && missing.partitions.last() != Some(&partition)
                        {
                            missing.partitions.push(partition);
                        }
                        role.key_patterns(self.0.keys.prefix())
                    }
                    Err(error @ StoreError::Unreachable(_)) if !error.is_of_a_slot() => return Err(error),
                    // The command may be run, even if another error hinders it now.
                    _ => continue,
                };
                missing.servers = node.name().map(str::to_owned).into_iter().collect();
                add_new(if needed { &mut missing.needed } else { &mut missing.useful }, lacking);
            }
        }
        Ok(missing)
    }

    /// Refuses to go on without a right that the role needs. If they cannot be tried (no `MULTI`), the user is trusted.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] with the names of the missing rights.
    pub async fn require_rights(&self, role: UserRole) -> Result<(), StoreError> {
        let Missing { needed, user, .. } = self.missing_rights(role).await?;
        if needed.is_empty() {
            return Ok(());
        }
        let detail = format!("the user `{user}` lacks what {} needs: {}", role.one(), needed.join(" "));
        Err(StoreError::Forbidden(redis::make_extension_error("NOPERM".to_owned(), Some(detail))))
    }

    /// Whether the user in `redis.url` may run all these commands at a node. Unlike a command that Redis refuses, the
    /// question leaves no entry in `ACL LOG`, if the user may run scripts.
    pub(super) async fn may(&self, node: &Node, lines: impl IntoIterator<Item = &str>) -> bool {
        let commands: Vec<Vec<String>> = lines.into_iter().map(|line| self.words(line, 0)).collect();
        let mut script = self.0.scripts.may.without_keys();
        script.arg(serde_json::to_string(&commands).expect("words are text"));
        node.run_script(&script).await.unwrap_or(false)
    }

    /// The words of a command of the roles' lists, with keys of this installation: those of a partition, and of an
    /// account and a webhook that do not exist.
    fn words(&self, line: &str, partition: u16) -> Vec<String> {
        let (keys, webhook) = (&self.0.keys, WebhookId::new(uuid::Uuid::nil()));
        let word = |word: &str| match word {
            "{meta}" => keys.meta(),
            "{worker}" => keys.worker("rights"),
            "{apikeys}" => keys.api_keys(),
            "{apikeys:used}" => keys.api_keys_used(),
            "{portal}" => keys.portal_of(partition),
            "{queue}" => keys.queue(partition),
            "{retries}" => keys.retries(partition),
            "{releases}" => keys.releases(partition),
            "{visits}" => keys.visits(partition),
            "{rejected}" => keys.rejected(partition),
            "{counts}" => keys.counts(partition),
            "{audit}" => keys.audit(partition),
            "{idempotency}" => keys.idempotency(partition),
            "{idempotency_before}" => keys.idempotency_before(partition),
            "{held_bytes}" => keys.held_bytes(partition),
            "{webhooks}" => keys.webhooks_of(partition),
            "{logs}" => keys.logs(partition, webhook),
            "{held}" => keys.held(partition, webhook),
            "{failed}" => keys.failed(partition, webhook),
            word => word.to_owned(),
        };
        line.split(' ').map(word).collect()
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
        "client" | "cluster" | "memory" | "script" | "slowlog" | "xgroup" | "xinfo" => format!("+{name}|{first}"),
        _ => format!("+{name}"),
    }
}

#[cfg(test)]
mod tests;
