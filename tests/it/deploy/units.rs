//! The units of systemd. No systemd runs here as the first process, so the test does with a unit what systemd would: it
//! gives the program the variables, the credential and the socket, and listens.

use std::{collections::BTreeMap, path::PathBuf};

use crate::support::*;

use super::supervisor::Manager;

/// A unit's lines `key=value`, in order.
pub(super) fn unit(name: &str) -> Vec<(String, String)> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty());
    lines.map(|line| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap()).collect()
}

/// The values of a key.
pub(super) fn values<'a>(unit: &'a [(String, String)], key: &str) -> Vec<&'a str> {
    unit.iter().filter(|(found, _)| found == key).map(|(_, value)| value.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_unit_starts_its_process_with_the_files_that_it_names_and_hears_that_it_works() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    receiver.plan("/hook", [Answer::Status(200)]);
    for (name, process) in [("lynkhook-worker@.service", "worker"), ("lynkhook-server.service", "server")] {
        let unit = unit(name);
        assert_eq!(values(&unit, "Type"), ["notify"]);
        assert_eq!(values(&unit, "ExecStart"), [format!("/usr/local/bin/lynkhook {process}")]);
        assert_eq!(values(&unit, "EnvironmentFile"), [format!("/etc/lynkhook/{process}.env")]);
        let credentials = tempfile::tempdir().unwrap();
        let credential = values(&unit, "LoadCredential")[0].split_once(':').unwrap();
        assert_eq!(credential.1, "/etc/lynkhook/secrets.key");
        std::fs::write(credentials.path().join(credential.0), format!("{SECRETS_KEY}\n")).unwrap();
        // The variables of the tests take the place of the environment file.
        let mut program =
            here.program.clone().env("LYNKHOOK_SECRETS__KEY", "").env("LYNKHOOK_SERVER__BIND", "127.0.0.1:0");
        for variable in values(&unit, "Environment") {
            let (name, value) = variable.split_once('=').unwrap();
            program = program.env(name, value.replace("%d", &credentials.path().display().to_string()));
        }
        let manager = Manager::listen();
        let mut running = manager.starts(&program).start([process]);
        manager.hears("READY=1").await;
        manager.hears("WATCHDOG=1").await;
        if process == "worker" {
            here.add("acme", &receiver.url("/hook")).await;
            here.push("acme", TRANSCRIPT).await;
            receiver.wait_for("/hook", 1, SOON).await;
        }
        running.sigterm();
        manager.hears("STOPPING=1").await;
        assert_eq!(running.wait().await, Some(0));
        assert!(!running.stderr().contains("no key for secrets"), "the credential is read: {}", running.stderr());
    }
}

#[test]
fn both_units_have_the_same_fences_and_restart_all_but_wrong_settings() {
    let by_key = |name| {
        let mut keys = BTreeMap::<String, Vec<String>>::new();
        for (key, value) in unit(name) {
            keys.entry(key).or_default().push(value);
        }
        for own in ["Description", "ExecStart", "EnvironmentFile", "MemoryMax"] {
            keys.remove(own).unwrap_or_else(|| panic!("{name} has no {own}"));
        }
        keys
    };
    let (worker, server) = (by_key("lynkhook-worker@.service"), by_key("lynkhook-server.service"));
    assert_eq!(worker, server);
    assert_eq!(worker["Restart"], ["always"]);
    assert_eq!(worker["RestartPreventExitStatus"], ["2"]);
    assert_eq!(worker["WatchdogSec"], ["30s"], "a process that falls silent is restarted");
    assert_eq!(worker["LimitCORE"], ["0"], "a core dump holds secrets");
}
