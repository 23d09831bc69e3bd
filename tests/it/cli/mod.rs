//! The command line as scripts and people use it: a separate process, its exit code, and its output.

mod apikey;
mod commands;
mod deliveries;
mod dev;
mod doctor;
mod edits;
mod egress;
mod enqueue;
mod exit_codes;
mod follow;
mod help;
mod redis_refuses;
mod redis_tls;
pub(crate) mod secrecy;
mod settings;
mod test_button;
mod worker;

use std::io::Write;

use lynkhook::{domain::webhook::WebhookId, secrets::Vault};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::support::*;

/// A webhook id that does not exist.
const NOBODYS: &str = "wh_019a1b2c-3d4e-7f00-8000-0123456789ab";

/// The fields of a log entry that customers are promised, in that order.
const LOG_FIELDS: [&str; 8] = ["Status", "Event", "HTTP Status", "Attempt", "Duration", "Error", "Identifiers", "Time"];

/// The members that every log entry has, and those that it may have.
const LOG_MEMBERS: [&str; 10] =
    ["status", "event", "httpStatus", "attempt", "durationMs", "error", "identifiers", "time", "deliveryId", "final"];
const MORE_LOG_MEMBERS: [&str; 2] = ["redelivery", "phasesMs"];

/// `lynkhook webhook <words>`, with `--account` after the first word.
fn webhook<'a>(account: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    let (command, rest) = words.split_first().expect("a command");
    let mut arguments = vec!["webhook", command, "--account", account];
    arguments.extend(rest);
    arguments
}

/// Adds a webhook by the command line; answers its id.
async fn add(program: &Program, account: &str, url: &str) -> WebhookId {
    id(&program.json(webhook(account, &["add", "--url", url])).await)
}

fn id(view: &Value) -> WebhookId {
    view["id"].as_str().unwrap_or_else(|| panic!("no id in {view}")).parse().unwrap()
}

/// A temporary file with this content.
fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// Asserts the exit code, and that standard error has these words and standard output nothing.
fn assert_refused(name: &str, output: &Output, code: i32, says: &[&str]) {
    assert_eq!(output.code, Some(code), "{name}: {output:#?}");
    assert_eq!(output.stdout, "", "{name}");
    for words in says {
        assert!(output.stderr.contains(words), "{name} does not say {words:?}: {output:#?}");
    }
    assert!(!output.stderr.contains("panicked"), "{name}: {output:#?}");
}

/// Asserts that a log entry has the documented members and no others.
fn assert_log_entry(entry: &Value) {
    let members = entry.as_object().unwrap();
    for member in LOG_MEMBERS {
        assert!(members.contains_key(member), "{member} is missing: {entry}");
    }
    let known = |member: &String| LOG_MEMBERS.iter().chain(&MORE_LOG_MEMBERS).any(|known| known == member);
    assert!(members.keys().all(known), "{entry}");
}
