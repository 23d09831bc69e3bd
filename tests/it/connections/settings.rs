//! The connections that a worker may have: too few are refused at the start.

use super::*;

/// The default of `worker.concurrency`, and the other connections that a worker needs.
const LEAST: usize = 256 + 64;

#[tokio::test(flavor = "multi_thread")]
async fn fewer_connections_than_concurrency_plus_64_are_refused_at_start() {
    let authority = Receiver::start().await;
    let here = Installation::new(&authority).await;
    let with_most = |most: usize| here.program.clone().env("LYNKHOOK_EGRESS__MAX_CONNECTIONS", most.to_string());
    let enough = with_most(LEAST).worker([]);
    enough.wait_for_line("worker started").await;
    let output = with_most(LEAST - 1).run(["worker"]).await;
    assert_eq!(output.code, Some(2), "{output:#?}");
    for says in ["egress.max_connections", "worker.concurrency"] {
        assert!(output.stderr.contains(says), "{says}: {output:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_limit_below_concurrency_plus_64_is_refused_at_start() {
    let authority = Receiver::start().await;
    let here = Installation::new(&authority).await;
    let enough = here.program.worker_with_files(1024);
    enough.wait_for_line("worker started").await;
    let output = here.program.worker_with_files(LEAST - 1).output(Duration::from_secs(10)).await;
    assert_eq!(output.code, Some(2), "{output:#?}");
    assert!(output.stderr.contains("file") && output.stderr.contains("worker.concurrency"), "{output:#?}");
}
