//! The screen's static files. The names of those that pages load have a hash of their bytes, so that browsers keep them
//! for good and never meet an old one.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL};

use crate::server::{
    Shared,
    answer::{read_typed, typed},
    ops::Name,
    problem::Problem,
};

/// The files that pages load.
pub(in crate::server) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    pub(super) icon: Asset,
}

/// A file and its path.
pub(super) struct Asset {
    pub(super) path: String,
    media_type: &'static str,
    bytes: &'static str,
}

const EMBED: &str = include_str!("embed.js");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

impl Assets {
    pub(in crate::server) fn new() -> Self {
        Self {
            style: Asset::new("css", "text/css; charset=utf-8", include_str!("screen.css")),
            script: Asset::new("js", JAVASCRIPT, include_str!("screen.js")),
            icon: Asset::new("svg", "image/svg+xml", include_str!("icon.svg")),
        }
    }
}

impl Asset {
    fn new(extension: &str, media_type: &'static str, bytes: &'static str) -> Self {
        let hash = digest(&SHA256, bytes.as_bytes());
        let hash = hash.as_ref()[..6].iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { path: format!("/screen/screen-{hash}.{extension}"), media_type, bytes }
    }
}

/// A file that pages load.
pub(super) async fn file(State(app): State<Shared>, Name(name): Name) -> Result<Response, Problem> {
    let all = [&app.assets.style, &app.assets.script, &app.assets.icon];
    let found = all.into_iter().find(|asset| asset.path.ends_with(&format!("/{name}")));
    let asset = found.ok_or_else(Problem::not_found)?;
    Ok(kept(typed(StatusCode::OK, asset.media_type, asset.bytes)))
}

/// The script with which a platform's page shows the screen.
pub(super) async fn embed(headers: HeaderMap) -> Response {
    let mut response = read_typed(&headers, JAVASCRIPT, EMBED.into());
    // Its name has no hash, because platforms write it into their pages.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("cross-origin"));
    response.into_response()
}

/// A file that never changes.
pub(super) fn kept(mut response: Response) -> Response {
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(CACHE_CONTROL, forever);
    response
}
