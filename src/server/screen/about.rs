//! The webhook that a page is about.

use super::{page::Look, words::title};
use crate::{
    domain::webhook::WebhookId,
    webhooks::{Listed, View},
};

/// A webhook's name and addresses.
pub(super) struct About {
    pub(super) id: WebhookId,
    pub(super) title: String,
    /// Whether it is on; `None` if its settings cannot be read.
    pub(super) is_active: Option<bool>,
    path: String,
}

impl About {
    pub(super) fn new(look: &Look, webhook: &Listed) -> Self {
        let id = webhook.id();
        let (title, is_active) = match webhook {
            Listed::Read(view) => (title(view), Some(view.active)),
            Listed::Unreadable { .. } => (id.to_string(), None),
        };
        Self { id, title, is_active, path: look.at(format!("/webhooks/{id}")) }
    }

    pub(super) fn of(look: &Look, view: View) -> Self {
        Self::new(look, &Listed::Read(Box::new(view)))
    }

    /// The address of one of its pages, such as `/logs`.
    pub(super) fn at(&self, page: impl AsRef<str>) -> String {
        format!("{}{}", self.path, page.as_ref())
    }

    /// The address of a delivery's page. An id is made of letters, digits, `_`, `-` and a dot.
    pub(super) fn delivery(&self, id: &str) -> String {
        self.at(format!("/deliveries/{id}"))
    }

    /// The part of a delivery's id that is the event's.
    pub(super) fn event_id<'a>(&self, delivery: &'a str) -> &'a str {
        let event = delivery.strip_suffix(&self.id.to_string()).and_then(|event| event.strip_suffix('.'));
        event.unwrap_or(delivery)
    }
}
