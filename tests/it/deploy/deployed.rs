//! A Redis with the configuration and the users of `deploy`.

use redis::{RedisResult, Value, aio::MultiplexedConnection};

use crate::support::*;

use super::files::{path_of, text};

/// The fields of a rejected entry.
pub(super) const REJECTED: [(&str, &str); 3] = [("reason", "x"), ("entry", "1-0"), ("account", "acme")];

/// The lines of `deploy/redis/users.acl` for keys with this prefix. The password of each user is `secret`.
pub(crate) fn users(prefix: &str) -> String {
    let users = text("redis/users.acl").replace("~lynkhook:", &format!("~{prefix}:"));
    let words = users.split_inclusive([' ', '\n']);
    words.map(|word| if word.starts_with("#REPLACE-WITH-") { ">secret " } else { word }).collect()
}

/// A server of its own with the configuration and the users of `deploy`, and an installation on it.
pub(crate) struct Deployed {
    pub(crate) redis: RedisServer,
    pub(crate) receiver: Receiver,
    pub(crate) here: Installation,
}

impl Deployed {
    pub(crate) async fn start() -> Self {
        let redis = RedisServer::start_configured(&path_of("redis/redis.conf"), "");
        let receiver = Receiver::start().await;
        let here = Installation::on(&redis, &receiver).await;
        let deployed = Self { redis, receiver, here };
        for line in users(&deployed.here.prefix).lines() {
            deployed.allow(line.strip_prefix("user ").unwrap()).await;
        }
        deployed
    }

    /// Runs `ACL SETUSER` with these words, quoted as for a shell.
    pub(crate) async fn allow(&self, words: &str) {
        let mut allow = redis::cmd("ACL");
        allow.arg("SETUSER").arg(words.split_whitespace().map(|word| word.trim_matches('\'')).collect::<Vec<_>>());
        allow.query_async::<()>(&mut self.here.redis.clone()).await.unwrap_or_else(|error| panic!("{words}: {error}"));
    }

    pub(crate) fn url_of(&self, user: &str) -> String {
        format!("redis://{user}:secret@127.0.0.1:{}/", self.redis.port())
    }

    pub(crate) fn program_of(&self, user: &str) -> Program {
        self.here.program.clone().env("LYNKHOOK_REDIS__URL", self.url_of(user))
    }

    /// A connection of this user.
    pub(crate) async fn client_of(&self, user: &str) -> MultiplexedConnection {
        let client = redis::Client::open(self.url_of(user)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Sends a command as this user. `KEY:` in a word stands for the prefix of the installation's keys.
    pub(crate) async fn ask(&self, user: &str, command: &str) -> RedisResult<Value> {
        let words: Vec<String> =
            command.split(' ').map(|word| word.replace("KEY:", &format!("{}:", self.here.prefix))).collect();
        let mut client = self.client_of(user).await;
        redis::cmd(&words[0]).arg(&words[1..]).query_async(&mut client).await
    }

    /// Each refusal that Redis has noted: the user, the reason, and what was refused.
    pub(crate) async fn refusals(&self) -> Vec<String> {
        refusals_of(&mut self.here.redis.clone()).await
    }
}

/// The same on any server.
pub(crate) async fn refusals_of(redis: &mut MultiplexedConnection) -> Vec<String> {
    let log: Vec<std::collections::HashMap<String, Value>> =
        redis::cmd("ACL").arg("LOG").query_async(redis).await.unwrap();
    let word = |value: &Value| redis::from_redis_value_ref::<String>(value).unwrap();
    let line = |entry: &std::collections::HashMap<String, Value>| {
        ["username", "context", "reason", "object"].map(|field| word(&entry[field])).join(" ")
    };
    // From Redis 7.2 on, the client library names itself, which 7.0 has no right for. It bears the refusal.
    log.iter().map(line).filter(|line| !line.ends_with(" client|setinfo")).collect()
}
