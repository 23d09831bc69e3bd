//! A connection whose bytes a test chooses, for what no proper client sends.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::support::{Api, Reply};
use crate::support::SOON;

/// An open connection.
pub(super) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(super) async fn open(api: &Api) -> Self {
        Self(BufReader::new(TcpStream::connect(&api.address).await.unwrap()))
    }

    /// A connection on which this was sent.
    pub(super) async fn with(api: &Api, bytes: impl AsRef<[u8]>) -> Self {
        let mut wire = Self::open(api).await;
        wire.send(bytes).await;
        wire
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The same, if the server still takes it.
    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Ends sending. Answers can still be read.
    pub(super) async fn end(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// The next answer; `None` if the server closes the connection without one.
    pub(super) async fn answer(&mut self) -> Option<Reply> {
        timeout(SOON, self.read()).await.expect("an answer, or the end")
    }

    /// Whether nothing comes within this time, not even the end.
    pub(super) async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.0.fill_buf()).await.is_err()
    }

    /// Waits until the server closes the connection, and asserts that nothing else comes.
    pub(super) async fn ends(mut self) {
        let mut rest = Vec::new();
        // A connection that is closed with unread bytes is reset.
        let _ = timeout(SOON, self.0.read_to_end(&mut rest)).await.expect("the server closes it");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await.unwrap_or_default();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    async fn read(&mut self) -> Option<Reply> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = reqwest::header::HeaderMap::new();
        loop {
            let line = self.line().await.expect("a complete head");
            let Some((name, value)) = line.split_once(':') else { break };
            headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.trim().parse().unwrap());
        }
        let length = headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await.expect("a complete body");
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        Some(Reply { status, headers, bytes, json })
    }
}

/// The head of a request with the key of the administrator; `more` are lines with their ends.
pub(super) fn head(api: &Api, line: &str, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\n{more}\r\n", api.admin)
}

/// The head of a request that enqueues an event.
pub(super) fn head_of_event(api: &Api, more: &str) -> String {
    head(api, "POST /v1/accounts/acme/events", &format!("content-type: application/json\r\n{more}"))
}

/// A body in chunks of this many bytes.
pub(super) fn chunked(body: &[u8], bytes: usize) -> Vec<u8> {
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    let mut chunks: Vec<u8> = body.chunks(bytes).flat_map(chunk).collect();
    chunks.extend(b"0\r\n\r\n");
    chunks
}
