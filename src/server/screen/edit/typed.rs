//! The settings in a form: the saved ones, or those that a visitor typed.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};

use super::super::form::Fields;
use crate::{
    domain::event::Catalogue,
    webhooks::{AuthenticationView, Edit, NewAuthentication, NewWebhook, View},
};

/// The settings in a form. Nothing here is judged yet, and no page shows the secrets.
pub(super) struct Typed {
    pub(super) url: String,
    pub(super) events: BTreeSet<String>,
    /// `None` if the form names none: authentication stays as it is.
    pub(super) method: Option<Method>,
    token: SecretString,
    pub(super) header_name: String,
    header_value: SecretString,
    pub(super) description: String,
    pub(super) is_active: bool,
    /// The revision that the edit is based on.
    pub(super) revision: Option<u64>,
    /// Whether an earlier form had a secret, which its answer does not repeat: an empty one keeps nothing then.
    again: bool,
    /// The settings that the form of an edit began with. They tell which ones the visitor changed.
    pub(super) was: Option<Box<Self>>,
}

/// A way to authenticate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    None,
    Bearer,
    Header,
}

/// The settings in the order of [`Typed::changes`], as a sentence names them.
const NAMES: [&str; 5] = ["the URL", "the events", "the authentication", "the description", "whether it is active"];

/// The ways to authenticate, each with its value in a form.
const METHODS: [(Method, &str); 3] = [(Method::None, "none"), (Method::Bearer, "bearer"), (Method::Header, "header")];

