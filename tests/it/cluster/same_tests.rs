//! The tests of the queue, the steps and the outcomes hold on one Redis and on a cluster.

use std::time::Duration;

use tokio::process::Command;

use crate::support::*;

/// The longest time that the tests may take.
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a whole cluster: run alone, by `make test`"]
async fn serial_the_tests_of_queue_steps_and_outcomes_hold_on_a_cluster() {
    let cluster = RedisCluster::start().await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    // Those of `clock::steps` start servers of their own. Their names match as well.
    command.args(["queue::", "steps::", "outcomes::", "--skip", "clock::"]);
    command.env(CLUSTER, cluster.url());
    let output = Process::spawn(command, Vec::new()).output(LIMIT).await;
    assert_eq!(output.code, Some(0), "{}\n{}", output.stdout, output.stderr);

    // They really ran there: the queues of nearly all are left.
    let mut redis = cluster.connection_of("{0}").await;
    let queues: Vec<String> = redis::cmd("KEYS").arg("*:{0}:queue").query_async(&mut redis).await.unwrap();
    assert!(queues.len() > 100, "only {} tests ran on the cluster", queues.len());
}
