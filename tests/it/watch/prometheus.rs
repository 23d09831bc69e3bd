//! A real Prometheus, which scrapes processes of a test.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::*;

/// The labels of a series.
pub(super) type Labels = BTreeMap<String, String>;

/// A Prometheus with the processes that it scrapes.
pub(super) struct Prometheus {
    address: String,
    client: Client,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes these addresses, by their jobs, once a second, with these rules.
    pub(super) async fn start(jobs: &[(&str, Vec<String>)], rules: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lynkhook-prometheus-").tempdir().unwrap();
        let job = |(name, targets): &(&str, Vec<String>)| json!({ "job_name": name, "static_configs": [{ "targets": targets }] });
        // JSON is YAML as well.
        let settings = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": jobs.iter().map(job).collect::<Vec<_>>(),
        });
        std::fs::write(folder.path().join("prometheus.yaml"), settings.to_string()).unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        let address = format!("127.0.0.1:{}", unused_port());
        let mut command = Command::new("prometheus");
        command.current_dir(folder.path()).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::spawn(command, Vec::new());
        // Only the first test of this process installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let started = Self { address, client, _process: process, _folder: folder };
        eventually(SOON * 2, "a Prometheus that is ready", async || {
            let ready = started.client.get(format!("http://{}/-/ready", started.address)).send().await;
            ready.ok().filter(|answer| answer.status().is_success())
        })
        .await;
        started
    }

    async fn ask(&self, path: &str, query: &[(&str, String)]) -> Value {
        let mut url = reqwest::Url::parse(&format!("http://{}/api/v1/{path}", self.address)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let text = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        answer["data"].clone()
    }

    /// The series that a query has now, and their values.
    pub(super) async fn query(&self, query: &str) -> Vec<(Labels, f64)> {
        let data = self.ask("query", &[("query", query.to_owned())]).await;
        let series = data["result"].as_array().unwrap().iter();
        series.map(|one| (labels(&one["metric"]), number(&one["value"][1]))).collect()
    }

    /// The only value of a query; `None` if it has no series.
    pub(super) async fn value(&self, query: &str) -> Option<f64> {
        let series = self.query(query).await;
        assert!(series.len() < 2, "{query} has several series: {series:?}");
        series.first().map(|(_, value)| *value)
    }

    /// Waits until a query has this value.
    pub(super) async fn until(&self, query: &str, expected: f64) {
        let mut last = None;
        let what = format!("{query} to be {expected}");
        let found = tokio::time::timeout(SOON, async {
            loop {
                last = self.value(query).await;
                if last.is_some_and(|value| (value - expected).abs() < 1e-9) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let is_found = found.await.is_ok();
        assert!(is_found, "not in time: {what}; it is {last:?}");
    }

    /// The series of a query from `from` on, in Unix seconds: their labels, and times with values.
    pub(super) async fn range(&self, query: &str, from: f64) -> Vec<(Labels, Vec<(f64, f64)>)> {
        let asked = [
            ("query", query.to_owned()),
            ("start", from.to_string()),
            ("end", unix_now().to_string()),
            ("step", "1".to_owned()),
        ];
        let data = self.ask("query_range", &asked).await;
        let points = |one: &Value| {
            let points = one["values"].as_array().unwrap().iter();
            points.map(|point| (point[0].as_f64().unwrap(), number(&point[1]))).collect()
        };
        data["result"].as_array().unwrap().iter().map(|one| (labels(&one["metric"]), points(one))).collect()
    }

    /// The names of the alerts that fire now.
    pub(super) async fn firing(&self) -> Vec<String> {
        let data = self.ask("alerts", &[]).await;
        let alerts = data["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        let mut names: Vec<String> =
            alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Waits until each target of a job was scraped.
    pub(super) async fn sees(&self, targets: usize) {
        eventually(SOON * 2, "all targets to be up", async || {
            (self.value("sum(up)").await? >= f64::from(u32::try_from(targets).unwrap())).then_some(())
        })
        .await;
    }
}

pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn labels(metric: &Value) -> Labels {
    metric.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}
