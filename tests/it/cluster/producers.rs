//! The producers of `deploy/README.md` in other languages, with their libraries' clients for clusters.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use crate::support::*;

use super::deployed::{DeployedCluster, block_of};

/// Enough accounts for all 16 partitions.
const ACCOUNTS: usize = 60;
const PARTITIONS: u16 = 16;

fn accounts() -> Vec<String> {
    (0..ACCOUNTS).map(|number| format!("Customer_{number}.eu")).collect()
}

/// Runs a producer of the page, which sends its event for each account instead of one.
fn produce(cluster: &DeployedCluster, language: &str, arguments: &[&str], line: &str, each: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let program = if language == "js" { "node".to_owned() } else { format!("{root}/target/tools/bin/python3") };
    let block = block_of("### Producers", language);
    assert!(block.contains(line), "{block}");
    let script = cluster.with_addresses(&block.replace(line, each));
    let mut child = Command::new(&program);
    // Node looks for packages from here.
    child.args(arguments).arg(&script).current_dir(format!("{root}/tests/clients")).stdin(Stdio::null());
    child.env("REDIS_PASSWORD", cluster.password_of("producer"));
    let output =
        child.output().unwrap_or_else(|error| panic!("{program}: `make needs-producers` installs it: {error}"));
    assert!(output.status.success(), "{program} (`make needs-producers` installs its packages): {output:?}\n{script}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a whole cluster: run alone, by `make test`"]
async fn serial_events_of_node_and_python_reach_the_queues_of_their_accounts_at_each_master() {
    let cluster = DeployedCluster::start(0).await;
    // A server begins the installation, with 16 partitions.
    drop(cluster.webhooks().await);
    let list = accounts().join(" ");
    produce(
        &cluster,
        "js",
        &["--input-type=module", "--eval"],
        r#"await send("acme", "m1", event);"#,
        &format!("for (const account of '{list}'.split(' ')) await send(account, \"m1\", event);"),
    );
    produce(
        &cluster,
        "python",
        &["-c"],
        r#"send("acme", "m1", event)"#,
        &format!("for account in '{list}'.split(): send(account, \"m1\", event)"),
    );
    let (mut arrived, mut masters) = (Vec::new(), BTreeSet::new());
    for partition in 0..PARTITIONS {
        let range = format!("XRANGE lynkhook:{{{partition}}}:queue - +");
        let (master, entries): (usize, Vec<(String, Vec<String>)>) = cluster.ask_master(&range).await;
        for (_, fields) in entries {
            assert_eq!(account_id(&fields[1]).partition(PARTITIONS), partition, "{fields:?}");
            let event: serde_json::Value = serde_json::from_str(&fields[5]).unwrap();
            assert_eq!(
                (&fields[2..5], &event["event"]),
                (&["id", "m1", "envelope"].map(str::to_owned)[..], &"transcript.created".into())
            );
            arrived.push(fields[1].clone());
            masters.insert(master);
        }
    }
    let mut expected = [accounts(), accounts()].concat();
    expected.sort();
    arrived.sort();
    assert_eq!((arrived, masters), (expected, BTreeSet::from([0, 1, 2])));
    assert_eq!(cluster.refusals().await, [""; 0]);
}
