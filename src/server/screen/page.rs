//! Pages: the look that all pages of a session share, and the headers of every page.

use askama::Template;
use axum::response::Response;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS},
};

use super::theme;
use crate::{
    domain::{
        account::AccountId,
        origin::WebOrigin,
        portal::{Grant, PortalAccess, Theme, ThemeMode},
    },
    server::{Shared, answer::typed},
};

/// The parts that every page has. Templates know it as `look`.
#[derive(Clone, Default)]
pub(super) struct Look {
    /// The path before every path: empty, or that of `server.public_url`.
    pub(super) base: String,
    pub(super) account: String,
    /// The origin whose page shows this one in a frame.
    pub(super) frame: Option<WebOrigin>,
    pub(super) theme: Theme,
    /// The page of the platform to which the screen leads back.
    pub(super) back: Option<String>,
    /// Whether the visitor may change webhooks.
    pub(super) may_manage: bool,
    /// Whether the visitor may read payloads.
    pub(super) may_read_payloads: bool,
    /// The token of the session's forms.
    pub(super) form_token: String,
    pub(super) style: String,
    pub(super) script: String,
    pub(super) icon: String,
}

impl Look {
    /// The look of a link or a session.
    pub(super) fn of(app: &Shared, account: &AccountId, grant: &Grant, form_token: String) -> Self {
        Self {
            account: account.to_string(),
            theme: grant.theme.clone().unwrap_or_default(),
            back: grant.return_url.clone(),
            may_manage: grant.access == PortalAccess::Manage,
            may_read_payloads: grant.payloads,
            form_token,
            ..Self::plain(app, grant.embed.clone())
        }
    }

    /// The look of a page that has no session, and that `frame` may show.
    pub(super) fn plain(app: &Shared, frame: Option<WebOrigin>) -> Self {
        let base = app.settings.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
        let base = base.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Self {
            style: format!("{base}{}", app.assets.style.path),
            script: format!("{base}{}", app.assets.script.path),
            icon: format!("{base}{}", app.assets.icon.path),
            base,
            frame,
            ..Self::default()
        }
    }

    /// Whether the page belongs to an account.
    pub(super) fn has_account(&self) -> bool {
        !self.account.is_empty()
    }

    /// The name of the platform's product.
    pub(super) fn product(&self) -> &str {
        self.theme.product_name.as_deref().unwrap_or("TalentLynk")
    }

    /// `system`, `light` or `dark`.
    pub(super) fn mode(&self) -> &'static str {
        match self.theme.mode {
            ThemeMode::System => "system",
            ThemeMode::Light => "light",
            ThemeMode::Dark => "dark",
        }
    }

    /// The address of the style sheet of the theme; `None` if the look is the screen's own.
    pub(super) fn theme_style(&self) -> Option<String> {
        theme::path(&self.theme).map(|path| format!("{}{path}", self.base))
    }

    /// The address of a page of this account, such as `/webhooks`.
    pub(super) fn at(&self, path: impl AsRef<str>) -> String {
        format!("{}/accounts/{}{}", self.base, self.account, path.as_ref())
    }
}

/// A page, as an answer.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    let html = template.render().expect("texts are written without a fault");
    let mut response = typed(status, "text/html; charset=utf-8", html);
    *response.status_mut() = status;
    response
}

/// An answer that leads to another page.
pub(super) fn go_to(path: &str) -> Response {
    let mut response = typed(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    // Paths are made of accounts, ids and percent-encoded texts.
    let path = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(http::header::LOCATION, path);
    response
}

/// Adds the headers of a page: the browser runs and loads nothing that is not this server's, and only `frame` shows the
/// page in a frame.
pub(super) fn guard(response: &mut Response, frame: Option<&WebOrigin>) {
    let ancestors = frame.map_or("'none'", WebOrigin::as_str);
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}; require-trusted-types-for 'script'; \
         trusted-types lynkhook"
    );
    let headers = response.headers_mut();
    let fixed = [
        // With `no-referrer`, browsers would send `Origin: null` with each form.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), clipboard-write=(self)",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).expect("an origin is plain"));
    if frame.is_none() {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
}
