//! The visitor of a page: the account of the path, and the session that the cookie opens there.
//!
//! The cookie's name has the account in it, so that two accounts work in two tabs, and tells a frame's session from a
//! tab's, because a browser keeps and sends both. Its value is the session's token, and behind a dot the origin that
//! shows the screen in a frame. That origin only serves to tell that page that the session has ended.

use std::sync::Arc;

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cookie::{Cookie, SameSite};
use http::{HeaderMap, header::COOKIE, request::Parts};
use secrecy::{ExposeSecret, SecretString};

use super::{form, notice::Notice, page::Look};
use crate::{
    access::{SESSION_LIFE, Session},
    domain::{account::AccountId, origin::WebOrigin, webhook::WebhookId},
    server::{Shared, door::parameter, problem::Problem},
    store::StoreError,
};

/// The most cookies of an account that are tried.
const COOKIES_MAX: usize = 4;

/// A person who looks at an account's pages.
pub(super) struct Visitor {
    pub(super) account: AccountId,
    pub(super) session: Session,
    /// The look of the session's pages.
    pub(super) look: Arc<Look>,
}

impl Visitor {
    /// Writes the line that each change has in the log. `fields` are names, never values.
    pub(super) fn log(&self, changed: &'static str, webhook: WebhookId, fields: &str) {
        let (account, session) = (self.account.as_str(), self.session.id.as_str());
        let user = self.session.grant.user.as_deref().unwrap_or_default();
        tracing::info!(session, user, account, changed, of = %webhook, fields, "changed on the screen");
    }
}

/// Lets the owner of a session in. The request then has its [`Visitor`].
pub(super) async fn admit(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let account = match account(&mut parts, &app).await {
        Ok(account) => account,
        Err(notice) => return notice.into_response(),
    };
    let presented = Presented::all(&parts.headers, &account);
    let found = Presented::session(&presented, &app, &account).await;
    let frame = Presented::frame(&presented, &app, &parts.headers);
    let refused = |notice: Notice| {
        let mut response = notice.into_response();
        response.extensions_mut().insert(Arc::new(Look::plain(&app, frame)));
        response
    };
    let (session, token) = match found {
        Ok(Some(found)) => found,
        refusal => {
            let notice = refusal.err().map_or(Notice::NO_SESSION, Notice::from);
            let typed = form::typed(&app, Request::from_parts(parts, body)).await;
            return refused(notice.with_typed(typed));
        }
    };
    tracing::Span::current().record("key", session.id.as_str());
    let look = Arc::new(Look::of(&app, &account, &session.grant, form_token(&token)));
    parts.extensions.insert(Arc::new(Visitor { account, session, look: look.clone() }));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    response.extensions_mut().insert(look);
    response
}

/// The token of a session's forms. It tells nothing about the session's own token.
fn form_token(session_token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, session_token.as_bytes());
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"form"))
}

/// The account of the path.
pub(super) async fn account(parts: &mut Parts, app: &Shared) -> Result<AccountId, Notice> {
    let text = parameter(parts, app, "account").await.map_err(|_| Notice::NOT_FOUND)?;
    text.parse().map_err(|_| Notice::NOT_FOUND)
}

/// A cookie that a request presents for an account.
pub(super) struct Presented {
    token: String,
    frame: Option<String>,
}

impl Presented {
    /// The cookies of an account, the likeliest first. A browser may have two: that of a tab, and that of a frame. In a
    /// frame only the frame's counts, because the page around may show no other session.
    pub(super) fn all(headers: &HeaderMap, account: &AccountId) -> Vec<Self> {
        let names = [cookie_name(account, false), cookie_name(account, true)];
        let names = if is_in_frame(headers) { &names[1..] } else { &names[..] };
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let cookies: Vec<_> = lines.flat_map(Cookie::split_parse).filter_map(Result::ok).collect();
        let of = |name: &String| cookies.iter().filter(|cookie| cookie.name() == name).collect::<Vec<_>>();
        names.iter().flat_map(of).take(COOKIES_MAX).map(|cookie| Self::read(cookie.value())).collect()
    }

