//! Successful answers: JSON, revisions and entity tags.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH},
};
use serde::Serialize;

use super::{body::JSON, problem::Problem};

/// An answer as JSON.
pub(super) fn json(status: StatusCode, shape: &impl Serialize) -> Response {
    typed(status, JSON, serde_json::to_vec(shape).expect("plain JSON"))
}

/// An answer of this media type.
pub(super) fn typed(status: StatusCode, media_type: &'static str, bytes: impl Into<Body>) -> Response {
    let mut response = (status, bytes.into()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // Answers hold customers' data, and each may change at any time.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a read. Its entity tag is made from its bytes; 304 if the client has these.
pub(super) fn read(headers: &HeaderMap, shape: &impl Serialize) -> Response {
    read_typed(headers, JSON, serde_json::to_vec(shape).expect("plain JSON").into())
}

/// The same for bytes of this media type.
pub(super) fn read_typed(headers: &HeaderMap, media_type: &'static str, bytes: Bytes) -> Response {
    let tag = URL_SAFE_NO_PAD.encode(&digest(&SHA256, &bytes).as_ref()[..12]);
    unless_known(headers, &format!("\"{tag}\""), typed(StatusCode::OK, media_type, bytes))
}

/// The answer to a read of something with a revision, which is its entity tag.
pub(super) fn read_revision(headers: &HeaderMap, revision: u64, shape: &impl Serialize) -> Response {
    unless_known(headers, &format!("\"{revision}\""), json(StatusCode::OK, shape))
}

/// An answer with a revision as its entity tag.
pub(super) fn with_revision(mut response: Response, revision: u64) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits");
    response.headers_mut().insert(ETAG, tag);
    response
}

fn unless_known(headers: &HeaderMap, tag: &str, response: Response) -> Response {
    let known = tags(headers, &IF_NONE_MATCH).any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let mut response = if known {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    } else {
        response
    };
    response.headers_mut().insert(ETAG, HeaderValue::from_str(tag).expect("visible characters"));
    response
}

/// The revision that If-Match names; `None`: any.
pub(super) fn asked_revision(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut given = headers.get_all(IF_MATCH).iter();
    // A header that is there and says nothing readable is refused: its client means to be careful.
    let asked = match (given.next(), given.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().unwrap_or_default().trim(),
        (Some(_), Some(_)) => return Err(Problem::malformed("If-Match may name one revision")),
    };
    if asked == "*" {
        return Ok(None);
    }
    // A proxy that compresses makes the tag a weak one.
    let digits = asked.strip_prefix("W/").unwrap_or(asked).strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    // Revisions begin with 1, and each has one spelling.
    let revision =
        |digits: &str| digits.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == digits);
    digits.and_then(revision).map(Some).ok_or_else(|| {
        Problem::malformed(
            "If-Match is not a webhook's revision: send the header ETag of its last answer, such as \"7\"",
        )
    })
}

fn tags<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|tag| !tag.is_empty())
}