impl Typed {
    /// The form of a new webhook: all events, no authentication, active.
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        Self {
            url: String::new(),
            events: catalogue.names().map(str::to_owned).collect(),
            method: Some(Method::None),
            token: SecretString::default(),
            header_name: String::new(),
            header_value: SecretString::default(),
            description: String::new(),
            is_active: true,
            revision: None,
            again: false,
            was: None,
        }
    }

    /// The settings that are saved.
    pub(super) fn saved(view: &View) -> Self {
        let (method, header_name) = match &view.authentication {
            AuthenticationView::None => (Method::None, ""),
            AuthenticationView::Bearer { .. } => (Method::Bearer, ""),
            AuthenticationView::Header { name, .. } => (Method::Header, &**name),
        };
        Self {
            url: view.url.as_str().to_owned(),
            events: view.events.iter().cloned().collect(),
            method: Some(method),
            token: SecretString::default(),
            header_name: header_name.to_owned(),
            header_value: SecretString::default(),
            description: view.description.clone(),
            is_active: view.active,
            revision: Some(view.revision),
            again: false,
            was: None,
        }
    }

    /// The form of an edit, which begins with the settings that are saved.
    pub(super) fn begun(view: &View) -> Self {
        Self { was: Some(Box::new(Self::saved(view))), ..Self::saved(view) }
    }

    /// The settings of a form that was sent.
    pub(super) fn of(fields: &Fields) -> Self {
        let was = fields.has("was_url").then(|| Box::new(Self::named(fields, "was_")));
        Self { was, ..Self::named(fields, "") }
    }

    /// The settings in the fields whose names begin with `prefix`.
    fn named(fields: &Fields, prefix: &str) -> Self {
        let name = |field: &str| format!("{prefix}{field}");
        let text = |field: &str| fields.text(&name(field));
        let method = text("authentication");
        Self {
            url: text("url").trim().to_owned(),
            events: fields.all(&name("event")).map(str::to_owned).collect(),
            method: METHODS.iter().find(|(_, name)| *name == method).map(|(method, _)| *method),
            token: text("token").into(),
            header_name: text("header_name").to_owned(),
            header_value: text("header_value").into(),
            description: text("description").to_owned(),
            is_active: fields.has(&name("active")),
            revision: text("revision").parse().ok(),
            again: fields.has(&name("again")),
            was: None,
        }
    }

    /// The settings that are saved now, with the changes of this form. A form that does not tell what it began with
    /// stays as it is.
    pub(super) fn onto(self, saved: &View) -> Self {
        let Some(was) = &self.was else { return self };
        let [url, events, authentication, description, active] = self.changes(was);
        let mut both = Self::saved(saved);
        if authentication {
            let Self { method, token, header_name, header_value, again, .. } = self;
            both = Self { method, token, header_name, header_value, again, ..both };
        }
        if url {
            both.url = self.url;
        }
        if events {
            both.events = self.events;
        }
        if description {
            both.description = self.description;
        }
        if active {
            both.is_active = self.is_active;
        }
        both
    }

    /// Whether each setting differs from an earlier one. A new secret is a change of authentication.
    fn changes(&self, was: &Self) -> [bool; 5] {
        let is_renamed = self.method == Some(Method::Header) && self.header_name != was.header_name;
        let is_replaced = self.method.is_some() && self.method != was.method || is_renamed;
        [
            self.url != was.url,
            self.events != was.events,
            is_replaced || self.secret_field().is_some(),
            self.description != was.description,
            self.is_active != was.is_active,
        ]
    }

    /// The names of the settings that differ from earlier ones.
    pub(super) fn changed(&self, was: &Self) -> Vec<&'static str> {
        NAMES.into_iter().zip(self.changes(was)).filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// The value of the way to authenticate.
    pub(super) fn method_name(&self) -> &'static str {
        METHODS.iter().find(|(method, _)| Some(*method) == self.method).map_or("", |(_, name)| name)
    }

    /// The webhook that the form adds.
    pub(super) fn webhook(&self) -> NewWebhook {
        NewWebhook {
            url: self.url.clone(),
            events: Some(self.events.iter().cloned().collect()),
            authentication: self.authentication(&AuthenticationView::None).unwrap_or(NewAuthentication::None),
            description: self.description.clone(),
            active: self.is_active,
        }
    }

    /// The change that the form makes to a webhook: only what differs.
    pub(super) fn edit(&self, saved: &View) -> Edit {
        Edit {
            url: (self.url != saved.url.as_str()).then(|| self.url.clone()),
            events: (!self.events.iter().eq(&saved.events)).then(|| self.events.iter().cloned().collect()),
            authentication: self.authentication(&saved.authentication),
            description: (self.description != saved.description).then(|| self.description.clone()),
            active: (self.is_active != saved.active).then_some(self.is_active),
            revision: self.revision,
        }
    }

    /// A change of one field alone, to judge it.
    pub(super) fn alone(&self, field: &str) -> Edit {
        let mut edit = Edit::default();
        match field {
            "url" => edit.url = Some(self.url.clone()),
            "event" => edit.events = Some(self.events.iter().cloned().collect()),
            "token" => edit.authentication = Some(self.bearer()),
            "header_name" | "header_value" => edit.authentication = Some(self.header()),
            "description" => edit.description = Some(self.description.clone()),
            _ => {}
        }
        edit
    }

    /// The authentication that replaces the saved one; `None` if that stays.
    pub(super) fn authentication(&self, saved: &AuthenticationView) -> Option<NewAuthentication> {
        match (self.method?, saved) {
            (Method::None, AuthenticationView::None) => None,
            (Method::None, _) => Some(NewAuthentication::None),
            (Method::Bearer, AuthenticationView::Bearer { .. }) if self.keeps(&self.token) => None,
            (Method::Bearer, _) => Some(self.bearer()),
            // A value belongs to its header: it is not sent under another name.
            (Method::Header, AuthenticationView::Header { name, .. })
                if self.keeps(&self.header_value) && *name == self.header_name =>
            {
                None
            }
            (Method::Header, _) => Some(self.header()),
        }
    }

    fn keeps(&self, secret: &SecretString) -> bool {
        secret.expose_secret().is_empty() && !self.again
    }

    /// The field whose secret came with this form, or with the one before it.
    pub(super) fn secret_field(&self) -> Option<&'static str> {
        match self.method? {
            Method::Bearer if !self.keeps(&self.token) => Some("token"),
            Method::Header if !self.keeps(&self.header_value) => Some("header_value"),
            _ => None,
        }
    }

    /// Whether this field's secret is to be typed again.
    pub(super) fn had(&self, field: &str) -> bool {
        self.secret_field() == Some(field)
    }

    fn bearer(&self) -> NewAuthentication {
        NewAuthentication::Bearer(self.token.clone())
    }

    fn header(&self) -> NewAuthentication {
        NewAuthentication::Header { name: self.header_name.clone(), value: self.header_value.clone() }
    }
}
