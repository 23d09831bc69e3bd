//! API keys: read, put, revoked, and the day of their last use.

use std::collections::HashMap;

use chrono::{DateTime, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use super::webhooks::parse;
use crate::{
    domain::{
        account::AccountId,
        api_key::{KeyId, Scopes},
        token::TokenHash,
    },
    store::{Store, StoreError},
};

/// The fields of a hash of readable values.
pub(super) type Fields = Vec<(String, Vec<u8>)>;
/// Redis's answer to `TIME`: seconds and microseconds.
pub(super) type Time = (i64, i64);

/// The most API keys of an installation.
pub const API_KEYS_MAX: usize = 1000;

/// An API key as Redis has it. Times are RFC 3339, UTC, with milliseconds, by Redis's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRecord {
    /// Its id, which is also the name of its field.
    pub id: KeyId,
    /// The name that people gave it.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The only account that it may touch; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The hash of its secret.
    pub hash: TokenHash,
    /// The time at which it was added.
    pub created_at: String,
    /// The time at which it ends; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// All API keys.
#[derive(Debug)]
pub struct ApiKeyRecords {
    /// The keys with the day of their last use (`2026-03-26`, UTC), oldest first. Keys that cannot be read are logged
    /// and left out.
    pub keys: Vec<(ApiKeyRecord, Option<String>)>,
    /// Redis's clock.
    pub now: DateTime<Utc>,
}

/// All API keys as a server knows them.
#[derive(Debug)]
pub struct ApiKeyTable {
    /// The keys by id. The value of a key that cannot be read is the error.
    pub keys: HashMap<KeyId, Result<ApiKeyRecord, StoreError>>,
    /// Redis's clock.
    pub now: DateTime<Utc>,
}

/// The answer to putting an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPut {
    /// The key is stored.
    Done,
    /// There are [`API_KEYS_MAX`] keys.
    Limit,
    /// The id is taken, or the key to replace was changed or revoked meanwhile.
    Conflict,
}

impl Store {
    /// One API key, or `None`, with Redis's clock at that moment.
    pub async fn api_key(&self, id: &KeyId) -> Result<(Option<ApiKeyRecord>, DateTime<Utc>), StoreError> {
        let key = self.0.keys.api_keys();
        let mut look = redis::pipe();
        look.cmd("HGET").arg(&key).arg(id.as_str()).cmd("TIME");
        let (found, time): (Option<Vec<u8>>, Time) = self.at_key(&key).run_pipeline(&look).await?;
        let found = found.map(|json| read(&key, id.as_str(), &json)).transpose()?;
        Ok((found, clock(time)))
    }

    /// All API keys, to judge those of requests.
    pub async fn api_key_table(&self) -> Result<ApiKeyTable, StoreError> {
        let key = self.0.keys.api_keys();
        let mut look = redis::pipe();
        look.cmd("HGETALL").arg(&key).cmd("TIME");
        let (found, time): (Fields, Time) = self.at_key(&key).run_pipeline(&look).await?;
        // A field that is not named like a key is no key's.
        let keys = found.iter().filter_map(|(id, json)| Some((id.parse().ok()?, read(&key, id, json)))).collect();
        Ok(ApiKeyTable { keys, now: clock(time) })
    }

    /// The clock by which the times of API keys are written.
    pub async fn now_of_api_keys(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(clock(self.at_key(&self.0.keys.api_keys()).run(&redis::cmd("TIME")).await?))
    }

    /// All API keys.
    pub async fn api_keys(&self) -> Result<ApiKeyRecords, StoreError> {
        let (key, used) = (self.0.keys.api_keys(), self.0.keys.api_keys_used());
        let mut look = redis::pipe();
        look.cmd("HGETALL").arg(&key).cmd("HGETALL").arg(&used).cmd("TIME");
        let (found, used, time): (Fields, Vec<(String, String)>, Time) = self.at_key(&key).run_pipeline(&look).await?;
        let read = found.iter().filter_map(|(id, json)| {
            let read = read(&key, id, json);
            read.inspect_err(|error| tracing::error!(%error, "an API key cannot be read, so nobody can use it")).ok()
        });
        let last_used = |id: &KeyId| used.iter().find(|(of, _)| of == id.as_str()).map(|(_, day)| day.clone());
        let mut keys: Vec<_> = read
            .map(|record| {
                let day = last_used(&record.id);
                (record, day)
            })
            .collect();
        keys.sort_by(|(a, _), (b, _)| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
        Ok(ApiKeyRecords { keys, now: clock(time) })
    }

    /// Adds an API key. If it replaces another one, `replaced` is that key as it was read, and with its end.
    pub async fn put_api_key(
        &self,
        new: &ApiKeyRecord,
        replaced: Option<(&ApiKeyRecord, &ApiKeyRecord)>,
    ) -> Result<KeyPut, StoreError> {
        let key = self.0.keys.api_keys();
        let mut script = self.0.scripts.put_api_key.key(&key);
        script.arg(new.id.as_str()).arg(new.to_json()).arg(API_KEYS_MAX);
        if let Some((as_read, with_end)) = replaced {
            script.arg(as_read.id.as_str()).arg(as_read.to_json()).arg(with_end.to_json());
        }
        let answer: String = self.at_key(&key).run_script(&script).await?;
        Ok(match answer.as_str() {
            "PUT" => KeyPut::Done,
            "LIMIT" => KeyPut::Limit,
            _ => KeyPut::Conflict,
        })
    }

    /// Deletes an API key. Returns whether it existed.
    pub async fn delete_api_key(&self, id: &KeyId) -> Result<bool, StoreError> {
        let key = self.0.keys.api_keys();
        let mut script = self.0.scripts.delete_api_key.key(&key);
        script.key(self.0.keys.api_keys_used()).arg(id.as_str());
        self.at_key(&key).run_script(&script).await
    }

    /// Notes the day (`2026-03-26`) on which a key was last used, unless it was revoked meanwhile.
    pub async fn note_use_of_api_key(&self, id: &KeyId, day: &str) -> Result<(), StoreError> {
        let key = self.0.keys.api_keys();
        let mut script = self.0.scripts.use_api_key.key(&key);
        script.key(self.0.keys.api_keys_used()).arg(id.as_str()).arg(day);
        self.at_key(&key).run_script::<bool>(&script).await?;
        Ok(())
    }
}

impl ApiKeyRecord {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts are written without a fault")
    }
}

/// Reads the key in the field `id`. It must name itself so, because a key is looked up by its field.
fn read(key: &str, id: &str, json: &[u8]) -> Result<ApiKeyRecord, StoreError> {
    let key = format!("{key} {id}");
    let record: ApiKeyRecord = parse(&key, json)?;
    if record.id.as_str() == id {
        Ok(record)
    } else {
        Err(StoreError::Corrupt { key, reason: "it holds another key".to_owned() })
    }
}

pub(super) fn clock((seconds, micros): Time) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(seconds * 1000 + micros / 1000).single().unwrap_or_default()
}
