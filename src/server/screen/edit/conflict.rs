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
    /// The changes of each visitor, in words.
    told: Option<String>,
    /// The visitor's version.
    typed: &'a Typed,
    /// The version that is saved.
    saved: &'a Typed,
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

/// Shows what is saved now, and beside it the same with the visitor's changes.
pub(super) fn answer(look: &Look, typed: Typed, theirs: &View) -> Response {
    let saved = Typed::saved(theirs);
    let told = told(&typed, &saved);
    let typed = typed.onto(theirs);
    let replaced = typed.authentication(&theirs.authentication);
    let secret = replaced.and_then(|_| match typed.method? {
        Method::None => None,
        Method::Bearer => Some(("token", "Token")),
        Method::Header => Some(("header_value", "Value")),
    });
    let both = |name, is_code, of: fn(&Typed) -> String| Row { name, is_code, mine: of(&typed), theirs: of(&saved) };
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
        told,
        typed: &typed,
        saved: &saved,
        rows,
        secret,
        revision: theirs.revision,
    };
    page(StatusCode::CONFLICT, &conflict)
}

/// `You changed the description. Somebody else changed the URL.` A new secret of theirs is not told, because no form
/// has the earlier one.
fn told(typed: &Typed, saved: &Typed) -> Option<String> {
    let was = typed.was.as_deref()?;
    let [mine, theirs] = [typed, saved].map(|version| match &*version.changed(was) {
        [] => None,
        [one] => Some((*one).to_owned()),
        [most @ .., last] => Some(format!("{} and {last}", most.join(", "))),
    });
    let theirs = theirs.map_or_else(String::new, |names| format!(" Somebody else changed {names}."));
    Some(format!("You changed {}.{theirs}", mine.as_deref().unwrap_or("nothing")))
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
