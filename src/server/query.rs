//! The query of a request: known parameters, each once. Pages: `limit`, and `after`, an opaque cursor.

use std::{fmt::Display, str::FromStr};

use axum::extract::FromRequestParts;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::request::Parts;

use super::problem::{Fault, INVALID_QUERY, Problem};
use crate::domain::{
    page::{KeptPage, Page},
    text::nearest,
};

/// The items of a page, if the client names no number.
const LIMIT: usize = 50;
/// The most items of a page.
const LIMIT_MAX: usize = 100;
/// A cursor begins with this, so that another text is told from it.
const CURSOR: &str = "c1";

/// The parameters of a request.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

/// A part of a list that a client asks for.
pub(super) struct Part {
    /// The most items.
    pub(super) limit: usize,
    /// The position after which the part begins.
    pub(super) after: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    fn parse(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Self { pairs, known: Vec::new(), faults: Vec::new() }
    }

    /// A parameter's value.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let mut found = self.pairs.iter().filter(|(known, _)| known == name);
        let value = found.next()?.1.clone();
        if found.next().is_some() {
            self.faults.push(Fault::of_parameter(name, "occurs more than once"));
        }
        Some(value)
    }

    /// A parameter's value, parsed. Its error's text is the fault.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|error: T::Err| self.faults.push(Fault::of_parameter(name, error.to_string()))).ok()
    }

    /// One of these values.
    pub(super) fn one_of<T: Copy>(&mut self, name: &'static str, values: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = values.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<_> = values.iter().map(|(known, _)| *known).collect();
            self.faults.push(Fault::of_parameter(name, format!("must be {}", known.join(" or "))));
        }
        found
    }

    /// A parameter that is `true` or `false`; absent: `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        self.one_of(name, &[("true", true), ("false", false)]).unwrap_or(false)
    }

    /// `limit` and `after`.
    pub(super) fn part(&mut self) -> Part {
        let limit = self.text("limit").map(|text| text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)));
        if limit == Some(None) {
            self.faults.push(Fault::of_parameter("limit", format!("must be a whole number from 1 to {LIMIT_MAX}")));
        }
        let after = self.text("after").map(|cursor| position(&cursor));
        if after == Some(None) {
            self.faults
                .push(Fault::of_parameter("after", "is not a cursor: send `next` of an earlier answer unchanged"));
        }
        Part { limit: limit.flatten().unwrap_or(LIMIT), after: after.flatten() }
    }

    /// Ends reading: a parameter that nothing asked for is a fault.
    pub(super) fn end(mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            if !self.known.contains(&name.as_str()) {
                let detail = match nearest(name, self.known.iter().copied()) {
                    Some(nearest) => format!("there is no such parameter; did you mean `{nearest}`?"),
                    None if self.known.is_empty() => "this route takes no parameters".to_owned(),
                    None => format!("there is no such parameter; there are: {}", self.known.join(", ")),
                };
                self.faults.push(Fault::of_parameter(&name.chars().take(64).collect::<String>(), detail));
            }
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::of_faults(&INVALID_QUERY, self.faults)) }
    }
}

/// The position of a cursor.
pub(super) fn position(cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.strip_prefix(CURSOR)?).ok()?;
    String::from_utf8(bytes).ok()
}

/// The cursor of a position.
pub(super) fn cursor(position: &str) -> String {
    format!("{CURSOR}{}", URL_SAFE_NO_PAD.encode(position))
}

/// A page whose position is a cursor.
pub(super) fn opaque<T>(page: Page<T>) -> Page<T> {
    Page { next: page.next.as_deref().map(cursor), ..page }
}

/// The same for a page of held or failed deliveries.
pub(super) fn opaque_kept<T>(page: KeptPage<T>) -> KeptPage<T> {
    KeptPage { next: page.next.as_deref().map(cursor), ..page }
}
