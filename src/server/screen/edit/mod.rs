//! The form that adds and edits a webhook.
//!
//! A form that is not saved comes back with all that was typed, except secrets, which no page ever has. An edit names
//! only the settings that differ from the saved ones (`typed.rs`). If another visitor has saved meanwhile, the answer
//! shows that version beside one with this visitor's changes (`conflict.rs`).

mod conflict;
mod faults;
mod typed;

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;

use self::{
    faults::{Fault, Faults},
    typed::{Method, Typed},
};
use super::{
    form::{Draft, Fields, Form},
    notice::Notice,
    page::{Look, go_to, page},
    visitor::{Hook, Managing, Visitor},
    words::{count, line, title},
};
use crate::{
    domain::webhook::WebhookId,
    server::{Shared, answer::json, query::Query},
    webhooks::{AuthenticationView, View, WebhooksError},
};

/// The answer to a form of an earlier session.
const RENEWED: &str = "Your session was renewed meanwhile. Check, and save once more.";

#[derive(Template)]
#[template(path = "screen/form.html", config = "src/server/askama.toml")]
struct Page<'a> {
    look: &'a Look,
    typed: &'a Typed,
    /// The webhook that is edited; `None` if one is added.
    saved: Option<Saved>,
    choices: Vec<Choice>,
    faults: Faults,
    /// A sentence above the form.
    told: Option<String>,
}

/// The webhook that is edited, as far as the form shows it.
struct Saved {
    id: WebhookId,
    title: String,
    /// The end of its token, in words.
    token: Option<String>,
    /// The end of its header's value, in words.
    header_value: Option<String>,
    /// `12 events`, if deliveries wait until it is active.
    held: Option<String>,
    is_one: bool,
}

/// An event type to choose.
struct Choice {
    name: String,
    /// Its name as people see it.
    shown: String,
    description: String,
    is_chosen: bool,
}

/// The answer to a judged field.
#[derive(Serialize)]
struct Judged {
    faults: Vec<Fault>,
}

/// The form for a new webhook.
pub(super) async fn new(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    query: Query,
) -> Result<Response, Notice> {
    query.end()?;
    let typed = Typed::new(&app.catalogue);
    let page = Page::new(&app, &visitor, &typed);
    let account = app.webhooks.overview(&visitor.account, None, 1).await?;
    if account.total >= account.limit {
        return Ok(page.telling(StatusCode::OK, at_limit(account.limit)));
    }
    Ok(page.answer(StatusCode::OK))
}

/// The sentence for an account that has its most webhooks.
fn at_limit(limit: usize) -> String {
    let most = count(limit as u64, "webhook subscription", "webhook subscriptions");
    format!("You can currently add a maximum of {most} per account. Delete one to add another.")
}

/// Adds a webhook.
pub(super) async fn add(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Draft { fields, is_current }: Draft,
) -> Result<Response, Notice> {
    let typed = Typed::of(&fields);
    let page = Page::new(&app, &visitor, &typed);
    if !is_current {
        return Ok(page.telling(StatusCode::FORBIDDEN, RENEWED));
    }
    match app.webhooks.add(&visitor.account, typed.webhook()).await {
        Ok(added) => {
            visitor.log("webhook added", added.id, "url events authentication description active");
            Ok(go_to(&visitor.look.at(format!("/webhooks?saved={}", added.id))))
        }
        Err(WebhooksError::Limit { limit, .. }) => Ok(page.telling(StatusCode::CONFLICT, at_limit(limit))),
        Err(error) => page.faulty(error).map_err(failed(&fields)),
    }
}

/// The form of a webhook, with its saved settings.
pub(super) async fn show(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    query: Query,
) -> Result<Response, Notice> {
    query.end()?;
    let view = app.webhooks.show(&visitor.account, id).await?;
    let typed = Typed::begun(&view);
    let page = Page::edit(&app, &visitor, &typed, &view).await?;
    Ok(page.answer(StatusCode::OK))
}

/// Saves an edit.
pub(super) async fn save(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    Draft { fields, is_current }: Draft,
) -> Result<Response, Notice> {
    let failed = failed(&fields);
    let typed = Typed::of(&fields);
    let view = app.webhooks.show(&visitor.account, id).await.map_err(&failed)?;
    if !is_current {
        let page = Page::edit(&app, &visitor, &typed, &view).await.map_err(&failed)?;
        return Ok(page.telling(StatusCode::FORBIDDEN, RENEWED));
    }
    let saved = || go_to(&visitor.look.at("/webhooks?done=saved"));
    if typed.revision != Some(view.revision) {
        // The same form was sent twice, or its first answer was lost.
        if typed.edit(&view).fields().is_empty() {
            return Ok(saved());
        }
        return Ok(conflict::answer(&visitor.look, typed, &view));
    }
    let edit = typed.edit(&view);
    let names = edit.fields().join(" ");
    match app.webhooks.edit(&visitor.account, id, edit).await {
        Ok(_) => {
            if !names.is_empty() {
                visitor.log("webhook edited", id, &names);
            }
            Ok(saved())
        }
        Err(WebhooksError::Stale { .. } | WebhooksError::Conflict) => {
            let view = app.webhooks.show(&visitor.account, id).await.map_err(&failed)?;
            Ok(conflict::answer(&visitor.look, typed, &view))
        }
        Err(error) => {
            let page = Page::edit(&app, &visitor, &typed, &view).await.map_err(&failed)?;
            page.faulty(error).map_err(&failed)
        }
    }
}

