//! API keys and the portal on a real Redis.

mod flood;
mod keys;
mod links;
mod sessions;

use std::sync::Arc;

use lynkhook::{
    access::{Added, ApiKeys, Caller, NewKey},
    config::Settings,
    domain::{
        account::AccountId,
        api_key::{KeyId, KeyToken, Scope},
        token::Token,
    },
    store::Store,
};
use redis::AsyncCommands;
use secrecy::ExposeSecret;

use crate::support::*;

/// One installation without webhooks.
struct Scene {
    prefix: String,
    settings: Settings,
    store: Store,
    redis: redis::aio::MultiplexedConnection,
}

impl Scene {
    async fn set() -> Self {
        Self::on(RedisServer::shared(), &[]).await
    }

    async fn on(redis: &RedisServer, more: &[(&'static str, &str)]) -> Self {
        let prefix = redis.unique_prefix();
        let mut variables = vec![("LYNKHOOK_REDIS__URL", redis.url()), ("LYNKHOOK_REDIS__PREFIX", prefix.clone())];
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let settings = Settings::load(None, variables).unwrap();
        let store = Store::open(&settings).await.unwrap();
        Self { prefix, settings, store, redis: redis.connection().await }
    }

    /// The keys as another process sees them: with a cache of its own.
    fn keys(&self) -> ApiKeys {
        ApiKeys::new(self.store.clone())
    }

    /// All keys below the prefix with all that they hold, as text.
    async fn dump(&self) -> String {
        let names: Vec<String> = self.redis.clone().keys(format!("{}:*", self.prefix)).await.unwrap();
        let mut text = Vec::new();
        for name in names {
            let fields: Vec<(String, String)> = self.redis.clone().hgetall(&name).await.unwrap();
            text.push(format!("{name} {fields:?}"));
        }
        text.join("\n")
    }
}

/// How often this server ran a command.
async fn calls(redis: &RedisServer, command: &str) -> u64 {
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut redis.connection().await).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

fn new_key(scopes: &[Scope], account: Option<&str>) -> NewKey {
    NewKey {
        name: "backend".to_owned(),
        scopes: scopes.iter().copied().collect(),
        account: account.map(account_id),
        expires: None,
    }
}

fn text(added: &Added) -> &str {
    added.key.expose_secret()
}

/// A key in the right form that nobody has.
fn made_up() -> String {
    let random = uuid::Uuid::new_v4().into_bytes();
    let id = KeyId::new(random[..12].try_into().unwrap());
    let mut secret = [7; 32];
    secret[..16].copy_from_slice(&random);
    KeyToken::new(id, Token::new(&secret)).text().expose_secret().to_owned()
}

/// The owner of a new key.
async fn caller(scene: &Scene, scopes: &[Scope], account: Option<&str>) -> Arc<Caller> {
    let keys = scene.keys();
    let added = keys.add(new_key(scopes, account)).await.unwrap();
    keys.authenticate(text(&added)).await.unwrap()
}

fn acme() -> AccountId {
    account_id("acme")
}
