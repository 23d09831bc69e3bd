//! `lynkhook apikey`, for scripts and for people.

use serde_json::json;

use super::*;

fn program() -> Program {
    Program::new(RedisServer::shared(), &RedisServer::shared().unique_prefix())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_json_every_command_answers_the_documented_shape_and_the_key_comes_once() {
    let program = program();
    assert_eq!(program.json(["apikey", "list"]).await, json!([]));
    let words = ["apikey", "add", "--name", "backend", "--scope", "events:write", "webhooks:read", "--account", "acme"];
    let added = program.json([&words[..], &["--expires", "90d"]].concat()).await;
    let (key, id) = (added["key"].as_str().unwrap(), added["id"].as_str().unwrap());
    assert!(key.starts_with(&format!("lynk_{id}_")) && key.len() == 68, "{added}");
    let mut expected = json!({
        "id": id, "name": "backend", "scopes": ["events:write", "webhooks:read"], "account": "acme",
        "createdAt": added["createdAt"], "expiresAt": added["expiresAt"], "expired": false,
    });
    assert_eq!(program.json(["apikey", "list"]).await, json!([expected]), "without the key");
    expected["key"] = key.into();
    assert_eq!(added, expected);
    let days = |text: &Value| chrono::DateTime::parse_from_rfc3339(text.as_str().unwrap()).unwrap();
    assert_eq!((days(&added["expiresAt"]) - days(&added["createdAt"])).num_days(), 90);

    let rotated = program.json(["apikey", "rotate", id, "--overlap", "0s"]).await;
    assert_ne!(rotated["id"], id);
    assert_eq!((&rotated["scopes"], &rotated["account"]), (&added["scopes"], &added["account"]));
    let listed = program.json(["apikey", "list"]).await;
    assert_eq!((&listed[0]["expired"], &listed[1]["expired"]), (&json!(true), &json!(false)), "{listed}");
    assert_eq!(program.run(["apikey", "revoke", id]).await.code, Some(0));
    assert_eq!(program.json(["apikey", "list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_have_commas_or_spaces_between_them_or_are_arguments_of_their_own() {
    let program = program();
    for scopes in [&["portal,logs:read"][..], &["logs:read portal"], &["logs:read", "portal"], &["logs:read, portal"]] {
        let words = ["apikey", "add", "--name", "x", "--json", "--scope"].iter().chain(scopes);
        assert_eq!(program.json(words.copied()).await["scopes"], json!(["logs:read", "portal"]), "{scopes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_that_a_key_is_shown_only_now_and_the_log_never_has_it() {
    let program = program().env("LYNKHOOK_LOG__FILTER", "trace");
    let empty = program.run(["apikey", "list"]).await;
    assert!(empty.stdout.contains("lynkhook apikey add --name NAME --scope SCOPE"), "{empty:#?}");
    let added = program.run(["apikey", "add", "--name", "backend", "--scope", "admin"]).await;
    let key = added.stdout.lines().last().unwrap().to_owned();
    assert!(key.starts_with("lynk_") && added.stdout.contains("shown only now"), "{added:#?}");
    let id = &key[5..17];
    let rotated = program.run(["apikey", "rotate", id, "--overlap", "24h"]).await;
    assert!(rotated.stdout.contains(&format!("The old key {id} works for 1day more.")), "{rotated:#?}");
    let listed = program.run(["apikey", "list"]).await;
    for words in ["ID", "Last used", "never", "admin", "backend", "all", id] {
        assert!(listed.stdout.contains(words), "{words}: {listed:#?}");
    }
    let revoked = program.run(["apikey", "revoke", id]).await;
    assert_eq!(revoked.stdout, format!("Revoked the key {id}. Every server refuses it within 5 seconds.\n"));
    let logs = [&added, &rotated, &listed, &revoked].map(|output| output.stderr.as_str());
    for (log, words) in [(logs[0], "API key added"), (logs[1], "API key rotated"), (logs[3], "API key revoked")] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(words)).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(id) && !lines[0].contains("backend"), "who and which fields, no values: {lines:?}");
    }
    let secret = &key[18..61];
    assert!(logs.iter().all(|log| !log.contains(secret)) && !listed.stdout.contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_says_why_with_its_exit_code_and_adds_nothing() {
    let program = program();
    for (words, code, says) in [
        ("add --name x --scope admin --account acme", 4, "`admin` concerns all accounts"),
        ("add --name x --scope events:write,queue:read --account acme", 4, "`queue:read` concerns all accounts"),
        ("add --name x --scope events:write --expires 0s", 4, "expires: a key ends in 1 second to 3650 days"),
        ("add --name x --scope events:wirte", 2, "did you mean `events:write`?"),
        ("add --name x", 2, "--scope"),
        ("add --scope admin", 2, "--name"),
        ("add --name x --scope admin --expires 3M", 2, "means months"),
        ("add --name x --scope admin --account a/b", 2, "an account is"),
        ("revoke nosuchapikey", 3, "there is no API key nosuchapikey; list them with `lynkhook apikey list`"),
        ("revoke no-key", 2, "12 letters and digits"),
        ("rotate nosuchapikey --overlap 24h", 3, "there is no API key"),
        ("rotate nosuchapikey", 2, "--overlap"),
    ] {
        let output = program.run(["apikey"].into_iter().chain(words.split(' '))).await;
        assert_refused(words, &output, code, &[says]);
    }
    assert_eq!(program.json(["apikey", "list"]).await, json!([]));
    let nowhere = program.env("LYNKHOOK_REDIS__URL", format!("redis://127.0.0.1:{}/", refused_port()));
    assert_refused("list", &nowhere.run(["apikey", "list"]).await, 5, &["start Redis"]);
}
