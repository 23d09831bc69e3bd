//! Every platform gives Lynkhook enough time to stop: `shutdown_grace` and 10 s more.

use lynkhook::config::Settings;
use serde_json::{Value, json};

use super::files::{documents, folder, manifest, seconds, text};

/// The margin that `config/default.toml` tells people to leave.
const MARGIN_SECONDS: u64 = 10;

/// `shutdown_grace` of a component, in seconds.
fn grace(component: &str) -> u64 {
    let settings = Settings::load(None, [] as [(&str, &str); 0]).unwrap();
    match component {
        "worker" => settings.worker.shutdown_grace.as_secs(),
        "server" => settings.server.shutdown_grace.as_secs(),
        other => panic!("{other} is no component"),
    }
}

#[test]
fn kubernetes_waits_ten_seconds_longer_than_a_process_takes_to_stop() {
    for component in ["worker", "server"] {
        let deployment = manifest("Deployment", &format!("lynkhook-{component}"));
        let waits = seconds(&deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]);
        assert_eq!(waits, Some(grace(component) + MARGIN_SECONDS), "{component}");
    }
}

/// Kubernetes counts the pause as part of the grace period.
#[test]
fn the_pause_before_a_server_is_told_to_stop_leaves_it_time_to_stop_and_a_worker_has_no_pause() {
    let pod = |component: &str| {
        let deployment = manifest("Deployment", &format!("lynkhook-{component}"));
        deployment["spec"]["template"]["spec"].clone()
    };
    let (worker, server) = (pod("worker"), pod("server"));
    assert_eq!(worker["containers"][0]["lifecycle"], Value::Null);
    let lifecycle = &server["containers"][0]["lifecycle"];
    let pause = lifecycle["preStop"]["sleep"]["seconds"].as_u64().expect("the server has a pause");
    assert_eq!(lifecycle, &json!({ "preStop": { "sleep": { "seconds": pause } } }));
    let waits = seconds(&server["terminationGracePeriodSeconds"]).unwrap();
    assert!(pause > 0 && pause + grace("server") < waits, "{pause} s of {waits} s");
}

#[test]
fn compose_waits_ten_seconds_longer_than_a_process_takes_to_stop() {
    let compose = documents(&text("compose.yaml")).remove(0);
    let services = compose["services"].as_object().expect("there are services");
    for component in ["worker", "server"] {
        let its = services.iter().filter(|(name, _)| name.contains(component));
        assert!(its.clone().count() > 0, "no service is a {component}");
        for (name, service) in its {
            let waits = seconds(&service["stop_grace_period"]);
            assert_eq!(waits, Some(grace(component) + MARGIN_SECONDS), "{name}: {}", service["stop_grace_period"]);
        }
    }
}

#[test]
fn systemd_waits_ten_seconds_longer_than_a_process_takes_to_stop() {
    for component in ["worker", "server"] {
        let units: Vec<String> = folder("systemd")
            .into_iter()
            .filter(|path| path.ends_with(".service") && path.contains(component))
            .collect();
        assert!(!units.is_empty(), "no unit is a {component}");
        for unit in units {
            let file = text(&unit);
            let values: Vec<&str> = file.lines().filter_map(|line| line.strip_prefix("TimeoutStopSec=")).collect();
            let waits = values.iter().map(|&value| seconds(&value.into())).collect::<Vec<_>>();
            assert_eq!(waits, [Some(grace(component) + MARGIN_SECONDS)], "{unit}: {values:?}");
        }
    }
}
