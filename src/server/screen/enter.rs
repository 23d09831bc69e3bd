//! The way in: a link of the platform becomes a session.
//!
//! To open the link shows a button and spends nothing, because previews and scanners open links too. The button sends
//! the form that spends it. Inside a frame the script presses the button.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::SET_COOKIE, request::Parts};

use super::{
    form,
    notice::Notice,
    page::{Look, go_to, page},
    visitor::{Presented, account, new_cookie},
};
use crate::{
    access::{LinkNow, Session, WhichSession},
    domain::{account::AccountId, portal::Grant},
    server::{Shared, client},
};

/// The field, and the parameter of the address, that has the link's token.
const LINK: &str = "link";

#[derive(Template)]
#[template(path = "screen/enter.html", config = "src/server/askama.toml")]
struct Enter<'a> {
    look: &'a Look,
    link: &'a str,
}

/// A request of somebody who has shown no right yet: the account of its path, and its head.
pub(super) struct Stranger {
    account: AccountId,
    head: Parts,
}

impl FromRequestParts<Shared> for Stranger {
    type Rejection = Notice;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Notice> {
        Ok(Self { account: account(parts, app).await?, head: parts.clone() })
    }
}

/// The page of a link: one button. A link that is spent leads on to the session that it opened in this browser.
pub(super) async fn ask(State(app): State<Shared>, stranger: Stranger) -> Result<Response, Notice> {
    let link = stranger.link();
    let grant = match app.portal.link(&stranger.account, &link).await? {
        LinkNow::Living(grant) => grant,
        LinkNow::Spent(grant) => return without_link(&app, &stranger, Some(&grant)).await,
        LinkNow::Unknown => return without_link(&app, &stranger, None).await,
    };
    let look = look(&app, &stranger.account, &grant);
    let mut response = page(StatusCode::OK, &Enter { look: &look, link: &link });
    response.extensions_mut().insert(look);
    Ok(response)
}

/// Spends a link, and answers with the cookie of its session.
pub(super) async fn enter(State(app): State<Shared>, stranger: Stranger, request: Request) -> Result<Response, Notice> {
    let account = &stranger.account;
    let fields = form::bare(&app, request).await?;
    let in_address = stranger.link();
    let link = if fields.has(LINK) { fields.text(LINK) } else { &in_address };
    let Some((session, token)) = app.portal.enter(account, link).await? else {
        let spent = match app.portal.link(account, link).await? {
            LinkNow::Living(grant) | LinkNow::Spent(grant) => Some(grant),
            LinkNow::Unknown => None,
        };
        return without_link(&app, &stranger, spent.as_ref()).await;
    };
    end_replaced(&app, &stranger, &session).await?;
    let mut response = to_list(&app, account, &session.grant);
    let cookie = HeaderValue::from_str(&new_cookie(account, &session, &token)).expect("a cookie is plain");
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// Ends the session whose cookie the new one replaces. Otherwise people who enter often would use up the number of
/// sessions that the account may have, and end those of their colleagues.
async fn end_replaced(app: &Shared, Stranger { account, head }: &Stranger, new: &Session) -> Result<(), Notice> {
    let mut replaced = Presented::all(&head.headers, account);
    replaced.retain(|cookie| cookie.is_framed() == new.grant.embed.is_some());
    if let Some((old, _)) = Presented::session(&replaced, app, account).await? {
        app.portal.end(account, WhichSession::One(old.id)).await?;
    }
    Ok(())
}

/// The answer if there is no such link now; `spent` is the grant of a link that is still known. Its page has the look of
/// the link, and leads back to the platform.
async fn without_link(
    app: &Shared,
    Stranger { account, head }: &Stranger,
    spent: Option<&Grant>,
) -> Result<Response, Notice> {
    let presented = Presented::all(&head.headers, account);
    if let Some((session, _)) = Presented::session(&presented, app, account).await? {
        return Ok(to_list(app, account, &session.grant));
    }
    let refused = |notice: Notice, look| {
        let mut response = notice.into_response();
        response.extensions_mut().insert(look);
        response
    };
    // Only unknown links count. So a valid link is never refused, and people who reload a used one lock nobody out.
    if let Some(grant) = spent {
        return Ok(refused(Notice::LINK_SPENT, look(app, account, grant)));
    }
    let plain = Arc::new(Look::plain(app, Presented::frame(&presented, app, &head.headers)));
    Ok(match app.rates.take_entry(client::address(&app.trusted_proxies, &head.extensions, &head.headers)) {
        Ok(()) => refused(Notice::LINK_SPENT, plain),
        Err(_) => refused(Notice::TOO_MANY_LINKS, plain),
    })
}

/// Leads on to the list. This answer too may be met in the frame of the session.
fn to_list(app: &Shared, account: &AccountId, grant: &Grant) -> Response {
    let look = look(app, account, grant);
    let mut response = go_to(&look.at("/webhooks"));
    response.extensions_mut().insert(look);
    response
}

fn look(app: &Shared, account: &AccountId, grant: &Grant) -> Arc<Look> {
    Arc::new(Look::of(app, account, grant, String::new()))
}

impl Stranger {
    /// The link's token in the address.
    fn link(&self) -> String {
        let query = self.head.uri.query().unwrap_or_default();
        let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == LINK);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}
