//! The problem of each error of the layers below: the one place that decides it.
//!
//! An error of Redis may name its address or its user. It goes to the log, and the answer says only what a client can
//! do about it.

use super::problem::{
    BUSY, EDIT_CONFLICT, FAULTS_MAX, FORBIDDEN, Fault, INVALID, INVALID_QUERY, NO_SUCH_DELIVERY, NO_SUCH_ENTRY,
    NO_SUCH_WEBHOOK, Problem, REVISION_CHANGED, STORE_FULL, STORE_UNREACHABLE, WEBHOOK_LIMIT,
};
use crate::{
    access::AccessError, domain::failure::Failure, queue::RejectedError, store::StoreError, webhooks::WebhooksError,
};

/// The time after which a request may be repeated, in seconds.
const SOON: u64 = 1;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(&STORE_FULL, "Redis is full, so nothing was written").retry_after(SOON),
            _ if error.failure() == Failure::Unavailable => {
                tracing::warn!(%error, "Redis failed a request");
                Self::new(&STORE_UNREACHABLE, "Redis does not answer, or refuses this server; its log has the reason")
                    .retry_after(SOON)
            }
            _ => internal(&error),
        }
    }
}

impl From<WebhooksError> for Problem {
    fn from(error: WebhooksError) -> Self {
        let text = error.to_string();
        match error {
            WebhooksError::NotFound { .. } => Self::new(&NO_SUCH_WEBHOOK, text),
            // The id is not repeated: it may be long, or a key that was pasted there.
            WebhooksError::NoSuchDelivery { webhook, kept, .. } => {
                Self::new(&NO_SUCH_DELIVERY, format!("webhook {webhook} has no {kept} delivery with this id"))
            }
            WebhooksError::Limit { .. } => Self::new(&WEBHOOK_LIMIT, text),
            WebhooksError::Conflict => Self::new(&EDIT_CONFLICT, text),
            WebhooksError::Stale { present, .. } => Self::new(&REVISION_CHANGED, text).at_revision(present),
            WebhooksError::WithoutRevision(_) => Self::new(&REVISION_CHANGED, text),
            WebhooksError::Input(_) => Self::of_faults(&INVALID, error.faults()),
            WebhooksError::Secrets(error) => {
                tracing::warn!(%error, "a webhook's secret could not be sealed");
                let detail = "this server has no key to seal secrets with, so webhooks with authentication are refused; \
                              its operator sets one (secrets.key)";
                Self::of_faults(&INVALID, vec![Fault::at("/authentication", detail)])
            }
            WebhooksError::NotMade(_) => Self::new(&BUSY, text).retry_after(SOON),
            WebhooksError::Position(_) => Self::of_faults(&INVALID_QUERY, vec![Fault::of_parameter("after", text)]),
            WebhooksError::Store(error) => error.into(),
        }
    }
}

impl From<RejectedError> for Problem {
    fn from(error: RejectedError) -> Self {
        let text = error.to_string();
        match error {
            RejectedError::NotFound(_) => Self::new(&NO_SUCH_ENTRY, "no rejected entry has this id"),
            RejectedError::Partition(..) => {
                Self::of_faults(&INVALID_QUERY, vec![Fault::of_parameter("partition", text)])
            }
            RejectedError::Ambiguous(..) | RejectedError::Stayed(_) => {
                Self::of_faults(&INVALID, vec![Fault::at("", text)])
            }
            RejectedError::Position(_) => Self::of_faults(&INVALID_QUERY, vec![Fault::of_parameter("after", text)]),
            RejectedError::Store(error) => error.into(),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let text = error.to_string();
        match error {
            AccessError::Input(_) => Self::of_faults(&INVALID, error.faults()),
            AccessError::Lacks(_) | AccessError::OtherAccount => Self::new(&FORBIDDEN, text),
            AccessError::NotFound(_) | AccessError::TooManyKeys | AccessError::Conflict => internal(&error),
            AccessError::Store(error) => error.into(),
        }
    }
}

/// An error that may be one of input, with all of its faults.
pub(super) trait Judged {
    /// The faults of the input; none if the error is another one.
    fn faults(&self) -> Vec<Fault>;
}

impl Judged for WebhooksError {
    fn faults(&self) -> Vec<Fault> {
        let Self::Input(faults) = self else { return Vec::new() };
        faults.iter().map(|fault| Fault::at(&pointer(&fault.field), fault.to_string())).collect()
    }
}

impl Judged for AccessError {
    fn faults(&self) -> Vec<Fault> {
        let Self::Input(faults) = self else { return Vec::new() };
        faults.iter().map(|fault| Fault::at(&pointer(fault.field), fault.why.to_string())).collect()
    }
}

/// The faults of a form, together with the faults of the values that could be read.
pub(super) fn with_judged<T>(mut of_form: Vec<Fault>, judged: &Result<T, impl Judged>) -> Vec<Fault> {
    let read = of_form.len();
    // Each is compared with each of the form's, so the number of these has a limit.
    if let Err(error) = judged
        && read < FAULTS_MAX
    {
        for fault in error.faults() {
            // A value that could not be read has its fault already.
            if !of_form[..read].iter().any(|known| known.covers(&fault)) {
                of_form.push(fault);
            }
        }
    }
    of_form
}

/// The JSON pointer of a field: `events[0]` is `/events/0`.
fn pointer(field: &str) -> String {
    format!("/{}", field.replace('[', ".").replace(']', "").replace('.', "/"))
}

/// The problem of a fault of ours, after it is logged.
fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a request met a fault of this program or its data");
    Problem::internal()
}
