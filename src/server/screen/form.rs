//! The fields of a form, and the token that each form has.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{FromRequest, FromRequestParts, Request};

use super::{notice::Notice, visitor::Visiting};
use crate::server::{Shared, body, problem::Problem};

/// The name of the field with the session's token.
pub(super) const TOKEN: &str = "form_token";
/// The media type of a form.
const URLENCODED: &str = "application/x-www-form-urlencoded";
/// The largest form: its longest field is a URL.
const MAX_BYTES: usize = 64 << 10;
/// The fields that a page may show again if their form has failed, each with its label. None is a secret.
const SHOWN_AGAIN: [(&str, &str); 4] =
    [("url", "URL"), ("event", "Events"), ("header_name", "Header name"), ("description", "Description")];

/// The fields of a form that a page of this session sent.
pub(super) struct Form(pub(super) Fields);

/// The fields of a form, and whether a page of this session sent it. If not, nothing may change.
pub(super) struct Draft {
    pub(super) fields: Fields,
    pub(super) is_current: bool,
}

/// Fields in order; a name may occur several times.
#[derive(Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    async fn read(app: &Shared, request: Request) -> Result<Self, Problem> {
        let held = body::read(app, request, MAX_BYTES, &[URLENCODED]).await?;
        Ok(Self(url::form_urlencoded::parse(&held.bytes).into_owned().collect()))
    }

    /// A field's text as it was sent; empty if it is absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All texts of a field.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, text)| &**text)
    }

    /// Whether the field was sent, as a checkbox that is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The texts that a page may show again if the form has failed, each with its label.
    pub(super) fn shown_again(&self) -> Vec<(&'static str, String)> {
        let shown = SHOWN_AGAIN.iter().flat_map(|(name, label)| self.all(name).map(|text| (*label, text.to_owned())));
        shown.filter(|(_, text)| !text.is_empty()).collect()
    }
}

impl FromRequest<Shared> for Draft {
    type Rejection = Notice;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Notice> {
        let (mut parts, body) = request.into_parts();
        let Visiting(visitor) = Visiting::from_request_parts(&mut parts, app).await?;
        let fields = Fields::read(app, Request::from_parts(parts, body)).await?;
        let given = fields.text(TOKEN).as_bytes();
        let is_current = verify_slices_are_equal(given, visitor.look.form_token.as_bytes()).is_ok();
        Ok(Self { fields, is_current })
    }
}

impl FromRequest<Shared> for Form {
    type Rejection = Notice;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Notice> {
        let Draft { fields, is_current } = Draft::from_request(request, app).await?;
        if is_current { Ok(Self(fields)) } else { Err(Notice::STALE) }
    }
}

/// The fields of a form without a session.
pub(super) async fn bare(app: &Shared, request: Request) -> Result<Fields, Problem> {
    Fields::read(app, request).await
}

/// The texts of a form that came after its session had ended, each with its label, so that nothing typed is lost.
pub(super) async fn typed(app: &Shared, request: Request) -> Vec<(&'static str, String)> {
    if request.method() != http::Method::POST {
        return Vec::new();
    }
    Fields::read(app, request).await.map(|fields| fields.shown_again()).unwrap_or_default()
}
