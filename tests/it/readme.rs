//! README's blocks of code: each is run, compiled or parsed. Other documents have theirs run with the same functions.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use lynkhook::config::Settings;

use crate::support::*;

const README: &str = include_str!("../../README.md");
/// A comment after a block says why it is not run. So many blocks may have one.
const NOT_RUN: &str = "<!-- not run: ";
const NOT_RUN_MAX: usize = 3;
/// Starts a server beside the script, and waits until it serves.
const SERVED: &str = "LYNKHOOK_SERVER__BIND=127.0.0.1:8080 lynkhook server & \
                      until curl -sf http://127.0.0.1:8080/healthz; do sleep 0.1; done";

/// The blocks of a document: language and text, without those that are not run.
pub(crate) fn blocks(document: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut parts = document.split("```").skip(1);
    let (mut blocks, mut not_run) = (Vec::new(), 0);
    while let Some(block) = parts.next() {
        let (language, text) = block.split_once('\n').unwrap();
        let after = parts.next().expect("each block is closed");
        if after.trim_start().starts_with(NOT_RUN) {
            not_run += 1;
        } else {
            blocks.push((language, text));
        }
    }
    assert!(not_run <= NOT_RUN_MAX, "{not_run} blocks are not run");
    blocks
}

/// All blocks of a language, in order.
pub(crate) fn all(document: &'static str, language: &str) -> String {
    let found: String = blocks(document).iter().filter(|(of, _)| *of == language).map(|(_, text)| *text).collect();
    assert!(!found.is_empty(), "there is no block of {language}");
    found
}

/// Runs a script as a reader does, in this folder, with the settings of an installation. It has to succeed.
pub(crate) fn run(here: &Installation, folder: &Path, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_lynkhook")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-exuo", "pipefail", "-c", script]).current_dir(folder);
    let program = here.program.command::<&str>([]);
    shell.envs(program.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.env("PATH", &path).output().unwrap();
    let [printed, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{script}\n--- printed\n{printed}\n--- and on standard error\n{errors}");
    output
}

/// Gives a program this text; it has to be content.
fn check(program: &str, arguments: &[&str], text: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed for this test (`make test` installs it): {error}"));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} does not take\n{text}");
}

#[test]
fn each_block_is_of_a_language_that_is_run_or_parsed() {
    for (language, text) in blocks(README) {
        // The blocks of Rust are compiled as tests of the documentation.
        let known = ["sh", "js", "python", "rust,no_run", "toml", "text"].contains(&language);
        assert!(known, "nothing looks at this block of {language:?}:\n{text}");
    }
}

#[test]
fn the_producers_in_javascript_and_python_are_well_formed() {
    check("node", &["--input-type=module", "--check"], &all(README, "js"));
    check("python3", &["-c", "import ast, sys; ast.parse(sys.stdin.read())"], &all(README, "python"));
}

#[test]
fn the_example_of_a_settings_file_is_taken() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, all(README, "toml")).unwrap();
    Settings::load(Some(file.path()), Vec::<(String, String)>::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_line_does_what_it_says() {
    let (redis, receiver) = (RedisServer::start(AppendFsync::EverySecond), Receiver::start().await);
    receiver.plan("/crm", [Answer::Status(200)]);
    let here = Installation::on(&redis, &receiver).await;
    let folder = tempfile::tempdir().unwrap();
    for file in ["event.json", "events.ndjson"] {
        fs::write(folder.path().join(file), format!("{TRANSCRIPT}\n")).unwrap();
    }
    let run = |script: &str| run(&here, folder.path(), script);
    let address = format!("127.0.0.1:{}", unused_port());
    let script = all(README, "sh")
        .replace("https://hooks.example.org/crm", &receiver.url("/crm"))
        .replace("redis://redis.internal:6379/", &redis.url())
        .replace("redis-cli", &format!("redis-cli -p {}", redis.port()))
        .replace("lynkhook:{0}:", &here.key(""))
        .replace("export LYNKHOOK_SECRETS__KEY_FILE", "unset LYNKHOOK_SECRETS__KEY; export LYNKHOOK_SECRETS__KEY_FILE")
        // Both go on until the end.
        .replace("\nlynkhook server ", &format!("\n{SERVED}; # "))
        .replace("\nlynkhook worker ", "\nlynkhook worker & # ")
        .replace("127.0.0.1:8080", &address);
    assert!(
        ["worker", "server"].iter().all(|role| script.contains(&format!("lynkhook {role} & "))),
        "README starts a worker and a server"
    );
    let (adds, goes_on) = script.split_once('\n').unwrap();
    assert!(adds.starts_with("lynkhook webhook add "), "it begins with a webhook: {adds}");
    run(adds);
    let list = here.program.json(["webhook", "list", "--account", "acme"]).await;
    let id = list[0]["id"].as_str().unwrap().to_owned();
    let stops = "trap 'kill -TERM $(jobs -p); wait' EXIT\n";
    let output = run(&format!("{stops}{}", goes_on.replace("wh_…", &id)));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(r#"{"id":""#), "an event is accepted over HTTP: {printed}");
    assert_eq!(receiver.requests("/crm").len(), 1, "the test button alone: what came later is held, for it is off");
}
