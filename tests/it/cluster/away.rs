//! While one master is away, every surface goes on for the partitions of the others, and names the one that is away.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, redirect::Policy};
use serde_json::{Value, json};

use super::scene::{PARTITIONS, account_of};
use crate::{health::Probed, support::*, watch::text::Metrics};

/// The address of the screen as browsers know it.
const PUBLIC: &str = "https://hooks.example.test";
const FORM: &str = "application/x-www-form-urlencoded";
/// A surface that looks at all masters waits no longer for one that hangs.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// For longer than a table of API keys holds.
const TABLE_HOLDS: Duration = Duration::from_secs(7);
/// For longer than a question takes to which no answer comes, and an attempt to connect after it.
const QUESTION_LIMIT: Duration = Duration::from_secs(12);
/// A command also starts, finds the masters and checks them.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

/// A worker and a server on a cluster without replicas. Events go to each partition's account.
struct Surfaces {
    cluster: RedisCluster,
    receiver: Receiver,
    program: Program,
    worker: Probed,
    _server: Process,
    client: reqwest::Client,
    /// The server's addresses: for requests, and for operators.
    api: String,
    operators: String,
    /// An API key.
    key: String,
    /// The master that goes away. It has the API keys, and not the number of partitions.
    lost: usize,
    lost_partitions: Vec<u16>,
    /// The master that has the number of partitions.
    of_meta: usize,
}

impl Surfaces {
    async fn start() -> Self {
        let cluster = RedisCluster::start_with(3, 0, &["--cluster-require-full-coverage", "no"]).await;
        let (prefix, lost, of_meta) = loop {
            let prefix = cluster.unique_prefix();
            let lost = cluster.master_of(slot_of(&format!("{prefix}:apikeys"))).await;
            let of_meta = cluster.master_of(slot_of(&format!("{prefix}:meta"))).await;
            if lost != of_meta {
                break (prefix, lost, of_meta);
            }
        };
        let mut lost_partitions = Vec::new();
        for partition in 0..PARTITIONS {
            if cluster.master_of(slot_of(&format!("{prefix}:{{{partition}}}:queue"))).await == lost {
                lost_partitions.push(partition);
            }
        }
        let receiver = Receiver::start().await;
        receiver.plan("/hook", [Answer::Status(200)]);
        let operators = format!("127.0.0.1:{}", unused_port());
        let program = Program::new(cluster.server(0), &prefix)
            .trusting(&receiver)
            .env("LYNKHOOK_REDIS__URL", cluster.url())
            .env("LYNKHOOK_EGRESS__ALLOW", "127.0.0.0/8,localhost")
            .env("LYNKHOOK_SECRETS__KEY", SECRETS_KEY)
            .env("LYNKHOOK_WORKER__HEALTH_BIND", "127.0.0.1:0")
            .env("LYNKHOOK_SERVER__BIND", "127.0.0.1:0")
            .env("LYNKHOOK_SERVER__PUBLIC_URL", PUBLIC);
        for partition in 0..PARTITIONS {
            let (account, url) = (account_of(partition, "account").to_string(), receiver.url("/hook"));
            program.json(["webhook", "add", "--account", &account, "--url", &url]).await;
        }
        let worker = Probed::on(&program).await;
        let healthy = (0..PARTITIONS).find(|partition| !lost_partitions.contains(partition)).unwrap();
        consumer_of(&cluster, &prefix, healthy, lost).await;
        let server = program.clone().env("LYNKHOOK_SERVER__HEALTH_BIND", &operators).start(["server"]);
        let line: Value = serde_json::from_str(&server.wait_for_line("the API is served").await).unwrap();
        let key = program.json(["apikey", "add", "--name", "test", "--scope", "admin"]).await;
        // Only the first test of this process installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self {
            client: reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap(),
            api: line["address"].as_str().unwrap().to_owned(),
            key: key["key"].as_str().unwrap().to_owned(),
            _server: server,
            cluster,
            receiver,
            program,
            worker,
            operators,
            lost,
            lost_partitions,
            of_meta,
        }
    }

    /// The address of the master that goes away.
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.cluster.port(self.lost))
    }

    /// An account whose master stays, and one whose master goes away.
    fn accounts(&self) -> [String; 2] {
        let healthy = (0..PARTITIONS).find(|partition| !self.lost_partitions.contains(partition)).unwrap();
        [healthy, self.lost_partitions[0]].map(|partition| account_of(partition, "account").to_string())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.api)).bearer_auth(&self.key)
    }

    /// Status, body, and the time that the answer took.
    async fn sent(request: RequestBuilder) -> (u16, Value, Duration) {
        let began = Instant::now();
        let response = request.send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)), began.elapsed())
    }

    async fn get(&self, path: &str) -> (u16, Value, Duration) {
        Self::sent(self.request(Method::GET, path)).await
    }

    /// The probe of the port for operators.
    async fn operators_see(&self, path: &str) -> (u16, Value, Duration) {
        Self::sent(self.client.get(format!("http://{}{path}", self.operators))).await
    }

    async fn all_are_well(&self) {
        eventually(SOON, "no surface misses a master", async || {
            let output = self.program.run(["queue", "status", "--json"]).await;
            let status: Value = serde_json::from_str(&output.stdout).ok()?;
            let probes = [self.worker_is_ready().await.1, self.operators_see("/readyz").await.1];
            let is_well = status.get("away").is_none()
                && status["complete"] == true
                && status["partitions"].as_array()?.len() == usize::from(PARTITIONS)
                && probes.iter().all(|probe| probe["ok"] == true && !probe.to_string().contains("warning"))
                && self.metrics_of_masters().await == [1, 1, 1];
            is_well.then_some(())
        })
        .await;
    }

    async fn worker_is_ready(&self) -> (u16, Value, Duration) {
        let began = Instant::now();
        let (status, body) = self.worker.get("/readyz").await;
        (status, serde_json::from_str(&body).unwrap(), began.elapsed())
    }

    async fn metrics_of_masters(&self) -> [i64; 3] {
        let metrics = Metrics::of(&self.worker).await;
        [0, 1, 2].map(|node| {
            let series = format!("lynkhook_redis_master_up{{master=\"127.0.0.1:{}\"}}", self.cluster.port(node));
            metrics.find(&series).unwrap_or(-1)
        })
    }

    /// A session of the screen for an account.
    async fn cookie(&self, account: &str) -> String {
        let link = self.request(Method::POST, &format!("/v1/accounts/{account}/portal-links"));
        let (status, made, _) = Self::sent(with_json(link, json!({"access": "read"}).to_string())).await;
        assert_eq!(status, 201, "{made}");
        let (path, token) = made["url"].as_str().unwrap().strip_prefix(PUBLIC).unwrap().split_once("?link=").unwrap();
        let enter = self.client.post(format!("http://{}{path}", self.api)).header("origin", PUBLIC);
        let entered = enter.header("content-type", FORM).body(format!("link={token}")).send().await.unwrap();
        entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    }
}

