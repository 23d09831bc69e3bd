//! Answers that come before the server has read the request's body: how often the worker and `curl` learn the status.

use std::{path::Path, process::Stdio};

use tempfile::NamedTempFile;
use tokio::process::Command;

use super::{
    attempts::{self, attempts},
    load::push,
    row::{ACCOUNT, Scene},
    server,
    tell::{Early, Figures},
};
use crate::support::envelope_of;

const SIZES: [usize; 3] = [5_000, 100_000, 900_000];
/// Tries for each size.
const TRIES: usize = 100;
/// An address of neither the worker nor Node's client.
const CURL_ADDRESS: &str = "127.0.0.3";

/// POSTs a file (or a single byte) with `curl` on a new connection. Answers the status, or 0 if there is none.
pub async fn curl(port: u16, ca_file: &Path, body: Option<&Path>) -> u16 {
    let mut command = Command::new("curl");
    command.args(["--silent", "--http1.1", "--max-time", "10", "--interface", CURL_ADDRESS, "--cacert"]).arg(ca_file);
    command.args(["--header", "Content-Type: application/json", "--header", "Expect:", "--output", "/dev/null"]);
    let body = body.map_or("x".to_owned(), |file| format!("@{}", file.display()));
    command.args(["--write-out", "%{http_code}", "--data-binary", &body, &format!("https://127.0.0.1:{port}/")]);
    let output = command.env("PATH", server::path()).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.unwrap_or_else(|error| panic!("curl: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
}

/// Lets the worker and `curl` take turns with events of each size.
pub async fn compare(scene: &Scene, status: u16, lingers: bool) -> Figures {
    let mut rows: Vec<Early> = SIZES.map(|bytes| Early { bytes, tries: TRIES, worker: 0, curl: 0, lingers }).into();
    let bodies: Vec<NamedTempFile> = SIZES.map(body_of).into();
    for n in 0..TRIES {
        for (row, body) in rows.iter_mut().zip(&bodies) {
            let event = format!("event-{}-{n}", row.bytes);
            push(&scene.here, ACCOUNT, &event, &envelope_of(row.bytes)).await;
            scene.worker.wait_for_line(&format!(r#""delivery":"{event}."#)).await;
            row.curl += usize::from(curl(scene.server.port, scene.ca_file(), Some(body.path())).await == status);
        }
    }
    let attempts = attempts(&scene.worker.stderr());
    let status = status.to_string();
    for row in &mut rows {
        let of_size = format!("event-{}-", row.bytes);
        let known = |one: &&attempts::Attempt| one.delivery.starts_with(&of_size) && one.status == status;
        row.worker = attempts.iter().filter(known).count();
    }
    Figures::Early { rows, reasons: attempts::reasons(attempts.iter().filter(|one| one.status != status)) }
}

fn body_of(bytes: usize) -> NamedTempFile {
    let file = tempfile::Builder::new().prefix("lynkhook-body-").tempfile().expect("a file");
    std::fs::write(file.path(), envelope_of(bytes)).expect("it can be written to");
    file
}
