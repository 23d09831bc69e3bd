//! A visitor of the settings screen: enters with a link of the API, keeps the cookie, reads pages and sends forms.

use reqwest::{Method, redirect::Policy};
use serde_json::{Value, json};

use crate::{server::support::Api, support::*};

/// The address of the screen as browsers know it.
pub(super) const PUBLIC: &str = "https://hooks.example.test";
/// The origin that may show the screen in a frame.
pub(super) const PLATFORM: &str = "https://app.example.test";

/// An account's session.
pub(super) struct Visit {
    client: reqwest::Client,
    server: String,
    account: String,
    /// `name=value`.
    pub(super) cookie: String,
    /// The token of the session's forms.
    pub(super) token: String,
}

/// A page, or the answer to a form.
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) html: String,
}

/// A server with the screen.
pub(super) async fn serve_screen(receiver: &Receiver) -> Api {
    let settings = [("LYNKHOOK_SERVER__PUBLIC_URL", PUBLIC), ("LYNKHOOK_PORTAL__EMBED_ORIGINS", PLATFORM)];
    Api::of(Installation::new(receiver).await, settings).await
}

/// A new link to the screen of an account: the path and query of its address.
pub(super) async fn new_link(api: &Api, account: &str, grant: &Value) -> String {
    let made = api.post(&format!("/v1/accounts/{account}/portal-links"), grant).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json["url"].as_str().unwrap().strip_prefix(PUBLIC).unwrap().to_owned()
}

impl Visit {
    /// A visitor who may change webhooks and read payloads.
    pub(super) async fn manager(api: &Api, account: &str) -> Self {
        Self::with(api, account, &json!({"access": "manage", "payloads": true})).await
    }

    /// A visitor with this grant.
    pub(super) async fn with(api: &Api, account: &str, grant: &Value) -> Self {
        let mut visit = Self::stranger(api, account);
        let link = new_link(api, account, grant).await;
        let entered = visit.enter(&link).await;
        assert_eq!(entered.status, 303, "{entered:?}");
        visit.token = visit.get("/webhooks").await.token();
        visit
    }

    /// Somebody without a session.
    pub(super) fn stranger(api: &Api, account: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        let (server, account) = (format!("http://{}", api.address), account.to_owned());
        Self { client, server, account, cookie: String::new(), token: String::new() }
    }

    /// Presses the button of a link's page, and keeps the cookie.
    pub(super) async fn enter(&mut self, link: &str) -> Page {
        let (path, token) = link.split_once("?link=").unwrap();
        let page = self.send(Method::POST, path, &[("origin", PUBLIC)], Some(&[("link", token)])).await;
        if let Some(cookie) = page.header("set-cookie") {
            cookie.split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        page
    }

    /// A page of the account, such as `/webhooks`.
    pub(super) async fn get(&self, path: &str) -> Page {
        self.send(Method::GET, &self.at(path), &[], None).await
    }

    /// Sends a form of the account, as the page of this session would.
    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let with_token: Vec<_> = [("form_token", &*self.token)].into_iter().chain(fields.iter().copied()).collect();
        let headers = [("origin", PUBLIC), ("sec-fetch-site", "same-origin")];
        self.send(Method::POST, &self.at(path), &headers, Some(&with_token)).await
    }

    /// The whole path of a page of the account.
    pub(super) fn at(&self, path: &str) -> String {
        format!("/accounts/{}{path}", self.account)
    }

    /// Sends any request.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        form: Option<&[(&str, &str)]>,
    ) -> Page {
        let mut request = self.client.request(method, format!("{}{path}", self.server));
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(fields) = form {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Page { status, headers, html: response.text().await.unwrap() }
    }
}

impl Page {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The token of the session's forms.
    pub(super) fn token(&self) -> String {
        let (_, rest) = self.html.split_once("name=\"form-token\" content=\"").unwrap_or_else(|| panic!("{self:?}"));
        rest.split('"').next().unwrap().to_owned()
    }

    /// The hidden fields of its forms, as a browser sends them.
    pub(super) fn hidden(&self) -> Vec<(String, String)> {
        let tags = self.html.split("<input type=\"hidden\" name=\"").skip(1);
        let field = |tag: &str| {
            let (name, rest) = tag.split_once("\" value=\"").unwrap();
            (name.to_owned(), unescaped(rest.split('"').next().unwrap()))
        };
        tags.map(field).collect()
    }

    /// The text that a reader sees: without tags, with single spaces.
    pub(super) fn text(&self) -> String {
        let body = self.html.split_once("<body>").map_or(&*self.html, |(_, body)| body);
        let mut text = String::new();
        for part in body.split('<') {
            let seen = part.split_once('>').map_or(part, |(_, seen)| seen);
            text.push_str(seen);
            text.push(' ');
        }
        unescaped(&text).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Asserts that a reader sees this.
    #[track_caller]
    pub(super) fn says(&self, words: &str) -> &Self {
        assert!(self.text().contains(words), "the page does not say {words:?}: {}", self.text());
        self
    }
}

/// The text that HTML writes.
fn unescaped(html: &str) -> String {
    let text = html.replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"").replace("&#39;", "'");
    text.replace("&#38;", "&")
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}\n{}", self.status, self.headers, self.text())
    }
}
