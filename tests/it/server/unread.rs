//! A body that nothing reads costs the client neither its answer nor its connection.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::Api;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_a_request_was_refused_before_its_body_came_serves_the_next() {
    let api = Api::start(&Receiver::start().await).await;
    let mut stream = TcpStream::connect(&api.address).await.unwrap();
    let head = |length: usize, key: &str| {
        format!(
            "POST /v1/accounts/acme/events HTTP/1.1\r\nhost: api\r\ncontent-type: application/json\r\n\
             authorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let body = "x".repeat(300_000);
    stream.write_all(head(body.len(), "lynk_").as_bytes()).await.unwrap();
    let refused = one_answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && !refused.contains("connection: close"), "{refused}");
    stream.write_all(body.as_bytes()).await.unwrap();
    let event = TRANSCRIPT.trim();
    stream.write_all(format!("{}{event}", head(event.len(), &api.admin)).as_bytes()).await.unwrap();
    assert!(one_answer(&mut stream).await.starts_with("HTTP/1.1 202 "));
}

/// Reads an answer with its body. Nothing may follow it.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(read > 0, "the connection was closed: {text}");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return text.into_owned();
        }
    }
}
