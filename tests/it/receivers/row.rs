//! The rows: a server and its settings, the load, and the promise.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;

use super::{
    attempts::{self, attempts},
    early::{self, curl},
    load::{FETCH_ADDRESS, Fetch, Pace},
    recipes::{APACHE, APP, GUNICORN, GUNICORN_THREADS, HAPROXY, NGINX, NODE, NODE_EARLY, Recipe, UVICORN},
    server::{Server, version},
    tell::{Ending, Figures, Loaded},
};
use crate::support::{Installation, Process, Receiver, SOON, TELLING, eventually};

/// The account that gets the events.
pub const ACCOUNT: &str = "acme";
/// The address that the kernel chooses for the worker's connections.
const WORKER_ADDRESS: [u8; 4] = [127, 0, 0, 1];
/// The time that waiting deliveries may take after the load; those of a limited server need most of it.
const DRAINED_WITHIN: Duration = Duration::from_secs(180);

/// 100 events a second for 20 s.
const STEADY: Pace = Pace::new(1, Duration::from_millis(10), 2000);
/// The same number, but in bursts that find connections idle for a second.
const EACH_SECOND: Pace = Pace::new(100, Duration::from_secs(1), 20);
/// The same number of events, but in bursts that find connections idle for a second.
const BURSTS_OF_60: Pace = Pace::new(60, Duration::from_secs(5), 4);

/// The proxy refuses connections beyond ten from one address.
const TEN_CONNECTIONS: &str = "stick-table type ip size 100k store conn_cur
    tcp-request connection track-sc0 src
    tcp-request connection reject if { sc0_conn_cur gt 10 }";
/// The app behind the proxy answers after this many ms, so it can take 33 requests a second from one address.
const SLOW_MS: u64 = 300;

pub struct Row {
    recipe: &'static Recipe,
    name: &'static str,
    /// An addition to the server's files or command line.
    more: &'static str,
    /// How long the app behind a front takes to answer.
    delay_ms: u64,
    deed: Deed,
}

#[derive(Clone, Copy)]
enum Deed {
    /// The server replaces its processes in the middle of the load.
    Renewed(Pace),
    Quiet(Pace),
    /// The server allows fewer connections than the load needs.
    Limited(Pace),
    /// The server answers with this status before it has read the body.
    Early {
        status: u16,
        lingers: bool,
    },
}

pub const ROWS: [Row; 15] = [
    Row::new(&NGINX, "reload", Deed::Renewed(STEADY)),
    Row::new(&NGINX, "keepalive_requests 1000", Deed::Quiet(STEADY)).with("keepalive_requests 1000;"),
    Row::new(&NGINX, "keepalive_timeout 1s", Deed::Quiet(STEADY)).with("keepalive_timeout 1s;"),
    Row::new(&NGINX, "keepalive_timeout 1s, 100 events each second", Deed::Quiet(EACH_SECOND))
        .with("keepalive_timeout 1s;"),
    Row::new(&NGINX, "413 before the body", Deed::Early { status: 413, lingers: true })
        .with("client_max_body_size 1k;"),
    Row::new(&APACHE, "graceful restart", Deed::Renewed(STEADY)),
    Row::new(&HAPROXY, "reload", Deed::Renewed(STEADY)),
    Row::new(&HAPROXY, "10 connections, app of 300 ms", Deed::Limited(STEADY)).with(TEN_CONNECTIONS).slow(),
    Row::new(&HAPROXY, "10 connections, app of 300 ms, bursts of 60", Deed::Limited(BURSTS_OF_60))
        .with(TEN_CONNECTIONS)
        .slow(),
    Row::new(&NODE, "rolling restart", Deed::Renewed(STEADY)),
    Row::new(&NODE_EARLY, "401 before the body, close_notify", Deed::Early { status: 401, lingers: false })
        .with("close"),
    Row::new(&NODE_EARLY, "401 before the body, plain close", Deed::Early { status: 401, lingers: false })
        .with("destroy"),
    Row::new(&UVICORN, "rolling restart", Deed::Renewed(STEADY)),
    Row::new(&GUNICORN, "reload, workers that close after each answer", Deed::Renewed(STEADY)),
    Row::new(&GUNICORN_THREADS, "reload, workers with threads", Deed::Renewed(STEADY)),
];

impl Row {
    const fn new(recipe: &'static Recipe, name: &'static str, deed: Deed) -> Self {
        Self { recipe, name, more: "", delay_ms: 0, deed }
    }

    const fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    const fn slow(self) -> Self {
        Self { delay_ms: SLOW_MS, ..self }
    }

    pub fn name(&self) -> String {
        format!("{}: {}", self.recipe.program, self.name)
    }

