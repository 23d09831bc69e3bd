//! From `webhook add` to the header that the receiver gets.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_sees_exactly_the_token_or_header_of_the_file() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _worker = here.program.worker([]);
    let rows = [
        ("--bearer-token-file", "t0ken-1", "authorization", "Bearer t0ken-1"),
        ("--bearer-token-file", "t0ken-2\n", "authorization", "Bearer t0ken-2"),
        ("--bearer-token-file", "t0ken-3\r\n", "authorization", "Bearer t0ken-3"),
        ("--header-file", "X-Webhook-Secret: my-secret-value\n", "x-webhook-secret", "my-secret-value"),
        ("--header-file", "X-Webhook-Secret:a:b c", "x-webhook-secret", "a:b c"),
        ("--header-file", "Authorization: Basic dTpw\r\n", "authorization", "Basic dTpw"),
    ];
    for (number, (flag, content, header, value)) in rows.into_iter().enumerate() {
        for stdin in [false, true] {
            let (name, account) = (format!("{flag} {content:?}, stdin: {stdin}"), format!("a{number}-{stdin}"));
            let hook = format!("/{account}");
            receiver.plan(&hook, [Answer::Status(200)]);
            let (secret, url) = (file(content), receiver.url(&hook));
            let (source, input) = if stdin { ("-", content) } else { (path(&secret), "") };
            let words = webhook(&account, &["add", "--url", &url, flag, source]);
            let added = here.program.json_with_input(words, input).await;
            let kind = if flag == "--header-file" { "header" } else { "bearer" };
            assert_eq!(added["authentication"]["type"], kind, "{name}");
            here.push(&account, TRANSCRIPT).await;
            let request = &receiver.wait_for(&hook, 1, SOON).await[0];
            assert_eq!(request.header(header), Some(value), "{name}");
            let other = if header == "authorization" { "x-webhook-secret" } else { "authorization" };
            assert!(!request.headers.contains_key(other), "{name}");
            assert_eq!(request.body, TRANSCRIPT.as_bytes(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_event_flags_a_webhook_wants_the_whole_catalogue() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let types = r#"{ "call.ended" = { description = "A call ended" } }"#;
    let program = here.program.clone().env("LYNKHOOK_EVENT__TYPES", types);
    let url = receiver.url("/hook");
    for (account, events, expected) in [
        ("all", vec![], vec!["call.ended", "transcript.created"]),
        ("one", vec!["--event", "call.ended"], vec!["call.ended"]),
        (
            "two",
            vec!["--event", "transcript.created", "--event=call.ended", "--event=call.ended"],
            vec!["call.ended", "transcript.created"],
        ),
    ] {
        let words: Vec<&str> = ["add", "--url", &url].into_iter().chain(events).collect();
        let added = program.json(webhook(account, &words)).await;
        assert_eq!(added["events"], serde_json::json!(expected), "{account}");
        assert_eq!(added["active"], true);
    }
}
