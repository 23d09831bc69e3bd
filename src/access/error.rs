//! The errors of operations on keys and the portal.

use crate::{
    domain::{
        api_key::{KeyId, NAME_MAX, Scope, ScopesRefusal},
        failure::Failure,
        origin::NotAWebOrigin,
        portal::{GUTTERS_MAX, LABEL_MAX, NotAColour, RADIUS_MAX},
    },
    store::{API_KEYS_MAX, StoreError},
};

/// The reason why an operation on keys or the portal failed. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No such key.
    #[error("there is no API key {0}")]
    NotFound(KeyId),
    /// The input has one or more faults, each at one field. The text has one line for each.
    #[error("{}", lines(.0))]
    Input(Vec<InputFault>),
    /// The key lacks the scope for this operation.
    #[error("this key lacks the scope `{0}`")]
    Lacks(Scope),
    /// The key is for another account.
    #[error("this key is for another account")]
    OtherAccount,
    /// There are the most keys.
    #[error("there are already {API_KEYS_MAX} API keys, which is the limit; revoke one first")]
    TooManyKeys,
    /// Somebody else changed or revoked the key at the same time.
    #[error("somebody else changed this key at the same time; check it and try again")]
    Conflict,
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One fault of an input. Its text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InputFault {
    /// The field, by its path in the JSON: `embedOrigin`, `theme.accent`.
    pub field: &'static str,
    /// Why its value is refused.
    pub why: Refusal,
}

/// The reason why the value of a field is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is refused.
    #[error("a name has 1 to {NAME_MAX} characters, none of them a control character")]
    Name,
    /// The scopes are refused.
    #[error(transparent)]
    Scopes(#[from] ScopesRefusal),
    /// A time from now is refused.
    #[error("a key ends in 1 second to 3650 days, or never")]
    Life,
    /// The overlap of a rotation is refused.
    #[error("the overlap is at most 3650 days")]
    Overlap,
    /// The link would allow more than the key that asks for it.
    #[error("a link allows no more than its key, and this key lacks the scope `{0}`")]
    Exceeds(Scope),
    /// The name of the visitor or of the product is refused.
    #[error("a name has 1 to {LABEL_MAX} characters, none of which controls the text around it")]
    Label,
    /// The origin is refused for its form.
    #[error(transparent)]
    Origin(#[from] NotAWebOrigin),
    /// The origin is not in the settings.
    #[error("the setting portal.embed_origins does not list this origin")]
    OtherOrigin,
    /// The URL that leads back is refused for its form.
    #[error("a return URL begins with https:// (http:// only for this machine), and names no user")]
    ReturnUrl,
    /// The URL that leads back is not of an origin in the settings.
    #[error("a return URL leads to an origin in the setting portal.embed_origins, which does not list this one")]
    OtherReturnUrl,
    /// A colour is refused.
    #[error(transparent)]
    Colour(#[from] NotAColour),
    /// The radius is refused.
    #[error("a radius is 0 to {RADIUS_MAX}, in CSS pixels")]
    Radius,
    /// The gutters are refused.
    #[error("gutters are 0 to {GUTTERS_MAX}, in CSS pixels")]
    Gutters,
}

impl AccessError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotFound(_) => Failure::NotFound,
            Self::Input(_) | Self::Lacks(_) | Self::OtherAccount | Self::TooManyKeys => Failure::Refused,
            Self::Conflict => Failure::Conflict,
            Self::Store(error) => error.failure(),
        }
    }
}

/// Nothing, or all faults.
pub(super) fn all(faults: Vec<InputFault>) -> Result<(), AccessError> {
    if faults.is_empty() { Ok(()) } else { Err(AccessError::Input(faults)) }
}

fn lines(faults: &[InputFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
