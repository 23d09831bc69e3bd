//! Two workers and a server that a Prometheus scrapes.

use tokio::process::Command;

use super::prometheus::Prometheus;
use crate::support::*;

/// Settings with which a lost worker and a retry are seen within seconds.
const QUICK: [(&str, &str); 5] = [
    ("LYNKHOOK_WORKER__LEASE", "5s"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "300ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "900ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "2s"),
];

/// The processes, and who watches them.
pub(super) struct Scene {
    pub(super) here: Installation,
    pub(super) workers: [Process; 2],
    _server: Process,
    /// The addresses of the metrics.
    watched: [String; 3],
    /// The workers' program.
    program: Program,
    /// The address of the server's API.
    pub(super) api: String,
    pub(super) prometheus: Prometheus,
}

impl Scene {
    /// Starts all, with these settings besides, and waits until Prometheus has seen each.
    pub(super) async fn start(here: Installation, extra: &[(&str, &str)], rules: &str) -> Self {
        let program =
            QUICK.iter().chain(extra).fold(here.program.clone(), |program, (name, value)| program.env(name, value));
        let [first, second, third, api] = std::array::from_fn(|_| format!("127.0.0.1:{}", unused_port()));
        let worker = |address: &String| program.worker([("LYNKHOOK_WORKER__HEALTH_BIND", address.as_str())]);
        let workers = [worker(&first), worker(&second)];
        let server = program.clone().env("LYNKHOOK_SERVER__BIND", &api).env("LYNKHOOK_SERVER__HEALTH_BIND", &third);
        let server = server.start(["server"]);
        for worker in &workers {
            worker.wait_for_line("worker started").await;
        }
        server.wait_for_line("the API is served").await;
        let jobs = [("lynkhook-worker", vec![first.clone(), second.clone()]), ("lynkhook-server", vec![third.clone()])];
        let prometheus = Prometheus::start(&jobs, rules).await;
        prometheus.sees(3).await;
        Self { here, workers, _server: server, watched: [first, second, third], program, api, prometheus }
    }

    /// `promtool` finds nothing amiss in the metrics of worker and server.
    pub(super) async fn check_metrics(&self) {
        for address in &self.watched {
            let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
            let mut command = Command::new("promtool");
            command.args(["check", "metrics"]);
            let output = Process::spawn(command, text.into_bytes()).output(SOON).await;
            assert_eq!((output.code, &*output.stdout, &*output.stderr), (Some(0), "", ""), "{address}");
        }
    }

    /// Starts a killed worker again, at the same address.
    pub(super) async fn replace(&mut self, worker: usize) {
        let address = [("LYNKHOOK_WORKER__HEALTH_BIND", self.watched[worker].as_str())];
        self.workers[worker] = self.program.worker(address);
        self.workers[worker].wait_for_line("worker started").await;
    }

    /// Waits until a worker has at least this many entries in hand, and kills it. Answers which it was, and its entries.
    pub(super) async fn kill_the_fuller(&mut self, least: f64) -> (usize, f64) {
        let (instance, entries) = eventually(SOON, "a worker with entries in hand", async || {
            let in_hand = self.prometheus.query("sort_desc(lynkhook_in_flight)").await;
            let (labels, entries) = in_hand.first()?;
            (*entries >= least).then(|| (labels["instance"].clone(), *entries))
        })
        .await;
        let fuller = usize::from(!self.workers[0].stderr().contains(&instance));
        self.workers[fuller].kill9().await;
        (fuller, entries)
    }

    /// Adds this many events of an account.
    pub(super) async fn push(&self, account: &str, events: usize) {
        for _ in 0..events {
            self.here.push(account, TRANSCRIPT).await;
        }
    }
}
