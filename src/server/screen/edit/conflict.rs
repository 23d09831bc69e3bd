//! The page for two edits of one revision: both versions, and a button for each.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::{
    super::{
        page::{Look, page},
        words::{line, title},
    },
    edit_path,
    typed::{Method, Typed},
};
use crate::webhooks::{AuthenticationView, View};

#[derive(Template)]
#[template(path = "screen/conflict.html", config = "src/server/askama.toml")]
struct Conflict<'a> {
    look: &'a Look,
    title: String,
    action: String,
    typed: &'a Typed,
    rows: Vec<Row>,
    /// The field of the secret that the visitor's version needs, and its label.
    secret: Option<(&'static str, &'static str)>,
    /// The present revision.
    revision: u64,
}

/// A setting in both versions.
struct Row {
    name: &'static str,
    /// Whether its text is for machines.
    is_code: bool,
    mine: String,
    theirs: String,
}

/// Shows what the visitor typed beside what is saved now.
pub(super) fn answer(look: &Look, typed: &Typed, theirs: &View) -> Response {
    let replaced = typed.authentication(&theirs.authentication);
    let secret = replaced.and_then(|_| match typed.method? {
        Method::None => None,
        Method::Bearer => Some(("token", "Token")),
        Method::Header => Some(("header_value", "Value")),
    });
    let saved = Typed::saved(theirs);
    let both = |name, is_code, of: fn(&Typed) -> String| Row { name, is_code, mine: of(typed), theirs: of(&saved) };
    let authentication = in_words(&theirs.authentication);
    let mine = match typed.method {
        Some(Method::None) => "None".to_owned(),
        Some(Method::Bearer) if secret.is_some() => "Bearer Token, a new one".to_owned(),
        Some(Method::Header) if secret.is_some() => format!("Custom Header {}, a new value", line(&typed.header_name)),
        _ => authentication.clone(),
    };
    let rows = vec![
        both("URL", true, |version| line(&version.url)),
        both("Events", true, |version| version.events.iter().map(|event| line(event)).collect::<Vec<_>>().join(", ")),
        Row { name: "Authentication", is_code: false, mine, theirs: authentication },
        both("Description", false, |version| line(&version.description)),
        both("Active", false, |version| if version.is_active { "Yes" } else { "No" }.to_owned()),
    ];
    let conflict = Conflict {
        look,
        title: title(theirs),
        action: look.at(edit_path(theirs.id)),
        typed,
        rows,
        secret,
        revision: theirs.revision,
    };
    page(StatusCode::CONFLICT, &conflict)
}

/// `Bearer Token, ends in 1234`.
fn in_words(authentication: &AuthenticationView) -> String {
    let end = |mask: &str| match mask.trim_start_matches('•') {
        "" => String::new(),
        end => format!(", ends in {end}"),
    };
    match authentication {
        AuthenticationView::None => "None".to_owned(),
        AuthenticationView::Bearer { token } => format!("Bearer Token{}", end(token)),
        AuthenticationView::Header { name, value } => format!("Custom Header {}{}", line(name), end(value)),
    }
}
