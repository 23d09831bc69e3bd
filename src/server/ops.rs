//! The server itself: health, the document, and pages. None of it needs a key, and none of it has customers' data.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, State},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY},
    request::Parts,
};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use utoipa::{ToSchema, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Shared,
    answer::{json, typed},
    docs,
    door::parameter,
    problem::{Problem, ProblemJson},
};
use crate::{store::AwayMaster, telemetry::metrics};

/// Redis is asked at most once in this time, however many probes come.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The loop that accepts connections takes a turn every second while it works.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Redis has to answer within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The answer to a probe.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Whether all checks hold.
    ok: bool,
    /// The checks that were made.
    checks: Vec<HealthCheck>,
}

/// One check of a probe.
#[derive(Serialize, ToSchema)]
pub(super) struct HealthCheck {
    /// `accepting`: the server accepts connections. `serving`: it is not stopping. `redis`: Redis answers.
    name: &'static str,
    /// Whether it holds.
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'static str>,
    /// A note for operators, although it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

/// The last answer of Redis, and its time.
#[derive(Default)]
pub(super) struct RedisHealth(Mutex<Option<(Instant, Arc<Reached>)>>);

/// The masters that were asked.
#[derive(Default)]
struct Reached {
    /// The number of those that answered.
    there: usize,
    /// Those of a cluster that did not.
    away: Vec<AwayMaster>,
}

/// The document, and its page.
pub(super) struct Pages {
    document: Bytes,
    docs: Bytes,
}

impl Pages {
    pub(super) fn of(document: &OpenApi) -> Self {
        Self {
            document: serde_json::to_vec_pretty(document).expect("plain JSON").into(),
            docs: docs::page(document).into(),
        }
    }
}

/// The routes without a key, with their part of the document.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    let documented = OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(openapi))
        .routes(routes!(documentation))
        .routes(routes!(problem));
    documented.route("/docs/style.css", get(style))
}

/// The routes of the port for probes and scrapes.
pub(super) fn probes() -> Router<Shared> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz_in_detail))
        .route("/metrics", get(scraped))
}

async fn scraped(State(app): State<Shared>) -> Response {
    typed(StatusCode::OK, metrics::CONTENT_TYPE, app.scrape.text().await)
}

/// Why the server should be restarted.
pub(super) fn fault(app: &Shared) -> Option<&'static str> {
    let is_wedged = app.accepting.since_last() > TURN_WITHIN && !app.stop.is_cancelled();
    is_wedged.then_some("the loop that accepts connections has not run for 10 s")
}

fn accepting(app: &Shared) -> HealthCheck {
    let error = fault(app);
    HealthCheck { name: "accepting", ok: error.is_none(), error, warning: None }
}

/// Whether the server works. If not, restart it.
#[utoipa::path(
    get, operation_id = "getHealth", path = "/healthz", tag = "server", security(()),
    responses((status = 200, body = Health), (status = 503, description = "A check fails", body = Health)),
)]
pub(super) async fn healthz(State(app): State<Shared>) -> Response {
    answer(vec![accepting(&app)])
}

/// Whether the server can serve: it is not stopping, and Redis answers; of a cluster, at least one master.
#[utoipa::path(
    get, operation_id = "getReadiness", path = "/readyz", tag = "server", security(()),
    responses((status = 200, body = Health), (status = 503, description = "A check fails", body = Health)),
)]
pub(super) async fn readyz(State(app): State<Shared>) -> Response {
    // Anybody may ask here, so no address is told.
    let warning = |Reached { there, away }: &Reached| {
        let (away, all) = (away.len(), there + away.len());
        (away > 0).then(|| format!("{away} of the {all} masters of Redis do not answer"))
    };
    readiness(&app, warning).await
}

/// The same for operators, who are told which masters do not answer.
async fn readyz_in_detail(State(app): State<Shared>) -> Response {
    let warning = |Reached { away, .. }: &Reached| {
        let away: Vec<String> = away.iter().map(AwayMaster::to_string).collect();
        (!away.is_empty()).then(|| away.join("; "))
    };
    readiness(&app, warning).await
}

async fn readiness(app: &Shared, warning: impl Fn(&Reached) -> Option<String>) -> Response {
    let check = |name, ok: bool, error| HealthCheck { name, ok, error: (!ok).then_some(error), warning: None };
    let serving = check("serving", !app.stop.is_cancelled(), "the server is stopping");
    let reached = reached(app).await;
    let redis = HealthCheck {
        warning: warning(&reached).filter(|_| reached.there > 0),
        ..check("redis", reached.there > 0, "Redis does not answer")
    };
    answer(vec![accepting(app), serving, redis])
}

fn answer(checks: Vec<HealthCheck>) -> Response {
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Health { ok, checks })
}

async fn reached(app: &Shared) -> Arc<Reached> {
    let mut known = app.redis_health.0.lock().await;
    if let Some((_, reached)) = known.as_ref().filter(|(asked, _)| asked.elapsed() < ASK_EVERY) {
        return reached.clone();
    }
    let mut reached = Reached::default();
    for (master, answer) in timeout(ANSWER_WITHIN, app.store.reached()).await.unwrap_or_default() {
        match answer {
            Ok(()) => reached.there += 1,
            Err(error) => reached.away.extend(AwayMaster::of(&master, &error)),
        }
    }
    let reached = Arc::new(reached);
    *known = Some((Instant::now(), reached.clone()));
    reached
}

/// This document.
#[utoipa::path(
    get, operation_id = "getDocument", path = "/openapi.json", tag = "server", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(super) async fn openapi(State(app): State<Shared>) -> Response {
    typed(StatusCode::OK, "application/json", app.pages.document.clone())
}

/// This document as a page.
#[utoipa::path(
    get, operation_id = "getDocumentation", path = "/docs", tag = "server", security(()),
    responses((status = 200, description = "A page", body = String, content_type = "text/html")),
)]
pub(super) async fn documentation(State(app): State<Shared>) -> Response {
    page(app.pages.docs.clone())
}

/// The meaning of a problem, and the next step.
#[utoipa::path(
    get, operation_id = "getProblem", path = "/problems/{name}", tag = "server", security(()),
    params(("name" = String, Path, description = "The last part of a problem's `type`")),
    responses(
        (status = 200, description = "A page", body = String, content_type = "text/html"),
        (status = 404, description = "`about:blank`: there is no such problem", body = ProblemJson, content_type = "application/problem+json"),
    ),
    extensions(("x-problems" = json!(["malformed"]))),
)]
pub(super) async fn problem(Name(name): Name) -> Result<Response, Problem> {
    docs::problem_page(&name).map(|html| page(html.into())).ok_or_else(Problem::not_found)
}

/// The name of a problem, from the path.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parameter(parts, state, "name").await.map(Self)
    }
}

async fn style() -> Response {
    typed(StatusCode::OK, "text/css; charset=utf-8", docs::STYLE)
}

fn page(html: Bytes) -> Response {
    let mut response = typed(StatusCode::OK, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(docs::CSP));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
