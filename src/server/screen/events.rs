//! The events page: each event type with its fields, an example, its schema, and a command that sends the example.

use askama::Template;
use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;

use super::{
    curl,
    fields::{Field, fields},
    notice::Notice,
    page::{Look, page},
    visitor::{Visiting, Visitor},
    words::{line, lines, title},
};
use crate::{
    domain::event::DescribedEventType,
    server::{Shared, query::Query},
    webhooks::{AuthenticationView, Listed, View, WebhooksError},
};

/// The most webhooks for which a command is shown.
const WEBHOOKS: usize = 20;

#[derive(Template)]
#[template(path = "screen/events.html", config = "src/server/askama.toml")]
struct Events<'a> {
    look: &'a Look,
    events: Vec<Event>,
}

/// One event type.
struct Event {
    name: String,
    description: String,
    fields: Vec<Field>,
    /// The identifiers that logs show, each with its place.
    identifiers: Vec<(String, String)>,
    example: String,
    schema: String,
    commands: Vec<Command>,
}

impl Event {
    fn has_secret(&self) -> bool {
        self.commands.iter().any(|command| command.has_secret)
    }
}

/// A command that sends the example.
struct Command {
    /// The webhook; `None`: a placeholder.
    title: Option<String>,
    text: String,
    has_secret: bool,
}

/// The catalogue.
pub(super) async fn show(
    State(app): State<Shared>,
    Visiting(visitor): Visiting,
    query: Query,
) -> Result<Response, Notice> {
    query.end()?;
    let listed = app.webhooks.list_page(&visitor.account, None, WEBHOOKS).await?.items;
    let webhooks = listed.into_iter().filter_map(|webhook| match webhook {
        Listed::Read(view) => Some(*view),
        Listed::Unreadable { .. } => None,
    });
    let webhooks: Vec<_> = webhooks.collect();
    let mut events = Vec::new();
    for described in app.catalogue.described() {
        let commands = commands(&app, &visitor, &described, &webhooks).await?;
        let schema = app.catalogue.schema(&described.name);
        events.push(Event {
            name: line(&described.name),
            description: line(&described.description),
            fields: schema.as_deref().map(fields).unwrap_or_default(),
            identifiers: described.identifiers.iter().map(|(name, pointer)| (line(name), place(pointer))).collect(),
            example: lines(&indented(described.example.get())),
            schema: schema.map(|schema| lines(schema.get())).unwrap_or_default(),
            commands,
        });
    }
    Ok(page(StatusCode::OK, &Events { look: &visitor.look, events }))
}

/// A command for each webhook that is subscribed to the event type, or one for a placeholder.
async fn commands(
    app: &Shared,
    visitor: &Visitor,
    described: &DescribedEventType,
    webhooks: &[View],
) -> Result<Vec<Command>, Notice> {
    let example = Bytes::copy_from_slice(described.example.get().as_bytes());
    let request = |id| app.webhooks.example_request(&visitor.account, id, example.clone());
    let mut commands = Vec::new();
    for view in webhooks.iter().filter(|view| view.events.contains(&described.name)) {
        match request(Some(view.id)).await {
            Ok(request) => commands.push(Command {
                title: Some(title(view)),
                text: curl::command(&request, &view.authentication),
                has_secret: !matches!(view.authentication, AuthenticationView::None),
            }),
            // Another visitor has just deleted it, or its secret cannot be opened, which a test of it tells.
            Err(WebhooksError::NotFound { .. } | WebhooksError::Secrets(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if commands.is_empty() {
        let text = curl::command(&request(None).await?, &AuthenticationView::None);
        commands.push(Command { title: None, text, has_secret: false });
    }
    Ok(commands)
}

/// The same JSON with a line for each member, whatever blanks its author wrote.
fn indented(json: &str) -> String {
    let (mut text, mut depth, mut in_string, mut is_escaped) = (String::new(), 0_usize, false, false);
    let mut last = ' ';
    for c in json.chars().filter(|c| *c != '\r') {
        if in_string {
            in_string = is_escaped || c != '"';
            is_escaped = c == '\\' && !is_escaped;
            text.push(c);
            continue;
        }
        if c.is_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        depth -= usize::from(closes && depth > 0);
        let is_empty = closes && matches!(last, '{' | '[');
        if (closes || matches!(last, '{' | '[' | ',')) && !is_empty {
            text.push('\n');
            text.extend(std::iter::repeat_n("  ", depth));
        }
        in_string = c == '"';
        depth += usize::from(matches!(c, '{' | '['));
        text.push(c);
        if c == ':' {
            text.push(' ');
        }
        last = c;
    }
    text
}

/// The place to which a JSON pointer into `data` points: `data.messageId`.
fn place(pointer: &str) -> String {
    line(&format!("data{}", pointer.replace('/', ".").replace("~1", "/").replace("~0", "~")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_indented_and_says_the_same() {
        let json = "{\n\"a\" :[ 1.50,{ \"b\\\\\":\"x\\\": [1, {2}] \" } ],\"c\":{},\"d\":[ ]}\n";
        let expected = "{\n  \"a\": [\n    1.50,\n    {\n      \"b\\\\\": \"x\\\": [1, {2}] \"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}";
        assert_eq!(indented(json), expected);
    }

    #[test]
    fn a_pointer_is_told_as_a_path() {
        assert_eq!(place("/messageId"), "data.messageId");
        assert_eq!(place("/a~1b/~01"), "data.a/b.~1");
    }
}
