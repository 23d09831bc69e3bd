//! The HTTP API (`api/`) for a platform's backend, and the settings screen (`screen/`) for its customers.
//!
//! A request passes, from the outside in: the bounded port (`listen.rs`), an id, the limits of its head and its time
//! (`outer.rs`), the router, a door, and a handler. The door of the API asks for a key with its scope and rate (`door.rs`,
//! `rates.rs`). The door of the screen asks for a page of this server and a session (`screen/origin.rs`,
//! `screen/visitor.rs`). A handler parses (`query.rs`, `body.rs`, `fields.rs`, `screen/form.rs`), calls a layer below, and
//! answers with JSON (`answer.rs`) or a page (`screen/page.rs`). An error becomes a problem in one place (`failures.rs`),
//! which `problem.rs` lists and explains; the screen makes a notice of it (`screen/notice.rs`). Rules live below: nothing
//! here decides what a valid webhook or event is.
//!
//! Bytes that are no HTTP/1.1, and a head beyond 64 KiB, never become a request: the port answers them with a status
//! alone.
//!
//! The OpenAPI document (`document.rs`) is made from the handlers, and the scopes that it states are the ones that are
//! enforced.

mod answer;
mod api;
mod body;
mod client;
mod docs;
mod document;
mod door;
mod failures;
mod fields;
mod ops;
mod outer;
mod problem;
mod query;
mod rates;
mod screen;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use http::Uri;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::{
    body::Room,
    door::Policy,
    ops::{Pages, RedisHealth},
    problem::Problem,
    rates::Rates,
    screen::Assets,
};
use crate::{
    access::{ApiKeys, Portal},
    config::{self, Settings},
    domain::{
        address::AllowListError,
        client::{NotANetwork, TrustedProxies},
        event::Catalogue,
        failure::Failure,
    },
    listen::{self, Limits, Turns},
    producer::Producer,
    queue::Queue,
    scrape::Scrape,
    secrets::Vault,
    sender::{Sender, SenderError},
    store::Store,
    supervisor,
    telemetry::metrics::OfServer,
    webhooks::Webhooks,
};

/// The port of probes and scrapes serves short requests only.
const PROBES: Limits = Limits {
    connections_max: 256,
    head_within: Duration::from_secs(1),
    exchange_within: Some(Duration::from_secs(6)),
    head_max_bytes: 16 << 10,
};

/// Everything that handlers need.
struct App {
    settings: config::Server,
    event_max_bytes: usize,
    catalogue: Catalogue,
    store: Store,
    webhooks: Webhooks,
    queue: Queue,
    producer: Producer,
    keys: ApiKeys,
    portal: Portal,
    sender: Sender,
    room: Room,
    rates: Rates,
    /// The proxies whose word on a client's address counts.
    trusted_proxies: TrustedProxies,
    policy: Policy,
    pages: Pages,
    assets: Assets,
    redis_health: RedisHealth,
    scrape: Scrape,
    metrics: OfServer,
    /// The turns of the loop that accepts the API's connections.
    accepting: Arc<Turns>,
    /// Cancelled when the server is told to stop.
    stop: CancellationToken,
}

type Shared = Arc<App>;

/// The reason why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address is in use, or not this machine's.
    #[error("the server cannot listen at {address} ({key}): {source}")]
    Bind {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// `egress.allow` has a fault.
    #[error(transparent)]
    AllowList(#[from] AllowListError),
    /// `server.trusted_proxies` has a fault.
    #[error(transparent)]
    TrustedProxies(#[from] NotANetwork),
    /// The part that sends tests cannot be started.
    #[error(transparent)]
    Sender(#[from] SenderError),
}

impl ServerError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Bind { .. } | Self::AllowList(_) | Self::TrustedProxies(_) => Failure::Usage,
            Self::Sender(error) => error.failure(),
        }
    }
}

/// A server whose ports are open, so that clients that connect now are served.
pub struct Server {
    app: Shared,
    router: Router,
    api: TcpListener,
    probes: Option<TcpListener>,
}

