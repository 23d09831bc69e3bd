//! API keys: added, listed, revoked and rotated.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Serialize;

use super::{
    AccessError, Caller, Denied, InputFault, Refusal, RefusalCounts,
    error::all,
    known::KnownKeys,
    new_token, random,
    refusals::{Cause, Refusals},
};
use crate::{
    domain::{
        account::AccountId,
        api_key::{KeyId, KeyToken, Scopes, is_name},
        time::timestamp,
    },
    store::{ApiKeyRecord, KeyPut, Store},
};

/// The longest life of a key that ends, and the longest overlap.
const LIFE_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The API keys of an installation. Cheap to clone. A process has one, because it holds the cache.
#[derive(Clone)]
pub struct ApiKeys(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) known: Arc<KnownKeys>,
    pub(super) refusals: Refusals,
}

/// The input for a new key.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// A name for people: 1 to 64 characters.
    pub name: String,
    /// The scopes, at least one.
    pub scopes: Scopes,
    /// The only account that the key may touch; `None`: all.
    pub account: Option<AccountId>,
    /// The time after which the key ends, 1 s to 3650 days; `None`: never.
    pub expires: Option<Duration>,
}

/// A key that was added. Only this value has the key itself.
#[derive(Debug, Clone)]
pub struct Added {
    /// The key, to show it once.
    pub key: SecretString,
    /// The key without its secret.
    pub view: KeyView,
}

/// A key as people see it: without its secret. Times are RFC 3339, UTC, with milliseconds, by Redis's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// Its id: 12 characters.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// Its scopes.
    #[schema(value_type = Vec<crate::domain::api_key::Scope>)]
    pub scopes: Scopes,
    /// The only account that it may touch; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub account: Option<AccountId>,
    /// The time at which it was added.
    pub created_at: String,
    /// The time at which it ends, or ended; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether it has ended.
    pub expired: bool,
    /// The day of its last use, `2026-03-26`, UTC; absent: never used. It may lag by an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

