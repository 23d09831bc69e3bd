//! Help, version, completions.

use super::*;

/// Each command, and the flags and words that scripts rely on.
const COMMANDS: [(&str, &[&str]); 23] = [
    ("", &["worker", "dev", "enqueue", "webhook", "secrets", "completions", "--config", "--redis-url", "--version"]),
    ("worker", &["--config", "--redis-url", "SIGTERM"]),
    ("enqueue", &["--account", "--file", "--id", "--stop-at-first-error", "--json"]),
    ("dev", &["--once", "Ctrl-C"]),
    ("webhook", &["add", "list", "show", "edit", "enable", "disable", "delete", "test", "logs"]),
    (
        "webhook add",
        &[
            "--account",
            "--url",
            "--event",
            "--bearer-token-file",
            "--header-file",
            "--description",
            "--inactive",
            "--json",
        ],
    ),
    ("webhook list", &["--account", "--json"]),
    ("webhook show", &["--account", "<ID>", "--json"]),
    (
        "webhook edit",
        &[
            "--account",
            "<ID>",
            "--url",
            "--event",
            "--bearer-token-file",
            "--header-file",
            "--description",
            "--active",
            "--inactive",
            "--no-authentication",
            "--json",
        ],
    ),
    ("webhook enable", &["--account", "<ID>", "--discard-held", "--revision", "--json"]),
    ("webhook disable", &["--account", "<ID>", "--revision", "--json"]),
    ("webhook delete", &["--account", "<ID>", "--revision", "--json"]),
    ("webhook test", &["--account", "<ID>", "--json"]),
    ("webhook logs", &["--account", "<ID>", "--follow", "--status", "--event", "--identifier", "--json"]),
    ("webhook held", &["--account", "<ID>", "--json"]),
    ("apikey", &["add", "list", "revoke", "rotate"]),
    ("apikey add", &["--name", "--scope", "--account", "--expires", "--json", "payloads:read"]),
    ("apikey list", &["--json"]),
    ("apikey revoke", &["<ID>"]),
    ("apikey rotate", &["<ID>", "--overlap", "--json"]),
    ("secrets new-key", &["LYNKHOOK_SECRETS__KEY_FILE"]),
    ("secrets rotate", &["--dry-run", "--json", "remove the old one"]),
    ("completions", &["bash", "zsh", "fish"]),
];

/// The program without Redis: none of these commands needs it.
fn program() -> Program {
    Program::new(RedisServer::shared(), "unused").env("LYNKHOOK_REDIS__URL", "redis://127.0.0.1:1/")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_help_that_names_its_flags() {
    for (command, words) in COMMANDS {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let output = program().run(&arguments).await;
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{command}");
        for word in words {
            assert!(output.stdout.contains(word), "{command} --help lacks {word}:\n{}", output.stdout);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_and_completions_go_to_standard_output() {
    let version = program().run(["--version"]).await;
    assert_eq!((version.code, version.stdout.trim_end()), (Some(0), concat!("lynkhook ", env!("CARGO_PKG_VERSION"))));
    for shell in ["bash", "zsh", "fish"] {
        let output = program().run(["completions", shell]).await;
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["lynkhook", "webhook", "bearer-token-file"] {
            assert!(output.stdout.contains(word), "{shell}: {word}");
        }
    }
    let nothing = program().run([] as [&str; 0]).await;
    assert_eq!(nothing.code, Some(2), "running without a command is an error");
    assert!(nothing.stderr.contains("Usage:"), "{nothing:#?}");
}
