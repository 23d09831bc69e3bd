//! `lynkhook dev`, on a machine with only `redis-server` installed.

use std::path::Path;

use serde_json::json;
use tokio::process::Command;

use super::*;

/// `lynkhook dev` with these flags in a folder.
fn dev(folder: &Path, flags: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook"));
    command.arg("dev").args(flags).current_dir(folder).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    Process::spawn(command, Vec::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_in_an_empty_folder_tells_its_story_and_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let output = dev(folder.path(), &["--once"]).output(SOON * 2).await;
    assert_eq!(output.code, Some(0), "{output:#?}");
    for words in ["transcript.created", "https://localhost:", "503", "404", "Identifiers"] {
        assert!(output.stdout.contains(words), "{words}: {}", output.stdout);
    }
    let made: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(made, [".lynkhook"], "it keeps to its folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_serves_the_api_and_prints_its_address_and_a_key_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    // Only the first test of this process installs it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for run in 1..=2 {
        let process = dev(folder.path(), &[]);
        let address = process.wait_for_line("API        http://").await;
        let address = address.split_whitespace().find_map(|word| word.strip_suffix("/docs;")).unwrap().to_owned();
        let file = folder.path().join(".lynkhook/api.key");
        let key = std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let me = client.get(format!("{address}/v1/key")).bearer_auth(&key).send().await.unwrap();
        assert_eq!(me.status(), 200);
        let me: Value = serde_json::from_slice(&me.bytes().await.unwrap()).unwrap();
        assert_eq!(me["scopes"], json!(["admin"]));
        keys.push(key);
        if run == 1 {
            let printed = process.wait_for_line("LYNKHOOK_KEY=lynk_").await;
            assert!(printed.contains(&keys[0]) && printed.contains(&address), "{printed}");
        }
        process.sigint();
        assert_eq!(process.output(SOON).await.code, Some(0));
    }
    assert_eq!(keys[0], keys[1], "the next run has the same key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_prints_a_link_to_the_screen_with_its_webhooks_and_the_way_to_another() {
    let folder = tempfile::tempdir().unwrap();
    // Only the first test of this process installs it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let process = dev(folder.path(), &[]);
    let printed = process.wait_for_line("screen     http://").await;
    let link = printed.split_whitespace().find(|word| word.contains("/accounts/acme/enter?link=")).unwrap().to_owned();
    let asked = client.get(&link).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    assert!(asked.text().await.unwrap().contains("Open webhooks"));
    process.wait_for_line("Press Ctrl-C to end.").await;
    let (server, _) = link.split_once("/accounts").unwrap();
    let entered = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let entered =
        entered.post(&link).header("origin", server).header("content-type", "application/x-www-form-urlencoded");
    let entered = entered.send().await.unwrap();
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let list = client.get(format!("{server}/accounts/acme/webhooks")).header("cookie", cookie).send().await.unwrap();
    let list = list.text().await.unwrap();
    assert!(list.contains("CRM sync") && list.contains("Slack notifications"), "{list}");
    let another = process.wait_for_line("/v1/accounts/acme/portal-links").await;
    let script = format!(
        "curl -sS -H \"Authorization: Bearer $(cat .lynkhook/api.key)\" -H 'Content-Type: application/json' {another}"
    );
    let made = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().await.unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{script}: {made:?}"));
    assert!(made["url"].as_str().unwrap().starts_with(&format!("{server}/accounts/acme/enter?link=")), "{made}");
    process.sigint();
    assert_eq!(process.output(SOON).await.code, Some(0));
}