impl ApiKeys {
    /// The API keys in this store.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Inner { store, known: Arc::default(), refusals: Refusals::default() }))
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`AccessError::Input`] with all faults; [`AccessError::TooManyKeys`].
    pub async fn add(&self, new: NewKey) -> Result<Added, AccessError> {
        let mut faults = Vec::new();
        if !is_name(&new.name) {
            faults.push(InputFault { field: "name", why: Refusal::Name });
        }
        if let Err(refusal) = new.scopes.judge(new.account.as_ref()) {
            faults.push(InputFault { field: "scopes", why: refusal.into() });
        }
        if new.expires.is_some_and(|life| !(Duration::from_secs(1)..=LIFE_MAX).contains(&life)) {
            faults.push(InputFault { field: "expires", why: Refusal::Life });
        }
        all(faults)?;
        let now = self.now().await?;
        let token = new_key();
        let record = ApiKeyRecord {
            id: token.id().clone(),
            name: new.name,
            scopes: new.scopes,
            account: new.account,
            hash: token.secret().hash(),
            created_at: timestamp(now),
            expires_at: new.expires.map(|life| timestamp(now + life)),
        };
        self.put(&record, None).await?;
        tracing::info!(key = %record.id, fields = fields(&record), "API key added");
        Ok(Added { key: token.text(), view: KeyView::new(record, None, now) })
    }

    /// All keys, oldest first, including those that have ended.
    pub async fn list(&self) -> Result<Vec<KeyView>, AccessError> {
        let all = self.0.store.api_keys().await?;
        Ok(all.keys.into_iter().map(|(record, day)| KeyView::new(record, day, all.now)).collect())
    }

    /// Revokes a key. Every process refuses it within 5 s; one that Redis does not answer, within 60 s.
    ///
    /// # Errors
    /// [`AccessError::NotFound`].
    pub async fn revoke(&self, id: &KeyId) -> Result<(), AccessError> {
        if !self.0.store.delete_api_key(id).await? {
            return Err(AccessError::NotFound(id.clone()));
        }
        self.0.known.forget();
        tracing::info!(key = %id, "API key revoked");
        Ok(())
    }

    /// Adds a key with the same name, scopes and account, and lets the old one end after `overlap` (or when it ends
    /// anyway, if that is sooner). If the old key was to end, the new one lives as long from now.
    ///
    /// # Errors
    /// [`AccessError::NotFound`]; [`AccessError::Conflict`] if the old key was changed meanwhile.
    pub async fn rotate(&self, id: &KeyId, overlap: Duration) -> Result<Added, AccessError> {
        if overlap > LIFE_MAX {
            all(vec![InputFault { field: "overlap", why: Refusal::Overlap }])?;
        }
        let (old, now) = self.0.store.api_key(id).await?;
        let old = old.ok_or_else(|| AccessError::NotFound(id.clone()))?;
        let life = old.expires_at.as_deref().and_then(time).zip(time(&old.created_at)).map(|(end, start)| end - start);
        let token = new_key();
        let new = ApiKeyRecord {
            id: token.id().clone(),
            hash: token.secret().hash(),
            created_at: timestamp(now),
            expires_at: life.map(|life| timestamp(now + life)),
            ..old.clone()
        };
        let mut ending = old.clone();
        // The texts of times sort in the order of the times.
        let end = timestamp(now + overlap);
        ending.expires_at = Some(old.expires_at.clone().map_or(end.clone(), |planned| planned.min(end)));
        self.put(&new, Some((&old, &ending))).await?;
        self.0.known.forget();
        tracing::info!(key = %new.id, replaces = %id, fields = fields(&new), "API key rotated");
        Ok(Added { key: token.text(), view: KeyView::new(new, None, now) })
    }

    /// The key's owner, if the key is good now. `token` is what stands after `Bearer `.
    ///
    /// # Errors
    /// [`Denied`], which is also counted.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Denied> {
        let judged = self.judge(token).await;
        if let Err(denied) = &judged {
            self.0.refusals.count(denied.cause());
        }
        judged
    }

    /// Counts a refusal that the surface decided.
    pub fn count_refusal(&self, cause: Cause) {
        self.0.refusals.count(cause);
    }

    /// The refusals of this process so far.
    pub fn refusals(&self) -> RefusalCounts {
        self.0.refusals.counts()
    }

    async fn now(&self) -> Result<DateTime<Utc>, AccessError> {
        Ok(self.0.store.now_of_api_keys().await?)
    }

    /// Puts a key. If no answer comes, the same is put once more: a repetition changes nothing and succeeds.
    async fn put(
        &self,
        new: &ApiKeyRecord,
        replaced: Option<(&ApiKeyRecord, &ApiKeyRecord)>,
    ) -> Result<(), AccessError> {
        let put = match self.0.store.put_api_key(new, replaced).await {
            Err(error) if error.is_passing() => self.0.store.put_api_key(new, replaced).await,
            answer => answer,
        };
        match put? {
            KeyPut::Done => Ok(()),
            KeyPut::Limit => Err(AccessError::TooManyKeys),
            KeyPut::Conflict => Err(AccessError::Conflict),
        }
    }
}

impl KeyView {
    fn new(record: ApiKeyRecord, last_used: Option<String>, now: DateTime<Utc>) -> Self {
        let ApiKeyRecord { id, name, scopes, account, created_at, expires_at, .. } = record;
        let expired = expires_at.as_deref().is_some_and(|end| *end <= *timestamp(now));
        Self { id, name, scopes, account, created_at, expires_at, expired, last_used }
    }
}

fn new_key() -> KeyToken {
    KeyToken::new(KeyId::new(&random()), new_token())
}

/// The names of the fields that a key has, for the log.
fn fields(record: &ApiKeyRecord) -> String {
    let some = [(record.account.is_some(), ", account"), (record.expires_at.is_some(), ", expiresAt")];
    let more = some.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| *name);
    ["name, scopes"].into_iter().chain(more).collect()
}

pub(super) fn time(rfc3339: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(rfc3339).ok().map(|time| time.to_utc())
}
