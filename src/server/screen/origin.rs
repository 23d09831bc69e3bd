//! Judges from which page a form was sent. Only pages of this server may send one.
//!
//! A browser says so in `Sec-Fetch-Site`, in `Origin`, or in both; a request with neither is refused. Each form has a
//! token as well (`form.rs`).

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, header::ORIGIN};

use super::notice::Notice;
use crate::{domain::origin::WebOrigin, server::Shared};

/// Lets requests pass that change nothing, and forms of this server's own pages.
pub(super) async fn judge(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD)
        || is_own(request.headers(), app.settings.public_url.as_deref())
    {
        return next.run(request).await;
    }
    Notice::OTHER_SITE.into_response()
}

/// Whether a page of this server sent the request. `public_url` is the server's address for browsers.
fn is_own(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let says_same_origin = match headers.get("sec-fetch-site").map(text) {
        None => false,
        Some(site) if site == "same-origin" => true,
        Some(_) => return false,
    };
    match headers.get(ORIGIN).map(text) {
        None => says_same_origin,
        // A page whose Referrer-Policy hides its origin.
        Some(origin) if origin == "null" => says_same_origin,
        // Browsers come by links, which begin with the public URL.
        Some(origin) => public_url.and_then(WebOrigin::of_page).is_some_and(|(public, _)| public.as_str() == origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_comes_from_a_page_of_this_server_or_is_refused() {
        let own = |site: Option<&str>, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("sec-fetch-site", site), ("origin", origin)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            is_own(&headers, Some("https://hooks.example.com/lynkhook"))
        };
        let public = Some("https://hooks.example.com");
        for (site, origin) in [
            (Some("same-origin"), public),
            (Some("same-origin"), None),
            (Some("same-origin"), Some("null")),
            (None, public),
        ] {
            assert!(own(site, origin), "{site:?} {origin:?}");
        }
        for (site, origin) in [
            (None, None),
            (None, Some("null")),
            (None, Some("https://evil.example")),
            (None, Some("https://hooks.example.com.evil.example")),
            (None, Some("http://hooks.example.com")),
            (Some("same-origin"), Some("http://hooks.example.com")),
            (Some("same-origin"), Some("https://evil.example")),
            (Some("same-site"), public),
            (Some("cross-site"), public),
            (Some("cross-site"), None),
            (Some("none"), None),
            (Some(""), public),
        ] {
            assert!(!own(site, origin), "{site:?} {origin:?}");
        }
    }
}
