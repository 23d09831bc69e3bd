//! Seals anew, with the first key, every secret that lies under another one, while everything runs.
//!
//! Each webhook is put as an edit is, on the revision that was read: a concurrent editor meets a conflict and reads
//! again, so that it cannot bring the old sealing back, and neither loses what the other changed. Workers that have both
//! keys open either sealing. Rotating is safe to repeat, to interrupt, and to run twice at once.
//!
//! A webhook that cannot be read or opened stays as it is. It is named with its reason, and does not stop the others.

use std::collections::HashSet;

use serde::{Serialize, Serializer};

use super::{Webhooks, WebhooksError};
use crate::{
    domain::{
        account::AccountId,
        webhook::{Authentication, EDIT_TRIES, Sealed, Webhook},
    },
    secrets::{SecretSlot, SecretsError},
    store::{PageStart, Put, StoreError},
};

/// At most this many of the webhooks that could not be sealed anew are named; the others are counted.
pub const FAILURES_SHOWN: usize = 1000;

/// The result of a rotation.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Secrets that lay under that key already.
    pub already: u64,
    /// Whether it only looked.
    pub dry_run: bool,
    /// The first [`FAILURES_SHOWN`] webhooks that could not be read, opened or put.
    pub failures: Vec<NotResealed>,
    /// Id of the key that everything shall be sealed with.
    pub key: String,
    /// How many webhooks could not be read, opened or put.
    pub not_resealed: u64,
    /// Secrets that were sealed anew, or would have been.
    pub resealed: u64,
    /// Webhooks without a secret.
    pub without_secret: u64,
}

/// A webhook that stays as it is.
#[derive(Debug, Serialize)]
pub struct NotResealed {
    /// Its account.
    pub account: AccountId,
    /// Why.
    #[serde(flatten)]
    pub why: WhyNot,
    /// Its id, as it stands in Redis; `None` where nothing of the account could be read.
    pub webhook: Option<String>,
}

/// Why a webhook could not be sealed anew. The text names no secret.
#[derive(Debug, thiserror::Error)]
pub enum WhyNot {
    /// Its secret cannot be opened.
    #[error(transparent)]
    Secret(#[from] SecretsError),
    /// It cannot be read or put.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else keeps editing it.
    #[error("it was edited by somebody else again and again; rotate once more")]
    Conflict,
}

impl WhyNot {
    /// Id of the key that would open the secret, where that is what is missing.
    pub fn missing_key(&self) -> Option<&str> {
        match self {
            Self::Secret(SecretsError::OtherKey { sealed_with, .. }) => Some(sealed_with),
            _ => None,
        }
    }
}

impl Serialize for WhyNot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape<'a> {
            missing_key: Option<&'a str>,
            reason: String,
        }
        Shape { missing_key: self.missing_key(), reason: self.to_string() }.serialize(serializer)
    }
}

/// The result for one webhook.
enum Resealing {
    Resealed,
    Already,
    WithoutSecret,
    /// It was deleted meanwhile.
    Gone,
}

impl Webhooks {
    /// Seals anew, with the first key, all secrets that lie under another one; with `dry_run`, only looks. `progress`
    /// hears of every account.
    ///
    /// # Errors
    /// [`SecretsError::NoKey`] where there is no key at all, and [`WebhooksError::Store`] where Redis is lost on the
    /// way. What was sealed anew until then stays so; a second call goes on.
    pub async fn rotate(&self, dry_run: bool, mut progress: impl FnMut(&Rotation)) -> Result<Rotation, WebhooksError> {
        let mut rotation = Rotation { key: self.vault.sealing_key()?.to_owned(), dry_run, ..Rotation::default() };
        // A scan may show an account twice; a second look would do no harm, but would count it twice.
        let mut seen = HashSet::new();
        let mut start = Some(PageStart::default());
        while let Some(from) = start {
            let page = self.store.accounts(from).await?;
            for account in page.accounts {
                if seen.insert(account.clone()) {
                    self.rotate_account(&account, dry_run, &mut rotation).await?;
                    progress(&rotation);
                }
            }
            start = page.next;
        }
        Ok(rotation)
    }

