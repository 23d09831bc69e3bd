//! The door: it judges the key of a request, the scope that its route needs, and the account that it names.
//!
//! The OpenAPI document says which scope a route needs, and the same words are enforced here. So the document cannot
//! say anything else than what holds, and a route that the document does not have is not served.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, header::AUTHORIZATION, request::Parts};
use utoipa::openapi::{OpenApi, path::Operation};

use super::{
    Shared,
    problem::{FORBIDDEN, NO_SUCH_WEBHOOK, Problem},
};
use crate::{
    access::{Caller, Cause, Denied},
    domain::{
        account::AccountId,
        api_key::{PREFIX, Scope},
        webhook::WebhookId,
    },
};

/// The name of the bearer scheme in the document.
pub(super) const SCHEME: &str = "key";

/// The methods of each path, each with the scope that it needs; `None`: any key.
pub(super) struct Policy(HashMap<String, Vec<(Method, Option<Scope>)>>);

impl Policy {
    /// The policy that the document states.
    ///
    /// # Panics
    /// If an operation states no scope, or one that does not exist: the program would serve it to everyone.
    pub(super) fn of(document: &OpenApi) -> Self {
        let operations = document.paths.paths.iter().flat_map(|(path, item)| {
            let all = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            all.into_iter().filter_map(move |(method, operation)| Some((method, path, operation.as_ref()?)))
        });
        let mut methods: HashMap<String, Vec<_>> = HashMap::new();
        for (method, path, operation) in operations.filter(|(_, path, _)| path.starts_with("/v1/")) {
            methods.entry(path.clone()).or_default().push((method, scope(path, operation)));
        }
        Self(methods)
    }
}

fn scope(path: &str, operation: &Operation) -> Option<Scope> {
    let security = operation.security.as_deref().unwrap_or_default();
    let value = serde_json::to_value(security).expect("plain JSON");
    let scopes = value[0][SCHEME].as_array().unwrap_or_else(|| panic!("{path} states no scope"));
    assert!(scopes.len() <= 1, "{path} states several scopes");
    scopes.first().map(|scope| scope.as_str().and_then(|scope| scope.parse().ok()).expect("a scope"))
}

/// Lets a request of `/v1` in, or answers why not. Afterwards the request has its [`Caller`].
pub(super) async fn enter(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let span = tracing::Span::current();
    span.record("route", &path);
    let Some(methods) = app.policy.0.get(&path) else {
        tracing::error!("the router has a path that the document does not have");
        return Problem::internal().into_response();
    };
    let Some((_, needed)) = methods.iter().find(|(known, _)| *known == method) else {
        // The router answers with the methods that it has, which are the document's.
        return next.run(request).await;
    };
    let token = match presented(&app, &request) {
        Ok(token) => token,
        Err(problem) => return problem.into_response(),
    };
    let caller = match app.keys.authenticate(&token).await {
        Ok(caller) => caller,
        Err(denied) => return Problem::from(denied).into_response(),
    };
    span.record("key", caller.id.as_str());
    let counted = match app.rates.take(caller.id.as_str()) {
        Ok(counted) => counted,
        Err(problem) => return problem.into_response(),
    };
    if let Some(scope) = needed.filter(|scope| !caller.may(*scope)) {
        app.keys.count_refusal(Cause::Scope);
        let detail = format!("this route needs the scope `{scope}`, which the key `{}` does not have", caller.name);
        return counted.on(Problem::new(&FORBIDDEN, detail).into_response());
    }
    request.extensions_mut().insert(caller);
    counted.on(next.run(request).await)
}

/// The token that a request presents.
fn presented(app: &Shared, request: &Request) -> Result<String, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let has_key = |text: &str| text.split(' ').any(|word| word.starts_with(PREFIX));
    if url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| has_key(&name) || has_key(&value)) {
        app.keys.count_refusal(Cause::InQuery);
        return Err(Problem::unauthenticated(
            "a key in the URL is refused, because URLs are logged: revoke this key, and send another one in the \
             header Authorization",
        ));
    }
    let mut given = request.headers().get_all(AUTHORIZATION).iter();
    let token = match (given.next(), given.next()) {
        (Some(header), None) => header.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        }),
        _ => None,
    };
    token.ok_or_else(|| {
        app.keys.count_refusal(Cause::Malformed);
        Problem::unauthenticated("send the header `Authorization: Bearer lynk_…`, once")
    })
}

/// The caller of a request that was let in.
pub(super) struct Who(pub(super) Arc<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Arc<Caller>>().cloned().map(Who).ok_or_else(|| {
            tracing::error!("a request was let in without a key");
            Problem::internal()
        })
    }
}

/// The account of the path, which the key may act for.
pub(super) struct Account(pub(super) AccountId);

impl FromRequestParts<Shared> for Account {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let Who(caller) = Who::from_request_parts(parts, state).await?;
        let text = parameter(parts, state, "account").await?;
        let account: AccountId =
            text.parse().map_err(|error| Problem::malformed(format!("the path's account: {error}")))?;
        if caller.may_touch(&account) {
            return Ok(Self(account));
        }
        state.keys.count_refusal(Cause::Account);
        Err(Problem::new(&FORBIDDEN, format!("the key `{}` belongs to another account", caller.name)))
    }
}

/// The account and the webhook of the path.
pub(super) struct OfWebhook(pub(super) AccountId, pub(super) WebhookId);

impl FromRequestParts<Shared> for OfWebhook {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let Account(account) = Account::from_request_parts(parts, state).await?;
        let id = parameter(parts, state, "id").await?.parse().map_err(|_| {
            Problem::new(
                &NO_SUCH_WEBHOOK,
                format!("account {account} has no webhook with this id; an id begins with wh_"),
            )
        })?;
        Ok(Self(account, id))
    }
}

/// A parameter of the path, decoded.
pub(super) async fn parameter<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, Problem> {
    let parameters = RawPathParams::from_request_parts(parts, state).await;
    let parameters = parameters.map_err(|_| Problem::malformed("the path is not UTF-8"))?;
    let found = parameters.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.to_owned()).ok_or_else(Problem::not_found)
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Store(error) => error.into(),
            refused => Self::unauthenticated(refused.to_string()),
        }
    }
}
