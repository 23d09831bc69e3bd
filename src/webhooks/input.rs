//! The input of people: a webhook to add, or the changes to one. Nothing here is judged yet.
//!
//! For that reason nothing here is shown. Path and query of a URL count as secret, and before the URL is judged it is
//! unknown where they begin; and a secret may have been pasted into any field. `Debug` names the fields that were
//! given, and shows none of their text.

use std::fmt;

use secrecy::SecretString;

/// A webhook to add.
pub struct NewWebhook {
    /// The URL that receives its events.
    pub url: String,
    /// The event types; `None`: all of the catalogue.
    pub events: Option<Vec<String>>,
    /// How its requests authenticate.
    pub authentication: NewAuthentication,
    /// The customer's own label; may be empty.
    pub description: String,
    /// Whether it gets its deliveries at once, or holds them.
    pub active: bool,
}

/// A change of a webhook; `None` leaves it as it is.
#[derive(Default)]
pub struct Edit {
    /// The URL that receives its events.
    pub url: Option<String>,
    /// The event types.
    pub events: Option<Vec<String>>,
    /// How its requests authenticate.
    pub authentication: Option<NewAuthentication>,
    /// The customer's own label.
    pub description: Option<String>,
    /// Whether it gets its deliveries.
    pub active: Option<bool>,
    /// The revision that the edit is based on: if the webhook has another by now, the edit is refused. `None` edits the
    /// present revision.
    pub revision: Option<u64>,
}

/// Authentication as the customer enters it, before it is sealed.
pub enum NewAuthentication {
    /// None.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer(SecretString),
    /// One header of the customer's choosing.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretString,
    },
}

impl Edit {
    /// The names of the fields that it changes, for a log.
    pub fn fields(&self) -> Vec<&'static str> {
        let Self { url, events, authentication, description, active, revision: _ } = self;
        let all = [
            ("url", url.is_some()),
            ("events", events.is_some()),
            ("authentication", authentication.is_some()),
            ("description", description.is_some()),
            ("active", active.is_some()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authentication, active, .. } = self;
        let mut shown = f.debug_struct("NewWebhook");
        shown.field("authentication", authentication).field("active", active).finish_non_exhaustive()
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, events, authentication, description, active, revision } = self;
        f.debug_struct("Edit")
            .field("url", &url.is_some())
            .field("events", &events.is_some())
            .field("authentication", authentication)
            .field("description", &description.is_some())
            .field("active", active)
            .field("revision", revision)
            .finish()
    }
}

impl fmt::Debug for NewAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer",
            Self::Header { .. } => "Header",
        })
    }
}
