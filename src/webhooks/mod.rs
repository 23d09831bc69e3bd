//! The operations on webhooks: add, list (`listing.rs`, `overview.rs`), show, edit and switch them, read the logs (`logs.rs`), test (`test_button.rs`), show an example's request (`example.rs`), delete and
//! purge (`deletion.rs`), list held and failed deliveries (`kept.rs`), redeliver them (`redelivery.rs`), re-seal secrets (`rotate.rs`).
//!
//! They are written once, for the command line, the API and the screen alike: one form of input (`input.rs`), one place
//! that judges it (`judge.rs`), and one way to show a webhook (`view.rs`).

mod deletion;
mod error;
mod example;
mod hidden;
mod input;
mod judge;
mod kept;
mod listing;
mod logs;
mod overview;
mod redelivery;
mod rotate;
mod test_button;
mod view;

use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;

pub use self::{
    deletion::{Deleted, Purged},
    error::WebhooksError,
    input::{Edit, NewAuthentication, NewWebhook},
    judge::{FieldRefusal, InputFault},
    kept::{FailedDelivery, HeldDelivery, KeptDelivery},
    listing::Listed,
    logs::{AccountLogEntry, LogFilter},
    overview::{Overview, Summary},
    redelivery::{Progress, Redelivery, Which},
    rotate::{FAILURES_SHOWN, NotResealed, Rotation, WhyNot},
    test_button::{ReceivedResponse, SentRequest, Tested},
    view::{AuthenticationView, Preview, View},
};
pub use crate::store::Dropped;
use crate::{
    config::Settings,
    domain::{
        account::AccountId,
        address::{AllowList, AllowListError},
        event::Catalogue,
        log_entry::timestamp,
        url::EndpointUrl,
        webhook::{Authentication, EDIT_TRIES, Sealed, Webhook, WebhookId},
    },
    secrets::{SecretSlot, SecretsError, Vault},
    store::{Put, Store, StoreError},
};

/// The operations on webhooks.
pub struct Webhooks {
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    allow: AllowList,
    limit_per_account: usize,
}

/// URL, event types, authentication and description, as far as an edit has them.
type EditedValues = (Option<EndpointUrl>, Option<Vec<String>>, Option<NewAuthentication>, Option<String>);

/// A webhook that was switched on.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enabled {
    /// The webhook.
    #[serde(flatten)]
    pub view: View,
    /// The number of held deliveries that were dropped; absent if none were to be dropped.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_discarded: Option<u64>,
}

impl Webhooks {
    /// The operations on this store, with these settings.
    ///
    /// # Errors
    /// [`AllowListError`] if an entry of `egress.allow` is neither a network nor a host.
    pub fn new(settings: &Settings, store: Store, vault: Vault) -> Result<Self, AllowListError> {
        Ok(Self {
            store,
            vault,
            catalogue: settings.catalogue(),
            allow: AllowList::parse(&settings.egress.allow)?,
            limit_per_account: settings.webhooks.limit_per_account,
        })
    }

    /// Adds a webhook.
    pub async fn add(&self, account: &AccountId, new: NewWebhook) -> Result<View, WebhooksError> {
        let webhook = self.made(account, new).await?;
        match self.store.put_webhook(account, &webhook, None, self.limit_per_account).await? {
            Put::Done => Ok(self.view(account, webhook)),
            Put::Limit => Err(self.at_limit(account)),
            Put::Gone | Put::Conflict => Err(WebhooksError::Conflict),
        }
    }

    /// Judges a webhook as [`add`](Self::add) would, and saves nothing. Returns the settings that would be saved.
    ///
    /// # Errors
    /// All faults of the input; if it has none, [`WebhooksError::Limit`] if the account has its most webhooks now.
    pub async fn judge_new(&self, account: &AccountId, new: NewWebhook) -> Result<Preview, WebhooksError> {
        let webhook = self.made(account, new).await?;
        if self.store.webhook_count(account).await? >= self.limit_per_account {
            return Err(self.at_limit(account));
        }
        Ok(self.view(account, webhook).into())
    }

