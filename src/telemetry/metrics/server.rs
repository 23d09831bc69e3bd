//! A server: its requests, and the events that it took.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

use super::{Metrics, REQUEST_SECONDS, add};

/// The methods that the program knows. A client may make up others.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A request, as it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

/// A route, whose time is measured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// The metrics of a server.
#[derive(Debug)]
pub struct OfServer {
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    events_accepted: Counter,
}

impl OfServer {
    /// The metrics of a server that has answered nothing yet, and all metrics of its process.
    pub fn new() -> (Metrics, Self) {
        let mut all = Metrics::new("server");
        let registry = &mut all.registry;
        let requests = add(registry, "requests", "Requests, by method, route and status");
        let durations = Family::new_with_constructor((|| Histogram::new(REQUEST_SECONDS)) as fn() -> Histogram);
        let help = "Time from a request's head to its answer, by route";
        registry.register("request_duration_seconds", help, durations.clone());
        let events_accepted = add(registry, "events_accepted", "Events that were enqueued over the API");
        (all, Self { requests, durations, events_accepted })
    }

    /// Counts a request. `route` is the router's pattern, so there are few; `None` if no route has the path.
    pub fn answered(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let route = route.unwrap_or("none").to_owned();
        let method = METHODS.into_iter().find(|known| method == known).unwrap_or("other");
        self.durations.get_or_create_owned(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create_owned(&Request { method, route, status: status.as_u16() }).inc();
    }

    /// Counts events that were enqueued.
    pub fn accepted(&self, events: usize) {
        self.events_accepted.inc_by(events as u64);
    }
}
