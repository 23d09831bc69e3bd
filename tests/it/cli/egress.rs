//! `lynkhook egress check` answers like saving and connecting, for every example in `tests/vectors`.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Example {
    #[serde(default)]
    url: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
    expect: String,
}

impl Example {
    /// Whether the example must be allowed; `None` if it is not judged.
    fn allowed(&self) -> Option<bool> {
        match self.expect.as_str() {
            "accept" | "allowed" | "public" => Some(true),
            "reject" | "blocked" => Some(false),
            _ => None,
        }
    }
}

fn examples(json: &str) -> Vec<Example> {
    let examples: Vec<Example> = serde_json::from_str(json).unwrap();
    assert!(examples.iter().any(|e| e.allowed() == Some(true)) && examples.iter().any(|e| e.allowed() == Some(false)));
    examples
}

/// A program with an empty allow list. No command here needs Redis.
fn strict() -> Program {
    Program::new(RedisServer::shared(), "unused")
        .env("LYNKHOOK_EGRESS__ALLOW", "")
        .env("LYNKHOOK_REDIS__URL", "redis://127.0.0.1:1/")
}

/// One JSON object for each printed line.
fn objects(output: &Output) -> Vec<Value> {
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_a_url_and_an_address_is_judged_as_it_says() {
    let urls = examples(include_str!("../../vectors/url_vectors.json"));
    let ips = examples(include_str!("../../vectors/ip_vectors.json"));
    // A line ends at its newline, so inputs with one inside are passed as arguments; no argument can hold a NUL.
    let inputs = urls.iter().map(|e| (&e.url, e)).chain(ips.iter().map(|e| (&e.ip, e)));
    let (arguments, lines): (Vec<_>, Vec<_>) =
        inputs.filter(|(text, _)| !text.contains('\0')).partition(|(text, _)| text.contains('\n'));
    let mut input = String::new();
    for (text, _) in &lines {
        writeln!(input, "{text}").unwrap();
    }
    let words = ["egress", "check", "--json"];
    let from_lines = strict().run_with_input(words, input).await;
    let from_arguments = strict().run(words.into_iter().chain(arguments.iter().map(|(text, _)| text.as_str()))).await;
    assert_eq!((from_lines.code, from_arguments.code), (Some(4), Some(4)), "some are refused");
    for (given, output) in [(lines, from_lines), (arguments, from_arguments)] {
        let objects = objects(&output);
        assert_eq!(objects.len(), given.len());
        for ((text, example), object) in given.into_iter().zip(objects) {
            assert_eq!(object["input"], text.as_str());
            assert_eq!(object["allowed"].as_bool().unwrap(), object["reason"].is_null(), "{object}");
            if let Some(allowed) = example.allowed() {
                assert_eq!(object["allowed"], allowed, "{object}");
            }
            if !example.ip.is_empty() && text.parse::<std::net::IpAddr>().is_ok() {
                assert_eq!(object["kind"], "ip");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_a_header_is_judged_as_it_says_and_no_value_is_printed() {
    let examples = examples(include_str!("../../vectors/header_vectors.json"));
    let mut input = String::new();
    for Example { name, value, .. } in &examples {
        writeln!(input, "{}", json!({ "name": name, "value": value })).unwrap();
    }
    let output = strict().run_with_input(["egress", "check-header", "--json"], input).await;
    let objects = objects(&output);
    assert_eq!((output.code, objects.len()), (Some(4), examples.len()));
    for (example, object) in examples.iter().zip(objects) {
        assert_eq!((object["kind"].as_str(), object["input"].as_str()), (Some("header"), Some(example.name.as_str())));
        if let Some(allowed) = example.allowed() {
            assert_eq!(object["allowed"], allowed, "{object}");
        }
    }
    assert!(!output.stdout.contains("s3cr3t-token-0123456789"));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_line_for_each_input_and_scripts_the_exit_code() {
    let fine = strict().run(["egress", "check", "https://example.com/hook", "example.com", "8.8.8.8"]).await;
    assert_eq!(fine.code, Some(0), "{fine:#?}");
    assert_eq!(fine.stdout, "allowed  https://example.com/hook\nallowed  example.com\nallowed  8.8.8.8\n");
    let refused = strict().run_with_input(["egress", "check"], "localhost\n169.254.169.254\n\nexample.com").await;
    assert_eq!(refused.code, Some(4), "{refused:#?}");
    let lines: Vec<&str> = refused.stdout.lines().collect();
    assert!(lines[0].starts_with("refused  localhost  ") && lines[0].contains("no dot"), "{}", lines[0]);
    assert!(lines[1].contains("link-local") && lines[1].contains("RFC 3927"), "{}", lines[1]);
    assert!(lines[2].contains("no host name"), "an empty line is judged too: {}", lines[2]);
    assert_eq!(lines[3], "allowed  example.com");
    let header = strict().run_with_input(["egress", "check-header"], "X-Key: s3cret\nCookie: s3cret\ns3cret\n").await;
    assert_eq!(header.code, Some(4), "{header:#?}");
    assert!(header.stdout.starts_with("allowed  X-Key\nrefused  Cookie  ") && !header.stdout.contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_allows_is_allowed() {
    let allowing = strict().env("LYNKHOOK_EGRESS__ALLOW", "10.0.0.0/8,hooks.internal");
    let words =
        ["egress", "check", "--json", "10.1.2.3", "hooks.internal", "https://hooks.internal/", "https://10.1.2.3/"];
    let output = allowing.run(words).await;
    let allowed: Vec<Value> = objects(&output).iter().map(|object| object["allowed"].clone()).collect();
    assert_eq!(allowed, [true, true, true, false], "an address never stands in a URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_only_on_request() {
    let dns = DnsServer::start().await;
    let address = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    dns.set("good.lynkhook.dev", [address("8.8.8.8"), address("2606:4700::1111")]);
    dns.set("bad.lynkhook.dev", [address("8.8.8.8"), address("10.0.0.1")]);
    let program = strict().resolving_with(&dns);
    let names = ["https://good.lynkhook.dev/x", "bad.lynkhook.dev", "gone.lynkhook.dev", "8.8.4.4"];

    let spelled = program.run(["egress", "check"].into_iter().chain(names)).await;
    assert_eq!(spelled.code, Some(0), "{spelled:#?}");
    assert_eq!(dns.queries("good.lynkhook.dev"), 0);

    let resolved = program.run(["egress", "check", "--resolve", "--json"].into_iter().chain(names)).await;
    assert_eq!(resolved.code, Some(4), "{resolved:#?}");
    let [good, bad, gone, ip] = objects(&resolved).try_into().unwrap();
    assert_eq!(good["addresses"], json!(["8.8.8.8", "2606:4700::1111"]));
    assert!(bad["reason"].as_str().unwrap().contains("10.0.0.1 is a private address"), "{bad}");
    assert_eq!(gone["reason"], "DNS: no such host gone.lynkhook.dev");
    assert_eq!(ip, json!({ "input": "8.8.4.4", "kind": "ip", "allowed": true, "reason": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_before_standard_input_is_skipped_and_utf_16_is_named() {
    for (command, line) in [("check", "https://example.com/"), ("check-header", "X-Api-Key: v")] {
        let output = strict().run_with_input(["egress", command, "--json"], format!("\u{feff}{line}\r\n{line}")).await;
        // The carriage return is part of the judged input.
        let allowed: Vec<_> = objects(&output).iter().map(|verdict| verdict["allowed"].clone()).collect();
        assert_eq!(allowed.last(), Some(&json!(true)), "{output:#?}");
        let marked = strict().run_with_input(["egress", command, "--json"], format!("\u{feff}{line}\n{line}")).await;
        assert_eq!((marked.code, objects(&marked).len()), (Some(0), 2), "{marked:#?}");
        let utf16: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let refused = strict().run_with_input(["egress", command], utf16).await;
        assert_refused(command, &refused, 1, &["standard input", "is UTF-16; save it as UTF-8"]);
    }
}
