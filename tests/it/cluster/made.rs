//! A cluster of new servers, made by the steps of `deploy/README.md`: every role works on it.

use std::collections::BTreeMap;

use lynkhook::{
    access::{ApiKeys, NewKey},
    domain::api_key::Scope,
};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::support::*;

use super::deployed::DeployedCluster;

const PAGE: &str = include_str!("../../../deploy/README.md");
/// Accounts in partitions of each master.
const ACCOUNTS: [&str; 8] = ["acme", "a1", "a2", "a3", "a4", "a5", "a6", "a7"];

#[test]
fn the_page_says_how_many_partitions_lie_at_a_master() {
    let (_, table) = PAGE.split_once("\n| partitions | 2 masters |").unwrap();
    let mut rows = table.lines();
    let masters: Vec<u32> = cells(rows.next().unwrap());
    let masters = [&[2][..], &masters].concat();
    let mut seen = 0;
    for row in rows.skip(1).take_while(|row| row.starts_with('|')) {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let partitions: u16 = cells.next().unwrap().parse().unwrap();
        for (masters, cell) in masters.iter().zip(cells) {
            let (most, fewest) = most_and_fewest(partitions, *masters);
            assert_eq!(cell, format!("{most}, {fewest}"), "{partitions} partitions at {masters} masters");
            seen += 1;
        }
    }
    assert_eq!(seen, 4 * 6);
}

fn cells(row: &str) -> Vec<u32> {
    row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect()
}

/// The most and the fewest partitions at one master, if masters have even shares of the slots, side by side.
fn most_and_fewest(partitions: u16, masters: u32) -> (usize, usize) {
    let mut of: BTreeMap<u32, usize> = (0..masters).map(|master| (master, 0)).collect();
    for partition in 0..partitions {
        let slot = u32::from(slot_of(&format!("lynkhook:{{{partition}}}:queue")));
        *of.get_mut(&(slot * masters / 16_384)).unwrap() += 1;
    }
    (*of.values().max().unwrap(), *of.values().min().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a whole cluster: run alone, by `make test`"]
async fn serial_every_role_works_on_a_cluster_of_these_files_and_is_refused_nothing() {
    let cluster = DeployedCluster::start(1).await;
    let mut replica = None;
    for node in 0..cluster.nodes.len() {
        for (name, value) in [
            ("cluster-require-full-coverage", "no"),
            ("cluster-allow-reads-when-down", "no"),
            ("appendonly", "yes"),
            ("maxmemory-policy", "noeviction"),
            ("min-replicas-to-write", "0"),
        ] {
            let set: Vec<String> = cluster.ask(node, &format!("CONFIG GET {name}")).await.unwrap();
            assert_eq!(set, [name, value], "node {node}");
        }
        eventually(SOON, "replicas have a copy", async || {
            let info: String = cluster.ask(node, "INFO replication").await.unwrap();
            let is_replica = info.contains("role:slave");
            replica = if is_replica { Some(node) } else { replica };
            (!is_replica || info.contains("master_link_status:up")).then_some(())
        })
        .await;
    }
    cluster.receiver.plan("/hook", [Answer::Status(200)]);
    let worker = cluster.program_of("worker").worker([]);
    worker.wait_for_line("worker started").await;
    let url = cluster.receiver.url("/hook");
    for account in ACCOUNTS {
        run(&cluster, "server", &format!("webhook add --account {account} --url {url}")).await;
        run(&cluster, "producer", &format!("enqueue --account {account} -")).await;
    }
    cluster.receiver.wait_for_ended("/hook", ACCOUNTS.len(), SOON).await;
    for words in ["queue status", "webhook list --account acme"] {
        run(&cluster, "operator", words).await;
    }
    keys_are_judged(&cluster).await;
    for role in ["worker", "server", "operator", "producer"] {
        assert_eq!(finding(&cluster, role, "rights").await["verdict"], "pass", "{role}");
    }

    let failover = format!("redis-cli --user cluster -p {} CLUSTER FAILOVER", cluster.nodes[replica.unwrap()].port());
    cluster.run(&format!("export REDISCLI_AUTH={}\n{failover}", cluster.password_of("cluster")));
    eventually(SOON, "the replica is a master", async || {
        let info: String = cluster.ask(replica.unwrap(), "INFO replication").await.unwrap();
        info.contains("role:master").then_some(())
    })
    .await;
    for account in ACCOUNTS {
        run(&cluster, "producer", &format!("enqueue --account {account} -")).await;
    }
    cluster.receiver.wait_for_ended("/hook", 2 * ACCOUNTS.len(), SOON).await;
    assert_eq!(cluster.refusals().await, [""; 0]);

    // Without `asking` a worker could do its work, until a slot moves.
    for (right, check, says) in [
        ("asking", "rights", "lacks permissions that a worker needs: +asking"),
        ("cluster|info", "connection", "no permissions to run the 'cluster|info' command"),
        ("cluster|slots", "connection", "no permissions to run the 'cluster|slots' command"),
    ] {
        to_all(&cluster, &format!("ACL SETUSER worker -{right}")).await;
        let found = finding(&cluster, "worker", check).await;
        assert_eq!(found["verdict"], "fail", "{found}");
        assert!(found["found"].as_str().unwrap().contains(says), "{found}");
        let output = cluster.program_of("worker").run(["worker"]).await;
        assert_eq!(output.code, Some(5), "{output:#?}");
        assert!(output.stderr.contains(right), "{right}: {output:#?}");
        to_all(&cluster, &format!("ACL SETUSER worker +{right}")).await;
    }
}

async fn to_all(cluster: &DeployedCluster, command: &str) {
    for node in 0..cluster.nodes.len() {
        let () = cluster.ask(node, command).await.unwrap();
    }
}

/// A server notes the use of an API key, and forgets a revoked one.
async fn keys_are_judged(cluster: &DeployedCluster) {
    let (store, _) = cluster.webhooks().await;
    let keys = ApiKeys::new(store);
    let new = NewKey {
        name: "backend".to_owned(),
        scopes: [Scope::Admin].into_iter().collect(),
        account: None,
        expires: None,
    };
    let added = keys.add(new).await.unwrap();
    let caller = keys.authenticate(added.key.expose_secret()).await.unwrap();
    eventually(SOON, "the day of the last use", async || keys.list().await.unwrap()[0].last_used.clone()).await;
    run(cluster, "operator", "apikey list").await;
    run(cluster, "server", &format!("apikey revoke {}", caller.id)).await;
    assert_eq!(keys.list().await.unwrap().len(), 0);
}

/// Runs a command as a role. It has to succeed.
async fn run(cluster: &DeployedCluster, role: &str, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    let output = cluster.program_of(role).run_with_input(&words, TRANSCRIPT.replace('\n', "")).await;
    assert_eq!(output.code, Some(0), "{role} {words:?}: {output:#?}");
}

/// The finding of `doctor` at a check, as a role.
async fn finding(cluster: &DeployedCluster, role: &str, check: &str) -> Value {
    let output = cluster.program_of(role).run(["doctor", "--json", "--role", role]).await;
    let findings: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
    let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{findings:#}")).clone()
}
