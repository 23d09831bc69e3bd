//! Hand-written HTTP/1.1: reads requests, and is free to answer wrongly.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::super::Connection;
use super::{Answer, Exchange, Ledger, Received};

const DRIP: Duration = Duration::from_millis(200);
const INTERIM: Duration = Duration::from_millis(20);

/// The fate of the connection after an answer.
enum After {
    NextRequest,
    /// Close properly, TLS included.
    Close,
    /// Drop the socket; this sends TCP RST if it was prepared for that.
    Drop,
}

pub(super) async fn serve(stream: TlsStream<TcpStream>, ledger: Arc<Ledger>, number: usize) -> io::Result<()> {
    let mut connection = Connection::new(stream);
    while let Some(head) = connection.head().await? {
        let arrived = Instant::now();
        let body = connection.body(&head).await?;
        let (exchange, answer) = ledger.begin(Received {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(ToOwned::to_owned),
            headers: head.headers,
            body,
            connection: number,
            arrived,
            ended: None,
        });
        match give(&mut connection, answer, &exchange).await? {
            After::NextRequest => {}
            After::Close => return connection.close().await,
            After::Drop => return Ok(()),
        }
    }
    Ok(())
}

async fn give(connection: &mut Connection, answer: Answer, exchange: &Exchange) -> io::Result<After> {
    let answer = connection.unless_client_leaves(answer.when_due()).await?;
    if let Some(response) = answer.response() {
        exchange.end();
        connection.send(&written(&response)).await?;
        return Ok(After::NextRequest);
    }
    match answer {
        Answer::ResetBeforeHeaders => reset(connection, exchange),
        Answer::ResetInHeaders => {
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-le").await?;
            reset(connection, exchange)
        }
        Answer::ResetInBody => {
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789").await?;
            reset(connection, exchange)
        }
        Answer::CloseBeforeHeaders => {
            exchange.end();
            Ok(After::Close)
        }
        Answer::NotHttp => {
            exchange.end();
            connection.send(b"SSH-2.0-OpenSSH_9.6\r\n").await?;
            Ok(After::Close)
        }
        Answer::DripHeaders => {
            connection.send(b"HTTP/1.1 200 OK\r\nx-drip: ").await?;
            repeat(connection, b"a", DRIP).await
        }
        Answer::DripBody(status) => {
            let head = format!("{}content-length: 1000000\r\n\r\n", status_line(status_code(status)));
            connection.send(head.as_bytes()).await?;
            repeat(connection, b"a", DRIP).await
        }
        Answer::InterimForever => repeat(connection, b"HTTP/1.1 103 Early Hints\r\n\r\n", INTERIM).await,
        ordinary => unreachable!("{ordinary:?} was answered above"),
    }
}

/// Sends the bytes at once, and again after each interval, until the client leaves.
async fn repeat(connection: &mut Connection, bytes: &[u8], interval: Duration) -> io::Result<After> {
    loop {
        connection.send(bytes).await?;
        connection.unless_client_leaves(tokio::time::sleep(interval)).await?;
    }
}

/// Makes the kernel send RST when the socket is dropped.
fn reset(connection: &Connection, exchange: &Exchange) -> io::Result<After> {
    exchange.end();
    connection.reset_when_dropped()?;
    Ok(After::Drop)
}

fn written(response: &Response<Bytes>) -> Vec<u8> {
    let mut bytes = status_line(response.status()).into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    // RFC 9110, section 8.6: no Content-Length with 1xx and 204; a 304 may omit it as well.
    if !matches!(response.status().as_u16(), 100..=199 | 204 | 304) {
        bytes.extend_from_slice(format!("content-length: {}\r\n", response.body().len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(response.body());
    bytes
}

fn status_line(status: StatusCode) -> String {
    format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("Unnamed"))
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("the test gave a valid status")
}