    /// The webhook that this input makes.
    async fn made(&self, account: &AccountId, new: NewWebhook) -> Result<Webhook, WebhooksError> {
        let now = self.store.now_of(account).await?;
        let id = WebhookId::new(uuid::Uuid::now_v7());
        let events = new.events.unwrap_or_else(|| self.catalogue.names().map(str::to_owned).collect());
        let (url, events, authentication, description) = judge::all(
            judge::url(&new.url, &self.allow),
            judge::events(&events, &self.catalogue),
            judge::authentication(new.authentication),
            judge::description(new.description),
        )?;
        Ok(Webhook {
            id,
            url,
            events,
            authentication: self.seal(account, id, authentication)?,
            description,
            active: new.active,
            revision: 1,
            created_at: timestamp(now),
            updated_at: timestamp(now),
        })
    }

    fn at_limit(&self, account: &AccountId) -> WebhooksError {
        WebhooksError::Limit { account: account.clone(), limit: self.limit_per_account }
    }

    /// An account's webhooks, oldest first. If one of them cannot be read, this is an error; see
    /// [`list_page`](Self::list_page).
    pub async fn list(&self, account: &AccountId) -> Result<Vec<View>, WebhooksError> {
        let webhooks = self.store.webhooks(account).await?;
        Ok(webhooks.into_iter().map(|webhook| self.view(account, webhook)).collect())
    }

    /// One webhook.
    pub async fn show(&self, account: &AccountId, id: WebhookId) -> Result<View, WebhooksError> {
        Ok(self.view(account, self.find(account, id).await?))
    }

    /// Changes the settings that the edit names; if it names none, nothing changes, the revision included. If the edit names a revision, it applies only to that revision;
    /// otherwise to the newest. The change applies from the next attempt.
    ///
    /// # Errors
    /// [`WebhooksError::Stale`] if the edit is based on a revision that is not the present one.
    pub async fn edit(&self, account: &AccountId, id: WebhookId, edit: Edit) -> Result<View, WebhooksError> {
        Ok(self.edit_and(account, id, edit, false).await?.0)
    }

    /// Judges an edit as [`Webhooks::edit`] does, and changes nothing.
    ///
    /// # Errors
    /// [`WebhooksError::Input`] with all faults.
    pub fn judge_edit(&self, mut edit: Edit) -> Result<(), WebhooksError> {
        self.judged(&mut edit).map(drop)
    }

    /// The values of an edit, which are taken out of it.
    fn judged(&self, edit: &mut Edit) -> Result<EditedValues, WebhooksError> {
        judge::all(
            edit.url.take().map(|url| judge::url(&url, &self.allow)).transpose(),
            edit.events.take().map(|events| judge::events(&events, &self.catalogue)).transpose(),
            edit.authentication.take().map(judge::authentication).transpose(),
            edit.description.take().map(judge::description).transpose(),
        )
    }

    /// Edits the webhook. With `discard_held`, the same step drops its held deliveries. Returns their number.
    async fn edit_and(
        &self,
        account: &AccountId,
        id: WebhookId,
        mut edit: Edit,
        discard_held: bool,
    ) -> Result<(View, u64), WebhooksError> {
        let is_empty = edit.fields().is_empty();
        let (url, events, authentication, description) = self.judged(&mut edit)?;
        let authentication = authentication.map(|new| self.seal(account, id, new)).transpose()?;
        for _ in 0..EDIT_TRIES {
            let present = self.find(account, id).await?;
            let revision = present.revision;
            if let Some(asked) = edit.revision.filter(|asked| *asked != revision) {
                return Err(WebhooksError::Stale { account: account.clone(), webhook: id, asked, present: revision });
            }
            if is_empty {
                return Ok((self.view(account, present), 0));
            }
            let edited = Webhook {
                url: url.clone().unwrap_or(present.url),
                events: events.clone().unwrap_or(present.events),
                authentication: authentication.clone().unwrap_or(present.authentication),
                description: description.clone().unwrap_or(present.description),
                active: edit.active.unwrap_or(present.active),
                revision: revision + 1,
                updated_at: timestamp(self.store.now_of(account).await?),
                ..present
            };
            match self.put(account, &edited, revision, discard_held).await? {
                (Put::Done, dropped) => return Ok((self.view(account, edited), dropped)),
                (Put::Gone, _) => return Err(not_found(account, id)),
                (Put::Conflict | Put::Limit, _) => {}
            }
        }
        Err(WebhooksError::Conflict)
    }