    fn read(value: &str) -> Self {
        let (token, frame) = match value.split_once('.') {
            Some((token, frame)) => (token, URL_SAFE_NO_PAD.decode(frame).ok()),
            None => (value, None),
        };
        Self { token: token.to_owned(), frame: frame.and_then(|frame| String::from_utf8(frame).ok()) }
    }

    /// Whether it is the cookie of a frame.
    pub(super) fn is_framed(&self) -> bool {
        self.frame.is_some()
    }

    /// The first living session that these cookies open, and its token.
    pub(super) async fn session(
        presented: &[Self],
        app: &Shared,
        account: &AccountId,
    ) -> Result<Option<(Session, String)>, StoreError> {
        for Self { token, .. } in presented {
            if let Some(session) = app.portal.session(account, token).await? {
                return Ok(Some((session, token.clone())));
            }
        }
        Ok(None)
    }

    /// The origin that may show a page that belongs to no session: the one that showed a session, if the settings still
    /// allow it, or the only one that they allow.
    pub(super) fn frame(presented: &[Self], app: &Shared, headers: &HeaderMap) -> Option<WebOrigin> {
        let allowed = app.portal.embed_origins();
        match (presented.iter().find_map(|presented| presented.frame.as_ref()), allowed) {
            (Some(origin), _) => allowed.iter().find(|allowed| allowed.as_str() == origin).cloned(),
            (None, [only]) if is_in_frame(headers) => Some(only.clone()),
            (None, _) => None,
        }
    }
}

/// Whether a page in a frame sent the request: the browser says so, or the screen's script.
fn is_in_frame(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|dest| dest == "iframe") || headers.contains_key("lynkhook-frame")
}

/// The cookie of a new session.
pub(super) fn new_cookie(account: &AccountId, session: &Session, token: &SecretString) -> String {
    let embed = session.grant.embed.as_ref();
    let frame = embed.map(|origin| format!(".{}", URL_SAFE_NO_PAD.encode(origin.as_str()))).unwrap_or_default();
    let life = i64::try_from(SESSION_LIFE.as_secs()).unwrap_or(i64::MAX);
    let cookie = Cookie::build((cookie_name(account, embed.is_some()), format!("{}{frame}", token.expose_secret())))
        .path("/")
        .max_age(cookie::time::Duration::seconds(life))
        .secure(true)
        .http_only(true)
        .same_site(if embed.is_some() { SameSite::None } else { SameSite::Lax })
        .partitioned(embed.is_some());
    cookie.build().to_string()
}

/// `__Host-lynkhook-` and 8 digits of the account's hash; in a frame with `-frame`.
fn cookie_name(account: &AccountId, is_framed: bool) -> String {
    let hash = digest(&SHA256, account.as_str().as_bytes());
    let [a, b, c, d, ..] = hash.as_ref() else { unreachable!("a hash has 32 bytes") };
    format!("__Host-lynkhook-{a:02x}{b:02x}{c:02x}{d:02x}{}", if is_framed { "-frame" } else { "" })
}

/// The visitor of a request that was let in.
#[derive(Clone)]
pub(super) struct Visiting(pub(super) Arc<Visitor>);

impl FromRequestParts<Shared> for Visiting {
    type Rejection = Notice;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Notice> {
        parts.extensions.get::<Arc<Visitor>>().cloned().map(Self).ok_or_else(|| {
            tracing::error!("a page was opened without a session");
            Problem::internal().into()
        })
    }
}

/// A visitor who may change webhooks.
pub(super) struct Managing(pub(super) Arc<Visitor>);

impl FromRequestParts<Shared> for Managing {
    type Rejection = Notice;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Notice> {
        let Visiting(visitor) = Visiting::from_request_parts(parts, app).await?;
        if visitor.look.may_manage { Ok(Self(visitor)) } else { Err(Notice::READ_ONLY) }
    }
}

/// The webhook of the path.
pub(super) struct Hook(pub(super) WebhookId);

impl FromRequestParts<Shared> for Hook {
    type Rejection = Notice;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Notice> {
        let text = parameter(parts, app, "id").await.map_err(|_| Notice::NO_WEBHOOK)?;
        text.parse().map(Self).map_err(|_| Notice::NO_WEBHOOK)
    }
}