    async fn rotate_account(
        &self,
        account: &AccountId,
        dry_run: bool,
        rotation: &mut Rotation,
    ) -> Result<(), WebhooksError> {
        let entries = match self.store.webhook_entries(account).await {
            Ok(entries) => entries,
            Err(error) => return rotation.count(account, None, Err(error.into())),
        };
        for (field, webhook) in entries {
            let fate = match webhook {
                Ok(webhook) => self.reseal(account, webhook, dry_run).await,
                Err(error) => Err(error.into()),
            };
            rotation.count(account, Some(field), fate)?;
        }
        Ok(())
    }

    /// Opens, seals, and puts one webhook, again on its newest revision where somebody else was faster.
    async fn reseal(&self, account: &AccountId, webhook: Webhook, dry_run: bool) -> Result<Resealing, WhyNot> {
        let id = webhook.id;
        let mut found = Some(webhook);
        for _ in 0..EDIT_TRIES {
            let Some(present) = found else { return Ok(Resealing::Gone) };
            let Some((field, sealed)) = secret(&present.authentication) else { return Ok(Resealing::WithoutSecret) };
            let Some(anew) = self.vault.reseal(SecretSlot { account, webhook: id, field }, sealed)? else {
                return Ok(Resealing::Already);
            };
            if dry_run {
                return Ok(Resealing::Resealed);
            }
            let revision = present.revision;
            // Not edited by anybody: `updated_at` stays.
            let put = Webhook {
                authentication: with_secret(present.authentication, anew),
                revision: revision + 1,
                ..present
            };
            match self.store.put_webhook(account, &put, Some(revision), self.limit_per_account).await? {
                Put::Done => return Ok(Resealing::Resealed),
                Put::Gone => return Ok(Resealing::Gone),
                Put::Conflict | Put::Limit => found = self.store.webhook(account, id).await?,
            }
        }
        Err(WhyNot::Conflict)
    }
}

impl Rotation {
    /// Counts what became of one webhook. An error that the next webhook would meet as well ends the rotation.
    fn count(
        &mut self,
        account: &AccountId,
        webhook: Option<String>,
        fate: Result<Resealing, WhyNot>,
    ) -> Result<(), WebhooksError> {
        match fate {
            Ok(Resealing::Resealed) => self.resealed += 1,
            Ok(Resealing::Already) => self.already += 1,
            Ok(Resealing::WithoutSecret) => self.without_secret += 1,
            Ok(Resealing::Gone) => {}
            Err(WhyNot::Store(error)) if !matches!(error, StoreError::Corrupt { .. } | StoreError::Refused(_)) => {
                return Err(error.into());
            }
            Err(why) => {
                self.not_resealed += 1;
                if self.failures.len() < FAILURES_SHOWN {
                    self.failures.push(NotResealed { account: account.clone(), webhook, why });
                }
            }
        }
        Ok(())
    }

    /// How many webhooks were looked at.
    pub fn webhooks(&self) -> u64 {
        self.resealed + self.already + self.without_secret + self.not_resealed
    }
}

/// The one secret that a webhook may have, and its field.
fn secret(authentication: &Authentication) -> Option<(&'static str, &Sealed)> {
    match authentication {
        Authentication::None => None,
        Authentication::Bearer { token } => Some(("token", token)),
        Authentication::Header { value, .. } => Some(("value", value)),
    }
}

fn with_secret(authentication: Authentication, sealed: Sealed) -> Authentication {
    match authentication {
        Authentication::None => Authentication::None,
        Authentication::Bearer { .. } => Authentication::Bearer { token: sealed },
        Authentication::Header { name, .. } => Authentication::Header { name, value: sealed },
    }
}
