//! An endpoint may answer before it has read the body, and then close. The worker gets this answer as often as `curl`
//! does.

use std::{io, path::Path};

use tokio::process::Command;

use super::*;

/// Answers that need not read the body: unauthorised, too large, overloaded, and success.
const STATUSES: [u16; 4] = [401, 413, 503, 200];
/// How the endpoint ends the connection, the body's size, and the number of tries. Many tries are needed if the answer
/// races with the reset that the rest of the body causes.
const ROWS: [(End, usize, usize); 6] = [
    (End::Close, 5_000, 20),
    (End::CloseNotify, 5_000, 20),
    (End::Linger, 5_000, 20),
    (End::Close, 900_000, 100),
    (End::CloseNotify, 900_000, 100),
    (End::Linger, 900_000, 20),
];
/// Of 100 answers, the worker may miss this many more than curl does, or this many if the endpoint lingers.
const FEWER_MAX: usize = 3;
const MISSED_MAX: usize = 5;

/// How to end the connection after the answer.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    /// A proper end of TLS; but bytes that the client still sends meet a closed socket.
    CloseNotify,
    /// The same, and it reads the bytes that the client still sends.
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

/// Posts this body with curl. Answers `true` if curl gets this status.
async fn curl(url: &str, status: u16, body: &Path, authority: &Path) -> bool {
    let mut command = Command::new("curl");
    command.args(["--silent", "--http1.1", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    // The worker does not wait for permission to send a body either.
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
