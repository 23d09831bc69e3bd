//! The errors of operations on webhooks.

use super::InputFault;
use crate::{
    domain::{account::AccountId, failure::Failure, page::NotAPosition, webhook::WebhookId},
    secrets::SecretsError,
    sender::NotMade,
    store::{Stock, StoreError},
};

/// The reason why an operation on a webhook failed. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// No such webhook.
    #[error("account {account} has no webhook {webhook}")]
    NotFound {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
    },
    /// The test request could not be made from this machine, which says nothing about the endpoint.
    #[error("no request was made: {0}; try again later")]
    NotMade(#[from] NotMade),
    /// No such held or failed delivery.
    #[error("webhook {webhook} has no {kept} delivery `{delivery}`")]
    NoSuchDelivery {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
        /// The id that was given.
        delivery: String,
        /// The word for the deliveries that were searched: held, failed.
        kept: &'static str,
    },
    /// The account has as many webhooks as it may have.
    #[error("account {account} already has {limit} webhooks, which is the limit; delete one first")]
    Limit {
        /// The account.
        account: AccountId,
        /// The limit.
        limit: usize,
    },
    /// The input has one or more faults, each at one field. The text has one line for each.
    #[error("{}", lines(.0))]
    Input(Vec<InputFault>),
    /// The change was based on a revision that is no longer the present one.
    #[error(
        "webhook {webhook} is at revision {present}, but this change is based on revision {asked}; nothing was changed"
    )]
    Stale {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
        /// The revision that the change is based on.
        asked: u64,
        /// The present revision.
        present: u64,
    },
    /// The webhook cannot be read, so it has no revision to compare with.
    #[error("webhook {0} cannot be read, so it has no revision; nothing was changed; delete it without naming one")]
    WithoutRevision(WebhookId),
    /// Another client edited the webhook at every try.
    #[error("somebody else edited the webhook at the same time; check it and try again")]
    Conflict,
    /// The position from which to continue a list is none.
    #[error(transparent)]
    Position(#[from] NotAPosition),
    /// Sealing or opening a secret failed.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WebhooksError {
    pub(super) fn no_such_delivery(account: &AccountId, webhook: WebhookId, delivery: &str, stock: Stock) -> Self {
        let kept = match stock {
            Stock::Held => "held",
            Stock::Failed { .. } => "failed",
        };
        Self::NoSuchDelivery { account: account.clone(), webhook, delivery: delivery.to_owned(), kept }
    }

    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Position(_) => Failure::Usage,
            Self::NotFound { .. } | Self::NoSuchDelivery { .. } => Failure::NotFound,
            Self::Stale { .. } | Self::WithoutRevision(_) | Self::Conflict => Failure::Conflict,
            Self::Limit { .. } | Self::Input(_) | Self::Secrets(_) => Failure::Refused,
            Self::Store(error) => error.failure(),
            Self::NotMade(_) => Failure::Broken,
        }
    }
}

fn lines(faults: &[InputFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
