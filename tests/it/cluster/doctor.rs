//! `lynkhook doctor` on a cluster: it looks at every server, names those that differ or do not answer, and judges the
//! others as before.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::*;

/// The longest time that a look takes although a server hangs.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The findings, and the exit code.
struct Seen {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Seen {
    async fn of(program: &Program, arguments: &[&str]) -> Self {
        let output = program.run([&["doctor", "--json"], arguments].concat()).await;
        let findings = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
        Self { code: output.code, findings }
    }

    /// The verdict of a check, and its words.
    fn check(&self, name: &str) -> (&str, String) {
        let finding = self.findings.iter().find(|finding| finding["check"] == name);
        let finding = finding.unwrap_or_else(|| panic!("no check {name} in {:#?}", self.findings));
        (finding["verdict"].as_str().unwrap(), format!("{} {}", finding["found"], finding["advice"]))
    }

    fn is(&self, name: &str, verdict: &str, words: &[&str]) -> bool {
        let (found, text) = self.check(name);
        found == verdict && words.iter().all(|words| text.contains(words))
    }

    #[track_caller]
    fn assert(&self, name: &str, verdict: &str, words: &[&str]) {
        assert!(self.is(name, verdict, words), "{name} is not {verdict} with {words:?}: {:#?}", self.findings);
    }

