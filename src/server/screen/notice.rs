//! Notices: everything that a visitor gets instead of the page that was asked for. Each says what happened and what to
//! do.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, RETRY_AFTER},
};

use super::{
    page::{Look, guard, page},
    words::lines,
};
use crate::{
    server::{
        Shared,
        problem::{Kind, Problem},
    },
    store::StoreError,
    webhooks::WebhooksError,
};

/// An answer in words instead of a page.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    status: u16,
    title: &'static str,
    text: &'static str,
    /// This occurrence, if the text does not say all.
    detail: String,
    /// The way on.
    way: Way,
    /// The texts of a form that was not taken, each with its label.
    typed: Vec<(&'static str, String)>,
    /// The seconds after which it may be tried again.
    retry_after: Option<HeaderValue>,
}

/// The way on from a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the platform's own page, which makes a new link.
    Platform,
    /// To the list of webhooks.
    List,
    /// The same page again.
    Again,
}

#[derive(Template)]
#[template(path = "screen/notice.html", config = "src/server/askama.toml")]
struct Shown<'a> {
    look: &'a Look,
    notice: &'a Notice,
    /// The address and the label of the way on.
    way: Option<(String, String)>,
}

impl Notice {
    pub(super) const NO_SESSION: Self = Self::new(
        401,
        "Your session has ended",
        "Go back to your application and open Webhooks there again.",
        Way::Platform,
    );
    pub(super) const LINK_SPENT: Self = Self::new(
        410,
        "This link was used or has expired",
        "A link opens Webhooks once, within five minutes. Go back to your application and open Webhooks there again.",
        Way::Platform,
    );
    pub(super) const TOO_MANY_LINKS: Self = Self::new(
        429,
        "Too many links were tried",
        "Wait a minute. Then go back to your application and open Webhooks there again.",
        Way::Platform,
    );
    pub(super) const OTHER_SITE: Self = Self::new(
        403,
        "This form came from another page",
        "Nothing was changed. Open the page here and send its form again. If this happens with every form, your browser \
         or a proxy removes the headers Origin and Sec-Fetch-Site.",
        Way::List,
    );
    pub(super) const STALE: Self = Self::new(
        403,
        "This page belongs to an earlier session",
        "Nothing was changed. Open the page again and repeat what you did.",
        Way::List,
    );
    pub(super) const READ_ONLY: Self = Self::new(
        403,
        "You may look at webhooks, and not change them",
        "Nothing was changed. Ask an administrator of your account.",
        Way::List,
    );
    pub(super) const NO_PAYLOADS: Self = Self::new(
        403,
        "You may not read payloads",
        "Payloads hold personal data. Ask an administrator of your account.",
        Way::List,
    );
    pub(super) const NO_TIME: Self = Self::new(
        422,
        "This is not a time",
        "Nothing was sent again. Open the page again and enter date and time, in UTC.",
        Way::List,
    );
    pub(super) const NOT_FOUND: Self =
        Self::new(404, "There is no such page", "The address may be mistyped.", Way::List);
    pub(super) const UNREADABLE: Self = Self::new(
        409,
        "The settings of this webhook cannot be read",
        "Nothing is sent to it: its deliveries fail. Contact support, or delete this webhook and add it again.",
        Way::List,
    );
    pub(super) const NO_WEBHOOK: Self =
        Self::new(404, "There is no such webhook", "It may have been deleted.", Way::List);

    const fn new(status: u16, title: &'static str, text: &'static str, way: Way) -> Self {
        Self { status, title, text, detail: String::new(), way, typed: Vec::new(), retry_after: None }
    }
}

impl Notice {
    /// The same with the texts of a form that was not taken.
    pub(super) fn with_typed(self, typed: Vec<(&'static str, String)>) -> Self {
        let typed = typed.into_iter().map(|(label, text)| (label, lines(&text))).collect();
        Self { typed, ..self }
    }

    /// The fate of a form whose texts are shown again.
    fn outcome(&self) -> &'static str {
        if self.status >= 500 { "It is unknown whether it was saved: check that first." } else { "It was not saved." }
    }

    /// Whether the session has ended, so that the page around a frame gets a new link.
    fn is_ended(&self) -> bool {
        matches!(self.status, 401 | 410)
    }

