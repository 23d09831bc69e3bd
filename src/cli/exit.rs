//! Exit codes, which scripts rely on, and the line that says why.

use std::process::ExitCode;

use super::{queue::RejectedError, redis_advice};
use crate::{
    config::ConfigError,
    domain::{account::NotAnAccount, address::AllowListError, webhook::NotAWebhookId},
    secrets::SecretsError,
    sender::SenderError,
    store::StoreError,
    telemetry::BadFilter,
    webhooks::WebhooksError,
    worker::WorkerError,
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

/// An error as one line: each cause once, although many texts repeat their source's, and then the next step.
pub(super) fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(|cause| cause.to_string().replace('\n', " ")) {
        if !line.contains(&cause) {
            line += if line.is_empty() { "" } else { ": " };
            line += &cause;
        }
    }
    if let Some(step) = error.chain().find_map(next_step) {
        line += "; ";
        line += &step;
    }
    line
}

/// What to do about errors whose texts, made for every surface, do not say it for a command line.
fn next_step(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(WebhooksError::NotFound { account, .. }) = error.downcast_ref() {
        return Some(format!("`lynkhook webhook list --account {account}` shows those that it has"));
    }
    if let Some(WebhooksError::Stale { account, webhook, present, .. }) = error.downcast_ref() {
        return Some(format!(
            "look at it with `lynkhook webhook show --account {account} {webhook}`, then do it again with --revision {present}"
        ));
    }
    if let Some(WebhooksError::NoSuchDelivery { account, webhook, .. }) = error.downcast_ref() {
        return Some(format!("`lynkhook webhook failed --account {account} {webhook}` shows those that it has"));
    }
    let store = match error.downcast_ref() {
        Some(WebhooksError::Store(error)) => Some(error),
        _ => match error.downcast_ref() {
            Some(WorkerError::Store(error)) => Some(error),
            _ => error.downcast_ref(),
        },
    };
    store.and_then(redis_advice::of).map(str::to_owned)
}

fn of_one(error: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(error) = error.downcast_ref::<WebhooksError>() {
        return Some(match error {
            WebhooksError::NotFound { .. } | WebhooksError::NoSuchDelivery { .. } => Exit::NotFound,
            WebhooksError::Store(error) => of_store(error),
            WebhooksError::NotMade(_) => Exit::Other,
            _ => Exit::Refused,
        });
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some(of_store(error));
    }
    if let Some(error) = error.downcast_ref::<WorkerError>() {
        return Some(match error {
            WorkerError::Store(error) => of_store(error),
            WorkerError::Health { .. }
            | WorkerError::Files { .. }
            | WorkerError::Clients { .. }
            | WorkerError::Sender(_) => Exit::Usage,
            WorkerError::Thread(_) | WorkerError::ThreadEnded | WorkerError::Panicked => Exit::Other,
        });
    }
    if let Some(error) = error.downcast_ref::<RejectedError>() {
        return Some(match error {
            RejectedError::NotFound(_) => Exit::NotFound,
            RejectedError::Partition(..) | RejectedError::Ambiguous(..) => Exit::Usage,
            RejectedError::Stayed(_) => Exit::Refused,
        });
    }
    let usage = error.is::<ConfigError>()
        || error.is::<BadFilter>()
        || error.is::<NotAnAccount>()
        || error.is::<NotAWebhookId>()
        || error.is::<AllowListError>()
        || error.is::<SenderError>()
        || error.is::<super::account::Unconfirmed>()
        || error.is::<super::webhook::BadInput>()
        || error.downcast_ref::<SecretsError>().is_some_and(SecretsError::is_of_settings);
    usage.then_some(Exit::Usage)
}

fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Unreachable(_)
        | StoreError::Forbidden(_)
        | StoreError::Unfit(_)
        | StoreError::Denied(_)
        | StoreError::NoGroup
        | StoreError::Full => Exit::Redis,
        StoreError::Corrupt { .. } | StoreError::Refused(_) => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_and_the_next_step_last() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = anyhow::Error::from(WebhooksError::Store(StoreError::Unreachable(refused.into())));
        assert_eq!(
            line(&error),
            "Redis is unreachable: connection refused; start Redis, or mend redis.url (LYNKHOOK_REDIS__URL)"
        );
        assert_eq!(Exit::of(&error), Exit::Redis);
        let error = anyhow::anyhow!("no such\nfile").context("cannot read x");
        assert_eq!(line(&error), "cannot read x: no such file");
    }
}
