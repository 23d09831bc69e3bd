//! Exit codes. Scripts rely on them.

use std::process::ExitCode;

use crate::{
    config::ConfigError,
    domain::{account::NotAnAccount, address::AllowListError, webhook::NotAWebhookId},
    secrets::SecretsError,
    sender::SenderError,
    store::StoreError,
    telemetry::BadFilter,
    webhooks::WebhooksError,
};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked.
    Success,
    /// 1: something else went wrong.
    Other,
    /// 2: the command line or the settings are wrong.
    Usage,
    /// 3: what was named is not there.
    NotFound,
    /// 4: refused: a rule or a limit is against it.
    Refused,
    /// 5: Redis is out of reach, or unfit.
    Redis,
    /// 6: a test delivery failed.
    TestFailed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Other => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Refused => 4,
            Exit::Redis => 5,
            Exit::TestFailed => 6,
        })
    }
}

impl Exit {
    /// The exit code of an error, by its type, wherever in the chain it stands.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(of_one).unwrap_or(Self::Other)
    }
}

fn of_one(error: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(error) = error.downcast_ref::<WebhooksError>() {
        return Some(match error {
            WebhooksError::NotFound { .. } => Exit::NotFound,
            WebhooksError::Store(error) => of_store(error),
            _ => Exit::Refused,
        });
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some(of_store(error));
    }
    let usage = error.is::<ConfigError>()
        || error.is::<BadFilter>()
        || error.is::<NotAnAccount>()
        || error.is::<NotAWebhookId>()
        || error.is::<AllowListError>()
        || error.is::<SenderError>()
        || error.downcast_ref::<SecretsError>() == Some(&SecretsError::BadKey);
    usage.then_some(Exit::Usage)
}

fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Unreachable(_) | StoreError::Unfit(_) | StoreError::NoGroup | StoreError::Full => Exit::Redis,
        StoreError::Corrupt { .. } | StoreError::Refused(_) => Exit::Other,
    }
}