    fn icon(&self) -> &'static str {
        match self.status {
            401 | 403 | 410 => "lock",
            429.. => "warn",
            _ => "info",
        }
    }

    /// Its page. `asked` is the address to open again.
    fn shown(&self, look: &Look, asked: &str) -> Response {
        let status = StatusCode::from_u16(self.status).expect("a constant status");
        let mut response = page(status, &Shown { look, way: self.way(look, asked), notice: self });
        if let Some(seconds) = &self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.clone());
        }
        response
    }

    fn way(&self, look: &Look, asked: &str) -> Option<(String, String)> {
        let back = look.back.clone();
        match self.way {
            Way::Platform => back.map(|back| (back, format!("Back to {}", look.product()))),
            Way::List => look.has_account().then(|| (look.at("/webhooks"), "To your webhooks".to_owned())),
            Way::Again => (!asked.is_empty()).then(|| (format!("{}{asked}", look.base), "Try again".to_owned())),
        }
    }
}

impl IntoResponse for Notice {
    /// An answer without a body, which [`as_page`] replaces.
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a constant status");
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Problem> for Notice {
    fn from(problem: Problem) -> Self {
        let Kind { name, status, title, .. } = problem.kind;
        let retry_after = problem.header(&RETRY_AFTER).cloned();
        let of = |title, text, way| Self { retry_after, ..Self::new(*status, title, text, way) };
        match *name {
            "store-unreachable" | "outcome-unknown" => of(
                "Webhooks cannot be shown or changed right now",
                "The service that keeps your webhooks does not answer. Your webhooks, their deliveries and their logs are \
                 kept. Try again in a moment. If you were changing something, check whether it was done.",
                Way::Again,
            ),
            "store-full" => of(
                "Nothing can be changed right now",
                "The service that keeps your webhooks has no room. Try again later.",
                Way::Again,
            ),
            "busy" => of("The server is busy", "Nothing was changed. Try again in a moment.", Way::Again),
            "rate-limited" => Self {
                detail: problem.detail().to_owned(),
                ..of("That was too often", "Wait a few seconds, then try again.", Way::List)
            },
            "no-such-webhook" => Self::NO_WEBHOOK,
            "no-such-delivery" => of(
                "There is no such delivery",
                "It may have been delivered, sent again, or dropped because of its age.",
                Way::List,
            ),
            "edit-conflict" | "revision-changed" => {
                of("Somebody else changed the webhook at the same time", "Check it and try again.", Way::List)
            }
            "internal" => of(
                "Something went wrong on our side",
                "It is in the server's log. It is unknown whether anything was changed.",
                Way::List,
            ),
            "" => Self { detail: String::new(), ..of(title, "The address may be mistyped.", Way::List) },
            _ => Self { detail: problem.detail().to_owned(), ..of(title, "Nothing was changed.", Way::List) },
        }
    }
}

impl From<StoreError> for Notice {
    fn from(error: StoreError) -> Self {
        Problem::from(error).into()
    }
}

impl From<WebhooksError> for Notice {
    fn from(error: WebhooksError) -> Self {
        if let WebhooksError::Store(StoreError::Corrupt { .. }) = error {
            tracing::error!(%error, "a page met settings that cannot be read");
            return Self::UNREADABLE;
        }
        Problem::from(error).into()
    }
}

/// The page of an address below the accounts at which nothing is.
pub(in crate::server) fn nothing(app: &Shared) -> Response {
    let look = Look::plain(app, None);
    let mut response = Notice::NOT_FOUND.shown(&look, "");
    guard(&mut response, None);
    response
}

/// Gives a notice its page, and every page its headers. A script that asks for JSON gets a problem as JSON.
pub(super) async fn as_page(State(app): State<Shared>, request: Request, next: Next) -> Response {
    // A form that failed is not sent again by a link: its page is opened again.
    let asked = if request.method() == Method::GET {
        request.uri().path_and_query().map_or_else(String::new, ToString::to_string)
    } else {
        request
            .uri()
            .path()
            .rsplit_once("/webhooks")
            .map_or_else(String::new, |(before, _)| format!("{before}/webhooks"))
    };
    let wants_json = request.headers().get(ACCEPT).is_some_and(|types| types == "application/json");
    let mut response = next.run(request).await;
    let look = response.extensions_mut().remove::<Arc<Look>>();
    let look = look.unwrap_or_else(|| Look::plain(&app, None).into());
    let notice = match response.extensions_mut().remove::<Notice>() {
        Some(notice) => Some(notice),
        None if wants_json => None,
        None => response.extensions_mut().remove::<Problem>().map(Notice::from),
    };
    if let Some(notice) = notice {
        response = notice.shown(&look, &asked);
    }
    guard(&mut response, look.frame.as_ref());
    response
}