    /// The load in words.
    pub fn announcement(&self) -> String {
        match self.deed {
            Deed::Renewed(pace) | Deed::Quiet(pace) | Deed::Limited(pace) => {
                format!("{} events in {:?}, as many by Node's fetch", pace.requests(), pace.length())
            }
            Deed::Early { .. } => "bodies of three sizes, 100 tries each, as many by curl".to_owned(),
        }
    }

    pub async fn run(&'static self) -> Ending {
        // Every row needs Node: as the client to compare with, or as the app.
        let [Some(version), Some(_)] = [self.recipe, &NODE].map(version) else {
            return Ending::Skipped(format!("{} or {} is not installed", self.recipe.program, NODE.program));
        };
        let scene = Scene::start(self).await;
        let figures = match self.deed {
            Deed::Renewed(pace) | Deed::Quiet(pace) | Deed::Limited(pace) => scene.load(pace, self.deed).await,
            Deed::Early { status, lingers } => early::compare(&scene, status, lingers).await,
        };
        keep_log(&self.name(), &scene.worker.stderr());
        Ending::Ran { version, figures }
    }
}

/// The folder that keeps the worker's log of each row until the row runs again.
pub fn logs() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("receivers")
}

fn keep_log(row: &str, said: &str) {
    let file = logs().join(row.replace(|character: char| !character.is_ascii_alphanumeric(), "-") + ".log");
    fs::create_dir_all(logs()).and_then(|()| fs::write(file, said)).expect("a log can be written");
}

/// A worker with one webhook, and the server that it delivers to.
pub struct Scene {
    pub here: Installation,
    pub worker: Process,
    pub server: Server,
    webhook: WebhookId,
    /// A receiver that gets no requests; only its file with the authority's certificate is used.
    authority: Receiver,
    _app: Option<Server>,
}

impl Scene {
    async fn start(row: &Row) -> Self {
        let authority = Receiver::start().await;
        let mut app = None;
        if row.recipe.is_front {
            let answers = async |port| tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            app = Some(Server::start(&APP, None, &row.delay_ms.to_string(), answers).await);
        }
        let answers = async |port| (200..500).contains(&curl(port, authority.ca_file(), None).await);
        let server = Server::start(row.recipe, app.as_ref().map(|app| app.port), row.more, answers).await;
        let mut here = Installation::new(&authority).await;
        for (name, value) in TELLING {
            here = here.with(name, value).await;
        }
        // The test counts deliveries that failed for good, so none of them may be dropped.
        here = here.with("LYNKHOOK_FAILED__LIMIT", "100000").await;
        if matches!(row.deed, Deed::Early { .. }) {
            // One try is one attempt.
            here = here.with("LYNKHOOK_DELIVERY__RETRY_DELAYS", "").await;
        }
        let webhook = here.add(ACCOUNT, &format!("https://localhost:{}/", server.port)).await;
        let worker = here.program.worker([]);
        worker.wait_for_line("worker started").await;
        Self { here, worker, server, webhook, authority, _app: app }
    }

    /// The file with the certificate of the server's authority.
    pub fn ca_file(&self) -> &Path {
        self.authority.ca_file()
    }

    /// Lets the worker and Node's client send at this pace, and waits until no delivery is left.
    async fn load(&self, pace: Pace, deed: Deed) -> Figures {
        let before = self.server.children();
        let fetch = Fetch::start(self.server.port, self.ca_file(), pace).await;
        let in_the_middle = async {
            if matches!(deed, Deed::Renewed(_)) {
                tokio::time::sleep(pace.length() / 2).await;
                self.server.renew();
                let renewed = async || (!self.server.children().is_subset(&before)).then_some(());
                eventually(SOON, "a new process of the server", renewed).await;
            }
        };
        let ((), (), fetched) = tokio::join!(pace.push(&self.here, ACCOUNT), in_the_middle, fetch.end());
        self.here.drained_within(DRAINED_WITHIN).await;
        let attempts = attempts(&self.worker.stderr());
        let firsts = || attempts.iter().filter(|attempt| attempt.number == 1);
        let failed = self.here.key(&format!("failed:{}", self.webhook));
        Figures::Loaded(Loaded {
            events: pace.requests(),
            first_attempts: firsts().count(),
            lost: attempts::reasons(firsts().filter(|attempt| !attempt.is_good())),
            delivered: attempts.iter().filter(|attempt| attempt.is_good()).count(),
            failed: self.here.redis.clone().xlen(failed).await.expect("Redis is up"),
            fetched,
            connections: [WORKER_ADDRESS, FETCH_ADDRESS].map(|address| self.server.connections_from(address)),
            is_limited: matches!(deed, Deed::Limited(_)),
        })
    }
}
