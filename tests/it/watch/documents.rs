//! The table of metrics in `deploy/README.md` lists all that there are.

use super::text::types;
use crate::{deploy::files::text, health::Probed, support::*};

/// The metrics of the table: their names, and their types.
pub(super) fn table() -> Vec<(String, String)> {
    let document = text("README.md");
    let table = document.split("| metric | type | meaning |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut metrics = Vec::new();
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let names = cells[0].trim_start_matches("| ").split(", ").map(|name| name.trim_matches('`').to_owned());
        metrics.extend(names.map(|name| (name, cells[1].to_owned())));
    }
    metrics.sort();
    metrics
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_lists_the_metrics_of_worker_and_server_with_their_types_and_no_others() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let worker = Probed::start(&here.program, None).await;
    let mut told = types(&worker.get("/metrics").await.1);
    let [api, second] = [(); 2].map(|()| format!("127.0.0.1:{}", unused_port()));
    let program = here.program.clone().env("LYNKHOOK_SERVER__BIND", &api).env("LYNKHOOK_SERVER__HEALTH_BIND", &second);
    let server = program.start(["server"]);
    server.wait_for_line("the API is served").await;
    // Only the first test of this process installs it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // An answer is counted after it was made.
    for _ in 0..2 {
        let answer = reqwest::get(format!("http://{second}/metrics")).await.unwrap();
        told.extend(types(&answer.text().await.unwrap()));
    }
    // Only a cluster has it.
    told.push(("lynkhook_redis_master_up".to_owned(), "gauge".to_owned()));
    told.sort();
    told.dedup();
    assert_eq!(table(), told);
}

#[test]
fn each_reason_and_each_cause_that_is_counted_is_explained() {
    let document = text("README.md");
    for (file, constant) in [("worker", "const REASONS"), ("queue", "const CAUSES")] {
        let path = format!("{}/src/telemetry/metrics/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(path).unwrap();
        let list = source.split(constant).nth(1).unwrap().split("];").next().unwrap();
        let words: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        assert!(words.len() > 8, "{words:?}");
        for word in words {
            assert!(
                document.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{word}`"))),
                "{word}"
            );
        }
    }
}

/// The causes of the table of counts.
pub(super) fn causes() -> Vec<String> {
    let document = text("README.md");
    let table = document.split("| count | is raised when |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let cells = table.lines().skip(1).map(|row| row.split(" | ").next().unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// A cause that a script counts and that no metric has would be dropped unseen.
#[test]
fn each_cause_in_the_table_of_counts_is_a_metric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/telemetry/metrics/queue.rs");
    let source = std::fs::read_to_string(path).unwrap();
    let causes = causes();
    for cause in &causes {
        assert!(source.contains(&format!("\"{cause}\"")), "{cause}");
    }
    assert_eq!(causes.len(), 17);
}