/// Judges the field that `left` names, and saves nothing. An empty field is judged when the form is saved.
pub(super) async fn judge(
    State(app): State<Shared>,
    Managing(_): Managing,
    Form(fields): Form,
) -> Result<Response, Notice> {
    let left = fields.text("left");
    let judged = app.webhooks.judge_edit(Typed::of(&fields).alone(left));
    let faults = match judged {
        Err(error) if !fields.text(left).is_empty() => Faults::of(error)?.of_field(left),
        _ => Vec::new(),
    };
    Ok(json(StatusCode::OK, &Judged { faults }))
}

impl<'a> Page<'a> {
    /// The form of a new webhook.
    fn new(app: &Shared, visitor: &'a Visitor, typed: &'a Typed) -> Self {
        let choices = choices(app, typed);
        Self { look: &visitor.look, typed, saved: None, choices, faults: Faults::default(), told: None }
    }

    /// The form of a webhook that has these settings.
    async fn edit(app: &Shared, visitor: &'a Visitor, typed: &'a Typed, view: &View) -> Result<Self, WebhooksError> {
        let held = if view.active { 0 } else { app.webhooks.held(&visitor.account, view.id, None, 1).await?.total };
        let end = |of: &str, mask: &str| match mask.trim_start_matches('•') {
            "" => format!("A {} is saved", of.to_lowercase()),
            end => format!("{of} ends in {end}"),
        };
        let (token, header_value) = match &view.authentication {
            AuthenticationView::None => (None, None),
            AuthenticationView::Bearer { token } => (Some(end("Token", token)), None),
            AuthenticationView::Header { value, .. } => (None, Some(end("Value", value))),
        };
        let saved = Saved {
            id: view.id,
            title: title(view),
            token,
            header_value,
            held: (held > 0).then(|| count(held, "event", "events")),
            is_one: held == 1,
        };
        Ok(Self { saved: Some(saved), ..Self::new(app, visitor, typed) })
    }

    fn answer(&self, status: StatusCode) -> Response {
        page(status, self)
    }

    /// The form again, with a sentence.
    fn telling(mut self, status: StatusCode, sentence: impl Into<String>) -> Response {
        self.told = Some(sentence.into());
        self.answer(status)
    }

    /// The form again, with its faults.
    ///
    /// # Errors
    /// The error, if it is no fault of the form.
    fn faulty(mut self, error: WebhooksError) -> Result<Response, WebhooksError> {
        self.faults = Faults::of(error)?;
        if self.typed.url.is_empty() {
            self.faults.say("url", "Enter the URL of your endpoint");
        }
        Ok(self.answer(StatusCode::UNPROCESSABLE_ENTITY))
    }

    /// The name of the page.
    fn name(&self) -> String {
        self.saved.as_ref().map_or_else(|| "Add Webhook".to_owned(), |saved| format!("Edit {}", saved.title))
    }

    /// The address to which the form is sent.
    fn action(&self) -> String {
        self.look.at(self.saved.as_ref().map_or_else(|| "/webhooks/new".to_owned(), |saved| edit_path(saved.id)))
    }

    fn has_method(&self, method: Method) -> bool {
        self.typed.method == Some(method)
    }
}

/// The notice of an error, with the texts of the form that was not saved.
fn failed(fields: &Fields) -> impl Fn(WebhooksError) -> Notice {
    |error| Notice::from(error).with_typed(fields.shown_again())
}

fn edit_path(id: WebhookId) -> String {
    format!("/webhooks/{id}/edit")
}

/// The event types of the catalogue, and chosen ones that it no longer has.
fn choices(app: &Shared, typed: &Typed) -> Vec<Choice> {
    let offered = app.catalogue.described().map(|event| (event.name, event.description));
    let others = typed.events.iter().filter(|name| !app.catalogue.contains(name));
    let others = others.map(|name| (name.clone(), "This event is no longer offered.".to_owned()));
    let choice = |(name, description): (String, String)| Choice {
        shown: line(&name),
        is_chosen: typed.events.contains(&name),
        name,
        description: line(&description),
    };
    offered.chain(others).map(choice).collect()
}