    /// The checks that did not pass.
    fn faults(&self) -> Vec<&str> {
        let faults = self.findings.iter().filter(|finding| finding["verdict"] != "pass");
        faults.map(|finding| finding["check"].as_str().unwrap()).collect()
    }
}

fn on(cluster: &RedisCluster, prefix: &str, partitions: &str) -> Program {
    Program::new(RedisServer::shared(), prefix)
        .env("LYNKHOOK_REDIS__URL", cluster.url())
        .env("LYNKHOOK_QUEUE__PARTITIONS", partitions)
}

async fn configure(cluster: &RedisCluster, node: usize, setting: &str, value: &str) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg(setting).arg(value);
    let () = set.query_async(&mut cluster.connection(node).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it starts a cluster, and kills and stops servers of it"]
async fn serial_doctor_looks_at_every_server_of_a_cluster_and_names_those_that_are_at_fault() {
    let mut cluster = RedisCluster::start_with(3, 1, &["--cluster-require-full-coverage", "no"]).await;
    let prefix = cluster.unique_prefix();
    let program = on(&cluster, &prefix, "16");
    let worker = program.worker([]);
    worker.wait_for_line("worker started").await;
    eventually(SOON, "all checks passed", async || {
        let seen = Seen::of(&program, &[]).await;
        (seen.code == Some(0) && seen.faults().is_empty()).then_some(())
    })
    .await;
    let seen = Seen::of(&program, &["--role", "producer"]).await;
    assert_eq!((seen.code, seen.faults()), (Some(0), Vec::new()), "{:#?}", seen.findings);

    settings_that_differ(&cluster, &program).await;
    few_partitions(&cluster).await;
    connections(&cluster, &program).await;

    let of_meta = cluster.master_of(slot_of(&format!("{prefix}:meta"))).await;
    let lost = (0..3).find(|master| *master != of_meta).unwrap();
    replica_and_master_lost(&mut cluster, &program, lost).await;
    cluster.restart(lost);
    eventually(SOON, "the restarted master answers", async || {
        let seen = Seen::of(&program, &[]).await;
        seen.is("coverage", "pass", &[]).then_some(())
    })
    .await;
    hanging_master(&mut cluster, &program, of_meta).await;
}

/// One server with another setting than the others is named, also if it is a replica.
async fn settings_that_differ(cluster: &RedisCluster, program: &Program) {
    let [master, replica] = [0, cluster.replicas_of(1).await[0]];
    let [at_master, at_replica] = [master, replica].map(|node| format!("127.0.0.1:{}", cluster.port(node)));
    configure(cluster, replica, "maxmemory-policy", "allkeys-lru").await;
    configure(cluster, replica, "appendfsync", "no").await;
    configure(cluster, master, "cluster-require-full-coverage", "yes").await;
    configure(cluster, master, "cluster-node-timeout", "15000").await;
    configure(cluster, master, "min-replicas-to-write", "1").await;
    let seen = Seen::of(program, &[]).await;
    seen.assert("eviction", "fail", &[&format!("{at_replica}: allkeys-lru: ")]);
    seen.assert("persistence", "warn", &[&format!("{at_replica}: append-only file, `appendfsync no`")]);
    seen.assert("coverage", "warn", &["all slots have a master", &format!("yes at {at_master}: ")]);
    seen.assert("node timeout", "warn", &[&format!("{at_master}: 15s: "), "cluster-node-timeout 5000"]);
    seen.assert("replication", "warn", &[&format!("{at_master}: min-replicas-to-write is 1"), "2 replicas"]);
    assert_eq!((seen.code, seen.faults().len()), (Some(5), 5), "{:#?}", seen.findings);
    configure(cluster, replica, "maxmemory-policy", "noeviction").await;
    configure(cluster, replica, "appendfsync", "everysec").await;
    configure(cluster, master, "cluster-require-full-coverage", "no").await;
    configure(cluster, master, "cluster-node-timeout", "2000").await;
    configure(cluster, master, "min-replicas-to-write", "0").await;
}

/// Two partitions for three masters leave one without work.
async fn few_partitions(cluster: &RedisCluster) {
    let seen = Seen::of(&on(cluster, &cluster.unique_prefix(), "2"), &[]).await;
    let mut idle: Vec<usize> = (0..3).collect();
    for partition in 0..2 {
        let master = cluster.master_of(slot_of(&format!("{{{partition}}}"))).await;
        idle.retain(|node| *node != master);
    }
    assert!(!idle.is_empty());
    for node in idle {
        let address = format!("127.0.0.1:{}", cluster.port(node));
        seen.assert("masters", "warn", &[&address, "2 for 3 masters", "queue.partitions = 16"]);
    }
}

/// A URL of the wrong kind, and a user that may not ask for the masters.
async fn connections(cluster: &RedisCluster, program: &Program) {
    let port = cluster.port(0);
    let single = program.clone().env("LYNKHOOK_REDIS__URL", format!("redis://127.0.0.1:{port}/"));
    let seen = Seen::of(&single, &[]).await;
    seen.assert("connection", "fail", &["a node of a cluster", "redis+cluster://"]);
    assert_eq!((seen.code, seen.findings.len()), (Some(5), 1));
    let replica = cluster.replicas_of(2).await[0];
    for (user, lacks, at) in [("blind", "-cluster", 0..cluster.nodes()), ("uneven", "-xadd", replica..replica + 1)] {
        for node in 0..cluster.nodes() {
            let lacks = if at.contains(&node) { lacks } else { "+xadd" };
            let mut allow = redis::cmd("ACL");
            allow.arg("SETUSER").arg(user).arg(&["on", ">secret", "~*", "&*", "+@all", lacks]);
            let () = allow.query_async(&mut cluster.connection(node).await).await.unwrap();
        }
    }
    let as_user = |user: &str| {
        let url = format!("redis+cluster://{user}:secret@127.0.0.1:{port}");
        program.clone().env("LYNKHOOK_REDIS__URL", url)
    };
    let seen = Seen::of(&as_user("blind"), &[]).await;
    seen.assert("connection", "fail", &["'cluster|info'", "'+cluster|info' '+cluster|slots' +asking"]);
    assert_eq!(seen.code, Some(5));
    let seen = Seen::of(&as_user("uneven"), &[]).await;
    let at_replica = format!("at 127.0.0.1:{}: +xadd", cluster.port(replica));
    seen.assert("rights", "fail", &["uneven lacks permissions that a worker needs", &at_replica]);
}

async fn replica_and_master_lost(cluster: &mut RedisCluster, program: &Program, master: usize) {
    let replica = cluster.replicas_of(master).await[0];
    let [at_master, at_replica] = [master, replica].map(|node| format!("127.0.0.1:{}", cluster.port(node)));
    cluster.kill9(replica);
    let seen = Seen::of(program, &[]).await;
    seen.assert("servers", "warn", &[&at_replica]);
    eventually(SOON, "the master is known to have no replica, and the cluster gave the replica up", async || {
        let seen = Seen::of(program, &[]).await;
        let is_missed = seen.is("replication", "warn", &[&format!("{at_master}: no replica")]);
        let is_given_up = seen.is("servers", "warn", &["or follow no master yet: 1"]);
        (is_missed && is_given_up && seen.code == Some(0) && seen.faults().len() == 2).then_some(())
    })
    .await;

    cluster.kill9(master);
    let seen = Seen::of(program, &[]).await;
    seen.assert("servers", "fail", &[&format!("{at_master} is unreachable: Connection refused"), "its partitions: "]);
    assert_eq!(seen.code, Some(5));
    let seen = eventually(SOON, "slots have no master", async || {
        let seen = Seen::of(program, &[]).await;
        seen.is("coverage", "fail", &["slots have no master that answers"]).then_some(seen)
    })
    .await;
    for check in
        ["version", "role", "persistence", "eviction", "memory", "clients", "clock", "schema", "group", "rights"]
    {
        seen.assert(check, "pass", &[]);
    }
    let (_, text) = seen.check("workers");
    assert!(!text.contains("none is alive"), "a worker lives, wherever its figures lie: {text}");
}

/// The master that hangs has the key that every process reads first.
async fn hanging_master(cluster: &mut RedisCluster, program: &Program, master: usize) {
    let at_master = format!("127.0.0.1:{}", cluster.port(master));
    cluster.pause(master);
    let started = Instant::now();
    let seen = Seen::of(program, &[]).await;
    assert!(started.elapsed() < LOOK_LIMIT, "{:?}", started.elapsed());
    let silence = format!("{at_master} is unreachable: timed out");
    seen.assert("servers", "fail", &[&silence, "its partitions: "]);
    seen.assert("schema", "fail", &[&silence]);
    for check in ["version", "persistence", "eviction", "clock", "group", "leases", "webhooks", "rights"] {
        seen.assert(check, "pass", &[]);
    }
    cluster.resume(master);
}
