//! Re-seals with the first key every secret that another key sealed, while everything runs.
//!
//! Each webhook is put like an edit, on the revision that was read. A concurrent editor gets a conflict and reads
//! again, so that it cannot restore the old sealing, and neither loses the other's change. Workers that have both keys
//! open either sealing. A rotation is safe to repeat, to interrupt, and to run twice at once.
//!
//! A webhook that cannot be read or opened stays as it is. It is reported with the reason, and the rotation continues
//! with the others.

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

/// At most this many of the webhooks that could not be re-sealed are named; the others are only counted.
pub const FAILURES_SHOWN: usize = 1000;

/// The result of a rotation.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Secrets that were already sealed with that key.
    pub already: u64,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The first [`FAILURES_SHOWN`] webhooks that could not be read, opened or put.
    pub failures: Vec<NotResealed>,
    /// Id of the key with which everything is to be sealed.
    pub key: String,
    /// The number of webhooks that could not be read, opened or put.
    pub not_resealed: u64,
    /// Secrets that were re-sealed, or would have been.
    pub resealed: u64,
    /// Webhooks without a secret.
    pub without_secret: u64,
}

/// A webhook that stays as it is.
#[derive(Debug, Serialize)]
pub struct NotResealed {
    /// Its account.
    pub account: AccountId,
    /// The reason.
    #[serde(flatten)]
    pub why: WhyNot,
    /// Its id, as stored in Redis; `None` if nothing of the account could be read.
    pub webhook: Option<String>,
}

/// The reason why a webhook could not be re-sealed. The text contains no secret.
#[derive(Debug, thiserror::Error)]
pub enum WhyNot {
    /// Its secret cannot be opened.
    #[error(transparent)]
    Secret(#[from] SecretsError),
    /// It cannot be read or put.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another client edited it at every try.
    #[error("somebody else edited it repeatedly; run the rotation again")]
    Conflict,
}

impl WhyNot {
    /// Id of the key that would open the secret, if that key is missing.
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
    /// Re-seals with the first key all secrets that another key sealed. With `dry_run`, it only counts them. `progress`
    /// is called after every account.
    ///
    /// # Errors
    /// [`SecretsError::NoKey`] if there is no key at all, and [`WebhooksError::Store`] if Redis is lost on the way.
    /// Secrets re-sealed until then stay re-sealed; a second call continues.
    pub async fn rotate(&self, dry_run: bool, mut progress: impl FnMut(&Rotation)) -> Result<Rotation, WebhooksError> {
        let mut rotation = Rotation { key: self.vault.sealing_key()?.to_owned(), dry_run, ..Rotation::default() };
        // A scan may return an account twice. To rotate it again would do no harm, but would count it twice.
        let mut seen = HashSet::new();
        loop {
            let (mut start, before) = (Some(PageStart::default()), seen.len());
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
            // In a cluster, an account may have been on its way from one node to another.
            if self.store.epoch().is_none() || seen.len() == before {
                return Ok(rotation);
            }
        }
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

    /// Opens, seals and puts one webhook. If another client changed it meanwhile, tries again on its newest revision.
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
            // `updated_at` stays, because nobody edited the webhook.
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
    /// Counts the result for one webhook. An error that the next webhook would meet as well ends the rotation.
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

    /// The number of webhooks that were examined.
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
