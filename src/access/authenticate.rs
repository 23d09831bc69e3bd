//! Judges the key of a request.
//!
//! A key is good if its checksum is right, Redis has its id, the hash of its secret is the stored one (compared in
//! constant time), and it has not ended. Redis's table of all keys holds for 5 s (`known.rs`), so a revocation is felt
//! within 5 s. While Redis does not answer, a key that Redis had at most 60 s ago passes; any other key is refused then.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::{ApiKeys, Cause, keys::Inner, known::KnownKey};
use crate::{
    domain::{
        account::AccountId,
        api_key::{KeyId, KeyToken, NotAKey, Scope, Scopes},
    },
    store::StoreError,
};

/// The owner of a good key. In JSON, this is the answer to "which key am I?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(title = "API key")]
pub struct Caller {
    /// The key's id.
    pub id: KeyId,
    /// The key's name.
    pub name: String,
    /// The key's scopes.
    #[schema(value_type = Vec<Scope>)]
    pub scopes: Scopes,
    /// The only account that the key may touch; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub account: Option<AccountId>,
    /// The time at which the key ends: RFC 3339, UTC, with milliseconds, by Redis's clock; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// The reason why a key is refused. The text may be shown to the caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    /// The text is not a key.
    #[error(transparent)]
    Malformed(#[from] NotAKey),
    /// There is no such key: it was revoked, or never was, or its secret is another.
    #[error("there is no such API key; it may have been revoked")]
    Unknown,
    /// The key has ended.
    #[error("this API key has expired")]
    Expired,
    /// Redis could not be asked. The text does not say why, because anybody may be the caller.
    #[error("the API key could not be checked; try again later")]
    Store(#[from] StoreError),
}

impl Caller {
    /// Whether the key allows this.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// Whether the key is for this account, or for all.
    pub fn may_touch(&self, account: &AccountId) -> bool {
        self.account.as_ref().is_none_or(|own| own == account)
    }
}

impl Denied {
    /// The cause under which it is counted.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Malformed(_) => Cause::Malformed,
            Self::Unknown => Cause::Unknown,
            Self::Expired => Cause::Expired,
            Self::Store(_) => Cause::Store,
        }
    }
}

impl ApiKeys {
    pub(super) async fn judge(&self, token: &str) -> Result<Arc<Caller>, Denied> {
        let token = KeyToken::parse(token)?;
        let Inner { store, known, .. } = &*self.0;
        let store = store.clone();
        let key = known.find(token.id(), async move { store.api_key_table().await }).await?;
        if !key.hash.is(&token.secret().hash()) {
            return Err(Denied::Unknown);
        }
        if key.ends.is_some_and(|end| end <= Instant::now()) {
            return Err(Denied::Expired);
        }
        if known.is_use_to_be_noted(token.id()) {
            self.note_use(&key);
        }
        Ok(key.caller.clone())
    }

    /// Writes the day of the use, beside the request.
    fn note_use(&self, key: &KnownKey) {
        let (keys, id, day) = (self.clone(), key.caller.id.clone(), key.day.clone());
        tokio::spawn(async move {
            if let Err(error) = keys.0.store.note_use_of_api_key(&id, &day).await {
                tracing::debug!(key = %id, %error, "the day of the key's last use was not written");
            }
        });
    }
}