/// Adds a consumer of a partition's queue whose figures, as those of a worker, would be at this master.
async fn consumer_of(cluster: &RedisCluster, prefix: &str, partition: u16, master: usize) {
    let mut numbers = 0..;
    let name = loop {
        let name = format!("w-{}", numbers.next().unwrap());
        if cluster.master_of(slot_of(&format!("{prefix}:workers:{name}"))).await == master {
            break name;
        }
    };
    let queue = format!("{prefix}:{{{partition}}}:queue");
    let mut join = redis::cmd("XGROUP");
    join.arg("CREATECONSUMER").arg(&queue).arg("workers").arg(name);
    eventually(SOON, "the group of the queue", async || {
        join.query_async::<()>(&mut cluster.connection_of(&queue).await).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a whole cluster: run alone, by `make test`"]
async fn serial_one_master_away_every_surface_goes_on_for_the_others_and_names_it() {
    let mut surfaces = Surfaces::start().await;
    for hangs in [false, true] {
        surfaces.all_are_well().await;
        let [healthy, lost] = surfaces.accounts();
        let cookie = surfaces.cookie(&healthy).await;
        if hangs {
            surfaces.cluster.pause(surfaces.lost);
        } else {
            surfaces.cluster.kill9(surfaces.lost);
        }
        let away = Instant::now();
        status_names_it(&surfaces).await;
        let until = away + if hangs { QUESTION_LIMIT } else { TABLE_HOLDS };
        requests_of_others_go_on(&surfaces, &healthy, &cookie, until).await;
        requests_of_its_accounts_are_refused(&surfaces, &lost).await;
        probes_name_it(&surfaces).await;
        scrapes_lack_its_partitions(&surfaces).await;
        processes_that_start(&surfaces).await;
        if hangs {
            surfaces.cluster.resume(surfaces.lost);
        } else {
            surfaces.cluster.restart(surfaces.lost);
        }
    }
    surfaces.all_are_well().await;
    surfaces.cluster.kill9(surfaces.of_meta);
    let of_meta = format!("127.0.0.1:{}", surfaces.cluster.port(surfaces.of_meta));
    let output = surfaces.program.run(["queue", "status"]).await;
    assert!(output.code == Some(5) && output.stderr.contains(&of_meta), "{output:#?}");
}

fn with_json(request: RequestBuilder, body: String) -> RequestBuilder {
    request.header("content-type", "application/json").body(body)
}

/// The figures of the queue: on the command line and over the API.
async fn status_names_it(surfaces: &Surfaces) {
    let began = Instant::now();
    let shown = surfaces.program.json(["queue", "status"]).await;
    assert!(began.elapsed() < COMMAND_LIMIT, "{:?}", began.elapsed());
    let (status, told, took) = surfaces.get("/v1/queue/status").await;
    assert!(status == 200 && took < LOOK_LIMIT, "{status} after {took:?}: {told}");
    for seen in [shown, told] {
        let away = &seen["away"][0];
        assert_eq!(
            (&away["master"], &away["partitions"]),
            (&json!(surfaces.address()), &json!(surfaces.lost_partitions))
        );
        assert!(away["error"].as_str().unwrap().starts_with(&format!("Redis at {}", surfaces.address())), "{away}");
        let partitions = seen["partitions"].as_array().unwrap();
        let are_others = partitions
            .iter()
            .all(|partition| !surfaces.lost_partitions.iter().any(|lost| partition["partition"] == *lost));
        assert_eq!((partitions.len() + surfaces.lost_partitions.len(), are_others), (usize::from(PARTITIONS), true));
        assert_eq!((seen["complete"].clone(), seen["away"].as_array().unwrap().len()), (json!(false), 1));
    }
    let text = surfaces.program.run(["queue", "status"]).await.stdout;
    let line = text.lines().find(|line| line.starts_with("AWAY: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(&surfaces.address()), "{line}");
}

async fn requests_of_others_go_on(surfaces: &Surfaces, account: &str, cookie: &str, until: Instant) {
    let arrived = surfaces.receiver.requests("/hook").len();
    let mut accepted = 0;
    while Instant::now() < until {
        let (status, list, took) = surfaces.get(&format!("/v1/accounts/{account}/webhooks")).await;
        assert!(status == 200 && took < LOOK_LIMIT, "{status} after {took:?}: {list}");
        let event = surfaces.request(Method::POST, &format!("/v1/accounts/{account}/events"));
        let (status, answer, took) = Surfaces::sent(with_json(event, TRANSCRIPT.to_owned())).await;
        assert!(status == 202 && took < LOOK_LIMIT, "{status} after {took:?}: {answer}");
        accepted += 1;
        let page = surfaces.client.get(format!("http://{}/accounts/{account}/webhooks", surfaces.api));
        let (status, page, took) = Surfaces::sent(page.header("cookie", cookie)).await;
        assert!(status == 200 && took < LOOK_LIMIT, "{status} after {took:?}: {page}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    surfaces.receiver.wait_for_ended("/hook", arrived + accepted, SOON).await;
}

/// At once, after the first of them had to wait for an answer.
async fn requests_of_its_accounts_are_refused(surfaces: &Surfaces, account: &str) {
    surfaces.get(&format!("/v1/accounts/{account}/webhooks")).await;
    for _ in 0..5 {
        let (status, refusal, took) = surfaces.get(&format!("/v1/accounts/{account}/webhooks")).await;
        assert!(status == 503 && took < Duration::from_millis(500), "{status} after {took:?}: {refusal}");
        assert!(!refusal.to_string().contains(&surfaces.address()), "{refusal}");
    }
}

async fn probes_name_it(surfaces: &Surfaces) {
    let (status, probe, took) = surfaces.worker_is_ready().await;
    assert!(status == 200 && took < Duration::from_millis(500), "{status} after {took:?}: {probe}");
    let warning = |probe: &Value| {
        let check = probe["checks"].as_array().unwrap().iter().find(|check| check["name"] == "redis").unwrap().clone();
        assert_eq!((&check["ok"], &check["error"]), (&json!(true), &Value::Null));
        check["warning"].as_str().unwrap_or_else(|| panic!("{probe}")).to_owned()
    };
    let partition = surfaces.lost_partitions[0].to_string();
    let told = warning(&probe);
    assert!(told.contains(&surfaces.address()) && told.contains(&format!("its partitions: {partition}")), "{told}");
    assert_eq!(surfaces.worker.get("/healthz").await.0, 200);

    let (status, probe, took) = surfaces.operators_see("/readyz").await;
    assert!(status == 200 && took < LOOK_LIMIT, "{status} after {took:?}: {probe}");
    assert!(warning(&probe).contains(&surfaces.address()), "{probe}");
    let (status, probe, took) = surfaces.get("/readyz").await;
    assert!(status == 200 && took < LOOK_LIMIT, "{status} after {took:?}: {probe}");
    assert_eq!(warning(&probe), "1 of the 3 masters of Redis do not answer");
}

async fn scrapes_lack_its_partitions(surfaces: &Surfaces) {
    eventually(SOON, "a scrape that tells it", async || {
        let began = Instant::now();
        let up = surfaces.metrics_of_masters().await;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        (up == [0, 1, 2].map(|node| i64::from(node != surfaces.lost))).then_some(())
    })
    .await;
    let metrics = Metrics::of(&surfaces.worker).await;
    assert_eq!(metrics.get("lynkhook_redis_up"), 1);
    for partition in 0..PARTITIONS {
        let is_there = i64::from(!surfaces.lost_partitions.contains(&partition));
        assert_eq!(metrics.get(&format!("lynkhook_queue_readable{{partition=\"{partition}\"}}")), is_there);
        let depth = metrics.find(&format!("lynkhook_queue_depth{{partition=\"{partition}\"}}"));
        assert_eq!(i64::from(depth.is_some()), is_there);
    }
}

/// A server starts. A worker needs all masters, and says which it lacks.
async fn processes_that_start(surfaces: &Surfaces) {
    let server = surfaces.program.start(["server"]);
    server.wait_for_line("the API is served").await;
    let output = surfaces.program.run(["worker"]).await;
    assert!(output.code == Some(5) && output.stderr.contains(&surfaces.address()), "{output:#?}");
}
