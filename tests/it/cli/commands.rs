//! The `webhook` commands, for scripts and for people.

use redis::AsyncCommands;
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn in_json_every_command_answers_one_document_of_the_documented_shape() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let json = async |words: &[&str]| here.program.json(webhook("acme", words)).await;
    assert_eq!(json(&["list"]).await, json!([]));

    let secret = file("X-Webhook-Secret: my-secret-value-1234\n");
    let url = receiver.url("/hook?a=b");
    let mut words = vec!["add", "--url", &url, "--event", "transcript.created", "--header-file", path(&secret)];
    words.extend(["--description", "CRM sync", "--inactive"]);
    let added = json(&words).await;
    let webhook = id(&added).to_string();
    let mut expected = json!({
        "id": webhook,
        "account": "acme",
        "url": url,
        "events": ["transcript.created"],
        "authentication": { "type": "header", "name": "X-Webhook-Secret", "value": "••••1234" },
        "description": "CRM sync",
        "active": false,
        "revision": 1,
        "createdAt": added["createdAt"],
        "updatedAt": added["createdAt"],
    });
    assert_eq!(added, expected);
    assert!(chrono::DateTime::parse_from_rfc3339(added["createdAt"].as_str().unwrap()).is_ok(), "{added}");
    assert_eq!(json(&["show", &webhook]).await, expected);

    let token = file("short-token");
    let other = receiver.url("/other");
    let edit = ["edit", &webhook, "--url", &other, "--bearer-token-file", path(&token), "--description", ""];
    let edited = json(&edit).await;
    expected["url"] = other.as_str().into();
    expected["authentication"] = json!({ "type": "bearer", "token": "••••" });
    expected["description"] = "".into();
    expected["revision"] = 2.into();
    expected["updatedAt"] = edited["updatedAt"].clone();
    assert_eq!(edited, expected);

    for (words, active) in [
        (vec!["enable", &webhook], true),
        (vec!["disable", &webhook], false),
        (vec!["edit", &webhook, "--active"], true),
        (vec!["edit", &webhook, "--inactive"], false),
    ] {
        let switched = json(&words).await;
        expected["active"] = active.into();
        expected["revision"] = (expected["revision"].as_u64().unwrap() + 1).into();
        expected["updatedAt"] = switched["updatedAt"].clone();
        assert_eq!(switched, expected, "{words:?}");
    }
    let open = json(&["edit", &webhook, "--no-authentication"]).await;
    assert_eq!(open["authentication"], json!({ "type": "none" }));

    let second = add(&here.program, "acme", &url).await.to_string();
    let list = json(&["list"]).await;
    assert_eq!((&list[0], &list[1]["id"], list.as_array().unwrap().len()), (&open, &json!(second), 2), "oldest first");
    assert_eq!(json(&["logs", &webhook]).await, json!([]));
    let deleted = json(&["delete", &webhook]).await;
    assert_eq!(deleted, json!({ "id": webhook, "account": "acme", "dropped": { "held": 0, "failed": 0 } }));
    assert_eq!(json(&["list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_without_authentication_recommends_it_to_people_and_ends_with_the_advice_to_test() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let url = receiver.url("/hook");
    let open = ["add", "--url", &url];
    let added = here.program.run(webhook("acme", &open)).await;
    let last = added.stdout.lines().last().unwrap();
    let id = last.strip_prefix("Now test it: lynkhook webhook test --account acme ").unwrap();
    let advice = format!(
        "\nThis webhook has no authentication. Authentication is strongly recommended, so that your endpoint can verify \
         that a request is genuine:\n\
         lynkhook webhook edit --account acme {id} --bearer-token-file FILE   (or --header-file FILE)\n"
    );
    assert_eq!((added.code, added.stderr), (Some(0), advice));

    let json = here.program.run(webhook("acme", &["add", "--url", &url, "--json"])).await;
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["authentication"], json!({ "type": "none" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_added_and_printed_although_standard_error_takes_nothing() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut command = here.program.command(webhook("acme", &["add", "--url", &receiver.url("/hook")]));
    command.stderr(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.output().await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.lines().last().unwrap().starts_with("Now test it: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_tells_people_the_result_and_the_next_step() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let says = async |words: &[&str], expected: &[&str]| {
        let output = here.program.run(webhook("acme", words)).await;
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{words:?}: {output:#?}");
        for expected in expected {
            assert!(output.stdout.contains(expected), "{words:?} does not say {expected:?}:\n{}", output.stdout);
        }
        output.stdout
    };
    says(&["list"], &["Account acme has no webhooks", "lynkhook webhook add --account acme --url"]).await;
    let url = receiver.url("/hook");
    let token = file("a-token-of-ours");
    let added = says(
        &["add", "--url", &url, "--description", "CRM sync", "--bearer-token-file", path(&token)],
        &["ID", "URL", &url, "transcript.created", "bearer token", "CRM sync", "Active          yes"],
    )
    .await;
    let next = added.lines().last().unwrap();
    assert!(next.starts_with("Now test it: lynkhook webhook test --account acme wh_"), "{next}");
    let webhook = next.rsplit(' ').next().unwrap();

    says(&["list"], &["ID", "Active", "URL", "Events", "Authentication", "Description", webhook]).await;
    says(&["show", webhook], &[webhook, &url, "Revision        1"]).await;
    says(&["edit", webhook, "--description", "Slack"], &["Slack", "Revision        2"]).await;
    says(&["disable", webhook], &["Active          no", "held until you switch it on"]).await;
    says(&["enable", webhook], &["Active          yes", "held deliveries are delivered"]).await;
    says(&["logs", webhook], &["No deliveries yet", "lynkhook webhook test --account acme"]).await;
    says(&["delete", webhook], &[&format!("Deleted {webhook} of account acme"), "0 held and 0 failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_newest_first_and_have_every_promised_field() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(500), Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook_id = add(&here.program, "acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms")]);
    here.push("acme", TRANSCRIPT).await;
    here.finished(webhook_id).await;

    let webhook_id = webhook_id.to_string();
    let log = here.program.json(webhook("acme", &["logs", &webhook_id])).await;
    let entries = log.as_array().unwrap();
    entries.iter().for_each(assert_log_entry);
    let seen: Vec<_> = entries.iter().map(|entry| json!([entry["attempt"], entry["status"], entry["final"]])).collect();
    assert_eq!(json!(seen), json!([[2, "success", true], [1, "failed", false]]));

    let text = here.program.run(webhook("acme", &["logs", &webhook_id])).await.stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let places: Vec<_> = LOG_FIELDS.iter().map(|field| lines[0].find(field)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{text}");
    for (line, words) in [
        (lines[1], ["success", "transcript.created", "200", "2", "messageId=6601abc123def4567890abcd"]),
        (lines[2], ["failed", "transcript.created", "500", "1", "HTTP 500 Internal Server Error"]),
    ] {
        for word in words {
            assert!(line.contains(word), "{word} in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_show_a_number_exactly_as_the_event_has_it() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await;
    let webhook_id = here.add("acme", &receiver.url("/hook")).await;
    let (target, log) = (webhook_id.to_string(), here.key(&format!("logs:{webhook_id}")));
    let _worker = here.program.worker([]);
    for (count, number) in ["12345678901234567890123", "1e3", "1E+2", "1.0", "-0", "-0.0", "1e400", "true", "\"1e3\""]
        .into_iter()
        .enumerate()
    {
        let event =
            r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z","data":{"a":"\ud800","messageId":"#;
        here.push("acme", format!("{event} {number} }}}}")).await;
        let newest = eventually(SOON, "its log entry", async || {
            let entries: Vec<String> = here.redis.clone().lrange(&log, 0, -1).await.unwrap();
            (entries.len() == count + 1).then(|| entries[0].clone())
        })
        .await;
        let member = format!(r#""identifiers":{{"messageId":{number}}}"#);
        assert!(newest.contains(&member), "{newest}");
        for shown in ["logs", "failed"] {
            let json = here.program.run(webhook("acme", &[shown, &target, "--json"])).await.stdout;
            let member = format!(r#""messageId": {number}"#);
            assert!(json.contains(&member), "{member} in {json}");
            let text = here.program.run(webhook("acme", &[shown, &target])).await.stdout;
            assert!(text.contains(number.trim_matches('"')), "{number} in {text}");
        }
    }
}
