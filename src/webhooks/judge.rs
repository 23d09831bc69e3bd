//! Judges the input of people. It returns all faults at once, each with its field, so that a form can show each fault
//! at its field. No fault holds a secret.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;

use super::{NewAuthentication, WebhooksError};
use crate::domain::{
    address::AllowList,
    event::Catalogue,
    header::{self, HeaderRefusal},
    text::nearest,
    url::{EndpointUrl, UrlRefusal},
    webhook::{DESCRIPTION_MAX, is_description},
};

/// One fault of an input. Its text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct InputFault {
    /// The field, by its path in a webhook's JSON: `url`, `events[0]`, `authentication.token`.
    pub field: String,
    /// Why its value is refused.
    pub why: FieldRefusal,
}

/// The reason why the value of a field is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldRefusal {
    /// The URL is refused.
    #[error(transparent)]
    Url(#[from] UrlRefusal),
    /// The token, or the header's name or value, is refused.
    #[error(transparent)]
    Header(#[from] HeaderRefusal),
    /// An event type is unknown. The text does not quote it, because a secret may have been pasted there.
    #[error("this event type is not in the catalogue; {}", advice(nearest.as_deref(), known))]
    Event {
        /// The event type of the catalogue that may have been meant.
        nearest: Option<String>,
        /// The event types of the catalogue.
        known: String,
    },
    /// There is no event type at all.
    #[error("a webhook needs at least one event type")]
    NoEvents,
    /// The description is refused.
    #[error("the description is longer than {DESCRIPTION_MAX} characters, or contains control characters")]
    Description,
}

/// A value, or all its faults.
type Checked<T> = Result<T, Vec<InputFault>>;

/// The values of an input, or all its faults.
pub(super) fn all<A, B, C, D>(
    url: Checked<A>,
    events: Checked<B>,
    authentication: Checked<C>,
    description: Checked<D>,
) -> Result<(A, B, C, D), WebhooksError> {
    match (url, events, authentication, description) {
        (Ok(url), Ok(events), Ok(authentication), Ok(description)) => Ok((url, events, authentication, description)),
        (url, events, authentication, description) => {
            let faults = [url.err(), events.err(), authentication.err(), description.err()];
            Err(WebhooksError::Input(faults.into_iter().flatten().flatten().collect()))
        }
    }
}

pub(super) fn url(url: &str, allow: &AllowList) -> Checked<EndpointUrl> {
    EndpointUrl::parse(url, allow).map_err(|refusal| vec![fault("url", refusal)])
}

/// The event types in order, each once.
pub(super) fn events(events: &[String], catalogue: &Catalogue) -> Checked<Vec<String>> {
    let unknown = events.iter().enumerate().filter(|(_, event)| !catalogue.contains(event));
    let faults: Vec<InputFault> = unknown
        .map(|(index, given)| {
            let known = catalogue.names().collect::<Vec<_>>().join(", ");
            let nearest = nearest(given, catalogue.names()).map(str::to_owned);
            fault(format!("events[{index}]"), FieldRefusal::Event { nearest, known })
        })
        .collect();
    match (&faults[..], events) {
        ([], []) => Err(vec![fault("events", FieldRefusal::NoEvents)]),
        ([], events) => Ok(events.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()),
        _ => Err(faults),
    }
}

pub(super) fn authentication(given: NewAuthentication) -> Checked<NewAuthentication> {
    let judged = match &given {
        NewAuthentication::None => Vec::new(),
        NewAuthentication::Bearer(token) => {
            vec![("authentication.token", header::judge_bearer(token.expose_secret()))]
        }
        NewAuthentication::Header { name, value } => vec![
            ("authentication.name", header::judge_name(name)),
            ("authentication.value", header::judge_value(value.expose_secret())),
        ],
    };
    let faults: Vec<InputFault> =
        judged.into_iter().filter_map(|(field, judged)| Some(fault(field, judged.err()?))).collect();
    if faults.is_empty() { Ok(given) } else { Err(faults) }
}

pub(super) fn description(description: String) -> Checked<String> {
    if is_description(&description) {
        Ok(description)
    } else {
        Err(vec![fault("description", FieldRefusal::Description)])
    }
}

fn advice(nearest: Option<&str>, known: &str) -> String {
    nearest.map_or_else(|| format!("it has: {known}"), |nearest| format!("did you mean `{nearest}`?"))
}

fn fault(field: impl Into<String>, why: impl Into<FieldRefusal>) -> InputFault {
    InputFault { field: field.into(), why: why.into() }
}
