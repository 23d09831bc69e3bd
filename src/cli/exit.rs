//! Exit codes, which scripts rely on, and the line that gives the reason.

use std::{error::Error, process::ExitCode};

use super::{account::Unconfirmed, webhook::BadInput};
use crate::{
    access::AccessError,
    config::ConfigError,
    domain::{account::NotAnAccount, address::AllowListError, failure::Failure, webhook::NotAWebhookId},
    producer::EnqueueError,
    queue::{RejectedError, redis_advice},
    secrets::SecretsError,
    sender::SenderError,
    server::ServerError,
    store::StoreError,
    telemetry::BadFilter,
    webhooks::{InputFault, WebhooksError},
    worker::WorkerError,
};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: success.
    Success,
    /// 1: any other failure.
    Other,
    /// 2: the command line or the settings are wrong.
    Usage,
    /// 3: the webhook, delivery or entry that was named does not exist.
    NotFound,
    /// 4: refused by a rule or a limit.
    Refused,
    /// 5: Redis is unreachable or unsuitable.
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
    /// The exit code of an error. The first known error in its chain decides.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        match error.chain().find_map(failure).unwrap_or(Failure::Broken) {
            Failure::Usage => Self::Usage,
            Failure::NotFound => Self::NotFound,
            Failure::Refused | Failure::Conflict => Self::Refused,
            Failure::Unavailable => Self::Redis,
            Failure::Broken => Self::Other,
        }
    }
}

/// An error as the lines to print: one for each fault of an input, otherwise one.
pub(super) fn lines(error: &anyhow::Error) -> Vec<String> {
    if let Some(WebhooksError::Input(faults)) = error.downcast_ref() {
        // No fault quotes a value, so the place tells one of several values from the others.
        let line = |fault: &InputFault| match &fault.field {
            place if place.contains('[') => format!("{place}: {fault}"),
            _ => fault.to_string(),
        };
        return faults.iter().map(line).collect();
    }
    match error.downcast_ref() {
        Some(AccessError::Input(faults)) => faults.iter().map(ToString::to_string).collect(),
        _ => vec![line(error)],
    }
}

/// An error as one line: its causes, then the next step. A cause is left out if the line already has its text, because
/// many errors repeat their source's text.
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

/// The next step on the command line, for errors whose text is shared with other surfaces and does not name it.
fn next_step(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(WebhooksError::NotFound { account, .. }) = error.downcast_ref() {
        return Some(format!("list its webhooks with `lynkhook webhook list --account {account}`"));
    }
    if let Some(WebhooksError::Stale { account, webhook, present, .. }) = error.downcast_ref() {
        return Some(format!(
            "check it with `lynkhook webhook show --account {account} {webhook}`, then repeat the command with \
             --revision {present}"
        ));
    }
    if let Some(WebhooksError::NoSuchDelivery { account, webhook, kept, .. }) = error.downcast_ref() {
        return Some(format!("list them with `lynkhook webhook {kept} --account {account} {webhook}`"));
    }
    if let Some(AccessError::NotFound(_)) = error.downcast_ref() {
        return Some("list them with `lynkhook apikey list`".to_owned());
    }
    match error.downcast_ref() {
        Some(RejectedError::NotFound(_)) => {
            return Some("list them with `lynkhook queue rejected list`".to_owned());
        }
        Some(RejectedError::Ambiguous(..)) => return Some("choose one with --partition".to_owned()),
        _ => {}
    }
    store_error(error).and_then(redis_advice::of).map(str::to_owned)
}

/// The store's error, alone or inside another error.
fn store_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a StoreError> {
    if let Some(WebhooksError::Store(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(AccessError::Store(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(RejectedError::Store(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(WorkerError::Store(error)) = error.downcast_ref() {
        return Some(error);
    }
    error.downcast_ref()
}

/// The kind of one error in a chain, by its type.
fn failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    fn of<E: Error + 'static>(error: &(dyn Error + 'static), kind: fn(&E) -> Failure) -> Option<Failure> {
        error.downcast_ref().map(kind)
    }
    let is_of_usage = error.is::<BadInput>()
        || error.is::<Unconfirmed>()
        || error.is::<BadFilter>()
        || error.is::<NotAnAccount>()
        || error.is::<NotAWebhookId>()
        || error.is::<AllowListError>();
    is_of_usage
        .then_some(Failure::Usage)
        .or_else(|| of(error, ConfigError::failure))
        .or_else(|| of(error, SecretsError::failure))
        .or_else(|| of(error, StoreError::failure))
        .or_else(|| of(error, SenderError::failure))
        .or_else(|| of(error, WebhooksError::failure))
        .or_else(|| of(error, AccessError::failure))
        .or_else(|| of(error, RejectedError::failure))
        .or_else(|| of(error, EnqueueError::failure))
        .or_else(|| of(error, WorkerError::failure))
        .or_else(|| of(error, ServerError::failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_each_cause_once_and_the_next_step_last() {
        let error = anyhow::Error::from(WebhooksError::Store(StoreError::gone()));
        assert_eq!(
            line(&error),
            "Redis is unreachable: connection refused; start Redis, or correct redis.url (LYNKHOOK_REDIS__URL)"
        );
        assert_eq!(Exit::of(&error), Exit::Redis);
        let error = anyhow::anyhow!("no such\nfile").context("cannot read x");
        assert_eq!(line(&error), "cannot read x: no such file");
    }
}