    /// Replaces this revision. If no answer comes, the same value is put once more, because it is unknown whether the
    /// first try succeeded. If the value is already there, the second try reports success, not a conflict.
    async fn put(
        &self,
        account: &AccountId,
        edited: &Webhook,
        revision: u64,
        discard_held: bool,
    ) -> Result<(Put, u64), StoreError> {
        let put = async || {
            if discard_held {
                return self.store.put_webhook_discarding_held(account, edited, revision).await;
            }
            Ok((self.store.put_webhook(account, edited, Some(revision), self.limit_per_account).await?, 0))
        };
        match put().await {
            Err(error) if error.is_passing() => put().await,
            answer => answer,
        }
    }

    /// Switches a webhook on. With `revision`, only if that is the present revision. With `discard_held`, its held
    /// deliveries are dropped instead of delivered.
    ///
    /// # Errors
    /// [`WebhooksError::Stale`] if that revision is not the present one; nothing is dropped then.
    pub async fn enable(
        &self,
        account: &AccountId,
        id: WebhookId,
        discard_held: bool,
        revision: Option<u64>,
    ) -> Result<Enabled, WebhooksError> {
        self.enable_with(account, id, Edit { revision, ..Edit::default() }, discard_held).await
    }

    /// Edits a webhook as [`edit`](Self::edit) does, and switches it on in the same step, as [`enable`](Self::enable)
    /// does. `edit.active` is not read.
    pub async fn enable_with(
        &self,
        account: &AccountId,
        id: WebhookId,
        edit: Edit,
        discard_held: bool,
    ) -> Result<Enabled, WebhooksError> {
        let on = Edit { active: Some(true), ..edit };
        let (view, dropped) = self.edit_and(account, id, on, discard_held).await?;
        Ok(Enabled { view, held_discarded: discard_held.then_some(dropped) })
    }

    /// Switches a webhook off: its deliveries are held. With `revision`, only if that is the present revision.
    ///
    /// # Errors
    /// [`WebhooksError::Stale`] if that revision is not the present one.
    pub async fn disable(
        &self,
        account: &AccountId,
        id: WebhookId,
        revision: Option<u64>,
    ) -> Result<View, WebhooksError> {
        self.edit(account, id, Edit { active: Some(false), revision, ..Edit::default() }).await
    }

    async fn find(&self, account: &AccountId, id: WebhookId) -> Result<Webhook, WebhooksError> {
        self.store.webhook(account, id).await?.ok_or_else(|| not_found(account, id))
    }

    fn seal(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        judged: NewAuthentication,
    ) -> Result<Authentication, SecretsError> {
        let seal = |field, secret: &SecretString| -> Result<Sealed, SecretsError> {
            self.vault.seal(SecretSlot { account, webhook, field }, secret)
        };
        Ok(match judged {
            NewAuthentication::None => Authentication::None,
            NewAuthentication::Bearer(token) => Authentication::Bearer { token: seal("token", &token)? },
            NewAuthentication::Header { name, value } => Authentication::Header { value: seal("value", &value)?, name },
        })
    }
}

fn not_found(account: &AccountId, webhook: WebhookId) -> WebhooksError {
    WebhooksError::NotFound { account: account.clone(), webhook }
}
