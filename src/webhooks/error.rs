//! Why something could not be done with a webhook.

use super::InputFault;
use crate::{
    domain::{account::AccountId, failure::Failure, webhook::WebhookId},
    secrets::SecretsError,
    sender::NotMade,
    store::StoreError,
};

/// Why something could not be done with a webhook. The text says what to change.
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
    /// The test request could not be made from here, which says nothing of the endpoint.
    #[error("no request was made: {0}; try again later")]
    NotMade(#[from] NotMade),
    /// No such failed delivery.
    #[error("webhook {webhook} has no failed delivery `{delivery}`")]
    NoSuchDelivery {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
        /// The id that was given.
        delivery: String,
    },
    /// The account has as many as it may.
    #[error("account {account} has {limit} webhooks already, as many as it may; delete one first")]
    Limit {
        /// The account.
        account: AccountId,
        /// The limit.
        limit: usize,
    },
    /// The input has faults, each at a field of its own; never none. One line for each.
    #[error("{}", lines(.0))]
    Input(Vec<InputFault>),
    /// The edit was made on a revision that is no longer the present one.
    #[error(
        "webhook {webhook} is at revision {present}, and this edit was made on revision {asked}; nothing was changed"
    )]
    Stale {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
        /// The revision that the edit was made on.
        asked: u64,
        /// The revision that is there.
        present: u64,
    },
    /// Somebody else keeps editing.
    #[error("the webhook was edited by somebody else at the same time; look at it and try again")]
    Conflict,
    /// Sealing or opening a secret.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Redis.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WebhooksError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotFound { .. } | Self::NoSuchDelivery { .. } => Failure::NotFound,
            Self::Stale { .. } | Self::Conflict => Failure::Conflict,
            Self::Limit { .. } | Self::Input(_) | Self::Secrets(_) => Failure::Refused,
            Self::Store(error) => error.failure(),
            Self::NotMade(_) => Failure::Broken,
        }
    }
}

fn lines(faults: &[InputFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
