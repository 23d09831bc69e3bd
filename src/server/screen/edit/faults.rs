//! The faults of a form, each at its field.

use serde::Serialize;

use super::super::words::{count, lines};
use crate::webhooks::WebhooksError;

/// The faults of a form, at most one for each field.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

/// One fault.
#[derive(Serialize)]
pub(super) struct Fault {
    /// The form's field.
    pub(super) field: &'static str,
    /// The reason, and what to change.
    pub(super) text: String,
}

impl Faults {
    /// The faults of an error.
    ///
    /// # Errors
    /// The error, if it is no fault of the form.
    pub(super) fn of(error: WebhooksError) -> Result<Self, WebhooksError> {
        let mut faults = Self::default();
        match error {
            WebhooksError::Input(found) => {
                for fault in found {
                    faults.add(field(&fault.field), &fault.why.to_string());
                }
            }
            WebhooksError::Secrets(error) => {
                tracing::warn!(%error, "a webhook's secret could not be sealed");
                faults.add("authentication", "authentication cannot be saved right now; contact support");
            }
            other => return Err(other),
        }
        Ok(faults)
    }

    fn add(&mut self, field: &'static str, text: &str) {
        if !self.has(field) {
            self.0.push(Fault { field, text: sentence(text) });
        }
    }

    /// Says the fault of a field in other words.
    pub(super) fn say(&mut self, field: &str, text: &str) {
        for fault in self.0.iter_mut().filter(|fault| fault.field == field) {
            text.clone_into(&mut fault.text);
        }
    }

    /// Those of one field.
    pub(super) fn of_field(self, field: &str) -> Vec<Fault> {
        self.0.into_iter().filter(|fault| fault.field == field).collect()
    }

    pub(super) fn all(&self) -> &[Fault] {
        &self.0
    }

    pub(super) fn has(&self, field: &str) -> bool {
        !self.text(field).is_empty()
    }

    /// The text of a field's fault; empty if it has none.
    pub(super) fn text(&self, field: &str) -> &str {
        self.0.iter().find(|fault| fault.field == field).map_or("", |fault| &fault.text)
    }

    /// `1 field needs a change`.
    pub(super) fn count(&self) -> String {
        let verb = if self.0.len() == 1 { "needs" } else { "need" };
        format!("{} {verb} a change", count(self.0.len() as u64, "field", "fields"))
    }
}

/// The form's field for a field of a webhook's JSON.
fn field(of: &str) -> &'static str {
    match of {
        "url" => "url",
        "description" => "description",
        "authentication.token" => "token",
        "authentication.name" => "header_name",
        "authentication.value" => "header_value",
        _ if of.starts_with("events") => "event",
        _ => "authentication",
    }
}

/// The text with a capital letter. It has no full stop, because it may end with something to copy.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    lines(&first.chain(rest).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{header::HeaderRefusal, url::UrlRefusal},
        webhooks::{FieldRefusal, InputFault},
    };

    #[test]
    fn each_field_has_its_first_fault_as_a_sentence() {
        let fault = |field: &str, why: FieldRefusal| InputFault { field: field.to_owned(), why };
        let unknown = || FieldRefusal::Event { nearest: Some("transcript.created".to_owned()), known: String::new() };
        let faults = Faults::of(WebhooksError::Input(vec![
            fault("url", UrlRefusal::NotHttps.into()),
            fault("events[0]", unknown()),
            fault("events[1]", unknown()),
            fault("authentication.name", HeaderRefusal::NameEmpty.into()),
            fault("authentication.value", HeaderRefusal::ValueEmpty.into()),
            fault("authentication.token", HeaderRefusal::TokenEmpty.into()),
            fault("description", FieldRefusal::Description),
        ]));
        let faults = faults.unwrap();
        let fields: Vec<_> = faults.all().iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["url", "event", "header_name", "header_value", "token", "description"]);
        assert_eq!(faults.text("url"), "The URL must begin with https://");
        assert!(faults.text("event").ends_with("did you mean `transcript.created`?"), "{}", faults.text("event"));
        assert_eq!(faults.text("active"), "");
        assert_eq!(faults.count(), "6 fields need a change");
        assert_eq!(faults.of_field("url").len(), 1);
    }

    #[test]
    fn another_error_is_no_fault_of_the_form() {
        assert!(Faults::of(WebhooksError::Conflict).is_err());
    }
}
