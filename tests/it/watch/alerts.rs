//! The alerts, their tests, and the sections of `deploy/README.md` that say what to do.

use serde_json::Value;

use super::dashboard::names;
use crate::{
    deploy::files::{documents, text},
    support::*,
};

/// A rule.
struct Alert {
    name: String,
    query: String,
    rule: Value,
}

fn alerts() -> Vec<Alert> {
    let file = documents(&text("prometheus/alerts.yaml")).remove(0);
    let groups = file["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    let word = |rule: &Value, name: &str| rule[name].as_str().unwrap_or_else(|| panic!("no {name}: {rule}")).to_owned();
    rules.map(|rule| Alert { name: word(&rule, "alert"), query: word(&rule, "expr"), rule }).collect()
}

/// The sections on alerts: their headings, and the text below each.
fn sections() -> Vec<(String, String)> {
    let document = text("README.md");
    let of_alerts = document.split("\n### Alerts\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let parts = of_alerts.split("\n#### ").skip(1).map(|part| part.split_once('\n').unwrap());
    parts.map(|(heading, below)| (heading.to_owned(), below.to_owned())).collect()
}

#[test]
fn each_alert_has_its_section_to_which_its_link_leads_and_each_section_has_its_alert() {
    let (alerts, sections) = (alerts(), sections());
    let mut named: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let mut explained: Vec<&str> = sections.iter().map(|(heading, _)| heading.as_str()).collect();
    named.sort_unstable();
    explained.sort_unstable();
    assert!(named.len() > 10, "{named:?}");
    assert_eq!(named, explained);
    for Alert { name, rule, .. } in alerts {
        let of = |place: &str| rule.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert!(["critical", "warning"].contains(&&*of("/labels/severity")), "{name}");
        assert!(!of("/annotations/summary").is_empty() && !of("/annotations/description").is_empty(), "{name}");
        assert_eq!(of("/annotations/runbook_url"), format!("deploy/README.md#{}", name.to_lowercase()));
    }
}

#[test]
fn each_alert_adds_what_processes_did_and_never_what_every_process_tells() {
    let table = super::documents::table();
    for Alert { name, query, .. } in alerts() {
        for metric in names(&query) {
            assert!(table.iter().any(|(known, _)| known == metric), "{name}: {metric} is no metric");
            let is_of_redis = metric.contains("_queue_") || metric.contains("_dropped_") || metric.contains("_redis_");
            // The aggregation around it is the last one before it.
            let before = &query[..query.find(metric).unwrap()];
            let sum = ["sum(", "sum (", "sum by"].into_iter().filter_map(|sum| before.rfind(sum)).max();
            assert!(!is_of_redis || before.rfind("max") > sum, "{name}: {query}");
        }
    }
}

/// `promtool` runs the tests of the rules. Here it is only seen that none lacks its own.
#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent() {
    let file = documents(&text("prometheus/alerts_test.yaml")).remove(0);
    let tests = file["tests"].as_array().unwrap().iter();
    let checks: Vec<&Value> = tests.flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten()).collect();
    for Alert { name, .. } in alerts() {
        let of_it = || checks.iter().filter(|check| check["alertname"] == name);
        let fires = |check: &&&Value| check["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
        assert!(of_it().any(|check| fires(&check)), "{name} fires in no test");
        assert!(of_it().any(|check| !fires(&check)), "{name} is silent in no test");
    }
}

/// Somebody has to decide of each cause whether it is a loss that an operator should hear of.
#[test]
fn each_cause_of_a_drop_has_a_test_in_which_it_fires_or_is_silent() {
    let (causes, tests) = (super::documents::causes(), text("prometheus/alerts_test.yaml"));
    assert!(causes.len() > 15, "{causes:?}");
    let untested = causes.into_iter().filter(|cause| !tests.contains(&format!("cause=\"{cause}\"")));
    assert_eq!(untested.collect::<Vec<_>>(), [""; 0]);
}

/// The thresholds are those at which `doctor` warns or fails.
#[test]
fn the_thresholds_are_those_of_doctor() {
    let source = |file: &str| std::fs::read_to_string(format!("{}/src/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (memory, lateness) = (source("queue/doctor/server.rs"), source("domain/lateness.rs"));
    let query = |name: &str| alerts().into_iter().find(|alert| alert.name == name).unwrap().query;
    for (alert, threshold, source, constant) in [
        ("LynkhookRedisFillsUp", ">= 0.75", &memory, "MEMORY_WARN: u64 = 75;"),
        ("LynkhookRedisAlmostFull", ">= 0.9", &memory, "MEMORY_FAIL: u64 = 90;"),
        ("LynkhookRetriesLate", "> 10", &lateness, "RETRY_FAILS_DOCTOR: Duration = Duration::from_secs(10);"),
        ("LynkhookEventsWait", "> 60", &lateness, "ENTRY_FORGOTTEN: Duration = Duration::from_mins(1);"),
    ] {
        assert!(query(alert).ends_with(threshold), "{alert}");
        assert!(source.contains(constant), "{constant}");
    }
}

/// The lines that find the cause are lines that the program takes.
#[tokio::test(flavor = "multi_thread")]
async fn each_command_in_a_section_is_one_of_the_program() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await.to_string();
    let mut commands = 0;
    for (alert, below) in sections() {
        assert!(below.contains("```sh\n"), "{alert} has no lines that find the cause");
        for line in below.lines().filter_map(|line| line.strip_prefix("lynkhook ")) {
            let line = line.split(" #").next().unwrap().replace("wh_…", &webhook);
            let output = here.program.run(line.split_whitespace()).await;
            // 5: `doctor` found a fault, such as that no worker is alive. 6: the endpoint does not answer a test.
            assert!(matches!(output.code, Some(0 | 1 | 5 | 6)), "{alert}: lynkhook {line}: {output:?}");
            commands += 1;
        }
    }
    assert!(commands > 10, "{commands}");
}
