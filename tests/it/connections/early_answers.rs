//! An endpoint may answer before it has read the body, and close. Its answer counts as often as `curl` gets it.

use std::{io, path::Path};

use tokio::process::Command;

use super::*;

/// Answers for which the body need not be read: unauthorised, too large, overloaded, and good.
const STATUSES: [u16; 4] = [401, 413, 503, 200];
/// The endpoint's way to end the connection, the body's size, and the number of tries: many where the answer and the
/// reset that the rest of the body meets are on their way at the same time.
const ROWS: [(End, usize, usize); 6] = [
    (End::Close, 5_000, 20),
    (End::CloseNotify, 5_000, 20),
    (End::Linger, 5_000, 20),
    (End::Close, 900_000, 100),
    (End::CloseNotify, 900_000, 100),
    (End::Linger, 900_000, 20),
];
/// Of 100 answers, the worker may miss this many more than curl does, and this many of an endpoint that lingers.
const FEWER_MAX: usize = 3;
const MISSED_MAX: usize = 5;

/// A way to end the connection after the answer.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    /// In good order as far as TLS goes; what the client still sends meets a closed socket all the same.
    CloseNotify,
    /// The same, and reads what the client still sends.
    Linger,
}

/// Answers a request's head.
async fn answer_early(mut connection: Connection, end: End) -> io::Result<()> {
    let Some(head) = connection.head().await? else { return Ok(()) };
    let status = head.uri.path().trim_start_matches('/');
    connection.send(format!("HTTP/1.1 {status} Early\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await?;
    match end {
        End::Close => Ok(()),
        End::CloseNotify => connection.close().await,
        End::Linger => {
            connection.close().await?;
            connection.drain().await
        }
    }
}

/// Posts this body with curl; `true` where it gets this status.
async fn curl(url: &str, status: u16, body: &Path, authority: &Path) -> bool {
    let mut command = Command::new("curl");
    command.args(["--silent", "--http1.1", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    // The worker waits for no permission to send a body either.
    command.args(["--header", "Expect:", "--header", "Content-Type: application/json", "--cacert"]).arg(authority);
    command.arg("--data-binary").arg(format!("@{}", body.display())).arg(url);
    let output = command.output().await.expect("curl is installed");
    String::from_utf8_lossy(&output.stdout) == status.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_before_the_body_was_read_is_got_as_often_as_curl_gets_it() {
    let scene = Scene::start(&[NO_RETRIES]).await;
    let authority = scene.authority.ca_file();
    let mut wrong = Vec::new();
    for (end, bytes, tries) in ROWS {
        let endpoint = Endpoint::start(move |connection, _| answer_early(connection, end)).await;
        let envelope = envelope_of(bytes);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, &envelope).unwrap();
        let account = |status: u16| format!("{end:?}-{bytes}-{status}");
        for status in STATUSES {
            scene.here.add(&account(status), &endpoint.url(&format!("/{status}"))).await;
        }
        let mut by_curl = 0;
        for status in STATUSES.into_iter().cycle().take(tries) {
            let (url, account) = (endpoint.url(&format!("/{status}")), account(status));
            let (got, ()) = tokio::join!(
                curl(&url, status, file.path(), authority),
                scene.times.push_envelope(&scene.here, &account, &envelope),
            );
            by_curl += usize::from(got);
        }
        let (mut by_worker, mut met) = (0, String::new());
        for status in STATUSES {
            let record = scene.finished(&account(status)).await;
            by_worker += record.attempts().filter(|attempt| attempt.status == status.to_string()).count();
            met = format!("{met} {:?}", errors(&record));
        }
        let found = format!("{end:?}, {bytes} bytes: curl {by_curl}, worker {by_worker} of {tries};{met}");
        println!("{found}");
        let missed = matches!(end, End::Linger) && tries - by_worker > tries * MISSED_MAX / 100;
        if missed || by_curl.saturating_sub(by_worker) > tries * FEWER_MAX / 100 {
            wrong.push(found);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