impl Server {
    /// Opens the ports.
    ///
    /// # Errors
    /// [`ServerError`] says which setting to change.
    pub async fn open(
        settings: &Settings,
        store: Store,
        vault: Vault,
        stop: CancellationToken,
    ) -> Result<Self, ServerError> {
        let document = document();
        let policy = Policy::of(&document);
        let catalogue = settings.catalogue();
        let (all, metrics) = OfServer::new();
        let app = Arc::new(App {
            event_max_bytes: usize::try_from(settings.event.max_bytes).unwrap_or(usize::MAX),
            webhooks: Webhooks::new(settings, store.clone(), vault)?,
            queue: Queue::new(store.clone()),
            producer: Producer::new(store.clone(), catalogue.clone()),
            keys: ApiKeys::new(store.clone()),
            portal: Portal::new(&settings.portal, store.clone()),
            sender: Sender::new(&settings.delivery, &settings.egress, &settings.dns)?,
            room: Room::new(settings.server.max_bytes),
            rates: Rates::new(settings.server.requests_per_second, settings.server.tests_per_10s),
            trusted_proxies: TrustedProxies::parse(&settings.server.trusted_proxies)?,
            settings: settings.server.clone(),
            catalogue,
            scrape: Scrape::new(all, store.clone()),
            metrics,
            store,
            pages: Pages::of(&document),
            assets: Assets::new(),
            redis_health: RedisHealth::default(),
            accepting: Arc::new(Turns::of("accepting")),
            policy,
            stop,
        });
        let guarded = Router::from(api::routes()).layer(from_fn_with_state(app.clone(), door::enter));
        let open = Router::from(ops::routes()).merge(screen::routes(&app));
        let router = layered(guarded.merge(open), &app);
        let api = bind("server.bind", settings.server.bind).await?;
        let probes = match settings.server.health_bind {
            Some(address) => Some(bind("server.health_bind", address).await?),
            None => None,
        };
        Ok(Self { app, router, api, probes })
    }

    /// The address of the API.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.api.local_addr()
    }

    /// Serves until the server is told to stop. Then it accepts no more connections, answers the requests in progress
    /// for `server.shutdown_grace` at most, and cuts what is left.
    pub async fn serve(self) {
        let Self { app, router, api, probes } = self;
        let settings = &app.settings;
        let limits = Limits {
            connections_max: settings.max_connections,
            head_within: settings.header_timeout,
            exchange_within: None,
            // A head that is somewhat too large gets an answer that says so.
            head_max_bytes: 64 << 10,
        };
        let probing = probes.map(|port| {
            let probes = layered(ops::probes(), &app);
            let turns = Arc::new(Turns::of("probes"));
            tokio::spawn(listen::serve(port, PROBES, None, turns, CancellationToken::new(), answer_with(probes)))
        });
        let serving = listen::serve(api, limits, None, app.accepting.clone(), app.stop.clone(), answer_with(router));
        let watched = app.clone();
        let feeding = tokio::spawn(supervisor::feed(move || ops::fault(&watched).map(str::to_owned)));
        let telling = async {
            app.stop.cancelled().await;
            tracing::info!("stopping: no more connections are accepted, requests in progress are finished");
            supervisor::stopping().await;
        };
        supervisor::started().await;
        let until_cut = async {
            app.stop.cancelled().await;
            tokio::time::sleep(settings.shutdown_grace).await;
        };
        tokio::select! {
            _ = async { tokio::join!(serving, telling) } => {}
            () = until_cut => {
                tracing::warn!("requests in progress were cut, because server.shutdown_grace has passed");
            }
        }
        feeding.abort();
        if let Some(probing) = probing {
            probing.abort();
        }
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Bind { key, address, source })
}

/// The document of all routes.
fn document() -> OpenApi {
    let mut routes = OpenApiRouter::<Shared>::with_openapi(document::head()).merge(api::routes()).merge(ops::routes());
    let mut document = routes.to_openapi();
    document::complete(&mut document);
    document
}

/// Puts around a router what every request passes.
fn layered(router: Router<Shared>, app: &Shared) -> Router {
    router
        .fallback(nothing)
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(CatchPanicLayer::custom(outer::panicked))
        .layer(from_fn_with_state(app.clone(), outer::outer))
        .with_state(app.clone())
}

/// The answer where nothing is: a page for people, a problem for programs.
async fn nothing(State(app): State<Shared>, uri: Uri) -> Response {
    if uri.path().starts_with("/accounts/") { screen::nothing(&app) } else { Problem::not_found().into_response() }
}

/// A function that answers with a router.
fn answer_with(router: Router) -> impl Fn(http::Request<Incoming>) -> AnswerFuture + Clone + Send + 'static {
    move |request: http::Request<Incoming>| {
        let router = router.clone();
        Box::pin(async move { router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}) })
            as AnswerFuture
    }
}

type AnswerFuture = std::pin::Pin<Box<dyn Future<Output = Response> + Send>>;
