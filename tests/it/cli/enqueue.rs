//! `lynkhook enqueue`, all the way to the receiver. `tests/it/enqueue.rs` tests it with a Redis that is full or silent.

use std::collections::BTreeSet;

use super::*;

/// `lynkhook enqueue` for an account.
fn enqueue<'a>(account: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["enqueue", "--account", account].iter().chain(more).copied().collect()
}

fn envelope(message: &str) -> String {
    format!(
        r#"{{ "z": 1.50, "event":"transcript.cre\u0061ted","timestamp":"2026-03-26T14:32:00Z","data":{{"messageId":"{message}","é":"å"}} }}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_envelope_from_a_file_or_standard_input_reaches_the_receiver_byte_for_byte() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _worker = here.program.worker([]);
    let pretty = file(TRANSCRIPT);
    let plain = envelope("m1") + "\n";
    let rows: [(&str, Vec<&str>, &str, &str); 5] = [
        ("file", vec!["--file", path(&pretty), "--id", "event-1"], "", TRANSCRIPT),
        ("piped", vec!["--id", "event-2"], &plain, &plain),
        ("dash", vec!["-"], TRANSCRIPT, TRANSCRIPT),
        ("file-dash", vec!["--file", "-"], TRANSCRIPT, TRANSCRIPT),
        ("json", vec!["--json"], &plain, &plain),
    ];
    for (account, flags, input, expected) in rows {
        let hook = format!("/{account}");
        receiver.plan(&hook, [Answer::Status(200)]);
        add(&here.program, account, &receiver.url(&hook)).await;
        let output = here.program.run_with_input(enqueue(account, &flags), input).await;
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{account}: {output:#?}");
        let mut derived = None;
        let entry = if flags.contains(&"--json") {
            let answer: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(answer["account"], account);
            derived = answer["id"].as_str().map(str::to_owned);
            answer["entry"].as_str().unwrap().to_owned()
        } else {
            output.stdout.trim_end().to_owned()
        };
        assert!(entry.split_once('-').is_some_and(|(ms, _)| ms.parse::<u64>().is_ok()), "a stream id: {entry}");
        let request = &receiver.wait_for(&hook, 1, SOON).await[0];
        assert_eq!(request.body, expected.as_bytes(), "{account}");
        if let Some(id) = flags.iter().skip_while(|flag| **flag != "--id").nth(1).copied().or(derived.as_deref()) {
            assert_eq!(request.header("webhook-id"), Some(id), "{account}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_lines_the_invalid_one_is_named_and_the_others_arrive() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _worker = here.program.worker([]);
    let lines = [envelope("m1"), r#"{"event":"no.such","data":"Hi, thanks"}"#.to_owned(), envelope("m3")];
    let expected: BTreeSet<&[u8]> = [lines[0].as_bytes(), lines[2].as_bytes()].into();
    let input = lines.join("\n");
    let from_file = file(&input);
    for (account, flags, input) in
        [("file", vec!["--file", path(&from_file)], ""), ("stdin", vec![], &*input), ("json", vec!["--json"], &*input)]
    {
        let hook = format!("/{account}");
        receiver.plan(&hook, [Answer::Status(200)]);
        add(&here.program, account, &receiver.url(&hook)).await;
        let output = here.program.run_with_input(enqueue(account, &flags), input).await;
        assert_eq!(output.code, Some(4), "{account}: {output:#?}");
        assert!(output.stderr.starts_with("line 2: "), "{account}: {output:#?}");
        assert!(output.stderr.ends_with("2 enqueued, 1 refused\n"), "{account}: {output:#?}");
        assert!(!output.stderr.contains("Hi, thanks"), "the payload is printed: {output:#?}");
        if account == "json" {
            let ids: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!((&ids[0]["line"], &ids[1]["line"]), (&1.into(), &3.into()), "{ids}");
        } else {
            assert_eq!(output.stdout.lines().count(), 2, "{account}: {output:#?}");
        }
        let requests = receiver.wait_for(&hook, 2, SOON).await;
        if account == "json" {
            let answered: Value = serde_json::from_str(&output.stdout).unwrap();
            let answered: BTreeSet<_> = answered.as_array().unwrap().iter().map(|line| line["id"].as_str()).collect();
            let webhook_ids: BTreeSet<_> = requests.iter().map(|request| request.header("webhook-id")).collect();
            assert_eq!(answered, webhook_ids);
        }
        assert_eq!(requests.iter().map(|request| &request.body[..]).collect::<BTreeSet<_>>(), expected, "{account}");
    }
    here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_to_enqueue_says_why() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let away = here.program.clone().env("LYNKHOOK_REDIS__URL", format!("redis://127.0.0.1:{}/", refused_port()));
    let test_event = envelope("m").replace(r"transcript.cre\u0061ted", "webhook.test");
    for (program, arguments, input, code, says) in [
        (&here.program, enqueue("a b", &[]), TRANSCRIPT, 2, "1 to 128 of"),
        (&here.program, vec!["enqueue"], TRANSCRIPT, 2, "--account"),
        (&here.program, enqueue("acme", &["--id", "a b"]), TRANSCRIPT, 2, "--id"),
        (&here.program, enqueue("acme", &["--file", "/nowhere.json"]), "", 2, "/nowhere.json"),
        (&here.program, enqueue("acme", &["--json"]), "[]", 4, "object"),
        (&here.program, enqueue("acme", &[]), &test_event, 4, "webhook.test"),
        (&away, enqueue("acme", &[]), TRANSCRIPT, 5, "Redis is unreachable"),
    ] {
        let output = program.run_with_input(&arguments, input).await;
        assert_refused(&format!("{arguments:?} {input}"), &output, code, &[says]);
    }
    let queued: bool = redis::AsyncCommands::exists(&mut here.redis.clone(), here.key("queue")).await.unwrap();
    assert!(!queued, "nothing was enqueued");
}
