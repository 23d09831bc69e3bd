//! HTTP/1.1 by hand: enough to read what clients send (RFC 9112: content-length and chunked bodies, connections that are
//! kept), and free to answer wrongly.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version, header};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{Answer, Exchange, Ledger, Received};

const DRIP: Duration = Duration::from_millis(200);
const INTERIM: Duration = Duration::from_millis(20);
/// No request of a test is larger, head or body.
const HEAD_LIMIT: usize = 256 * 1024;
const BODY_LIMIT: usize = 64 * 1024 * 1024;

struct Connection {
    stream: BufReader<TlsStream<TcpStream>>,
}

struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// What becomes of the connection after an answer.
enum After {
    NextRequest,
    /// Close in good order, TLS included.
    Close,
    /// Let go of the socket; TCP RST if it was so prepared.
    Drop,
}

pub(super) async fn serve(stream: TlsStream<TcpStream>, ledger: Arc<Ledger>, number: usize) -> io::Result<()> {
    let mut connection = Connection { stream: BufReader::new(stream) };
    while let Some(head) = connection.read_head().await? {
        let arrived = Instant::now();
        let body = connection.read_body(&head.headers).await?;
        let (exchange, answer) = ledger.begin(Received {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(ToOwned::to_owned),
            version: Version::HTTP_11,
            headers: head.headers,
            body,
            connection: number,
            arrived,
            ended: None,
        });
        match connection.give(answer, &exchange).await? {
            After::NextRequest => {}
            After::Close => return connection.stream.shutdown().await,
            After::Drop => return Ok(()),
        }
    }
    Ok(())
}

impl Connection {
    async fn give(&mut self, answer: Answer, exchange: &Exchange) -> io::Result<After> {
        let answer = self.unless_client_leaves(answer.when_due()).await?;
        if let Some(response) = answer.response() {
            exchange.end();
            self.send(&written(&response)).await?;
            return Ok(After::NextRequest);
        }
        match answer {
            Answer::ResetBeforeHeaders => self.reset(exchange),
            Answer::ResetInHeaders => {
                self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-le").await?;
                self.reset(exchange)
            }
            Answer::ResetInBody => {
                self.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789").await?;
                self.reset(exchange)
            }
            Answer::CloseBeforeHeaders => {
                exchange.end();
                Ok(After::Close)
            }
            Answer::NotHttp => {
                exchange.end();
                self.send(b"SSH-2.0-OpenSSH_9.6\r\n").await?;
                Ok(After::Close)
            }
            Answer::DripHeaders => {
                self.send(b"HTTP/1.1 200 OK\r\nx-drip: ").await?;
                self.repeat(b"a", DRIP).await
            }
            Answer::DripBody(status) => {
                let head = format!("{}content-length: 1000000\r\n\r\n", status_line(status_code(status)));
                self.send(head.as_bytes()).await?;
                self.repeat(b"a", DRIP).await
            }
            Answer::InterimForever => self.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n", INTERIM).await,
            ordinary => unreachable!("{ordinary:?} was answered above"),
        }
    }

    /// Sends the bytes at once, and again after each interval, until the client leaves.
    async fn repeat(&mut self, bytes: &[u8], interval: Duration) -> io::Result<After> {
        loop {
            self.send(bytes).await?;
            self.unless_client_leaves(tokio::time::sleep(interval)).await?;
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Has the kernel send RST, instead of FIN, when the socket is dropped.
    fn reset(&self, exchange: &Exchange) -> io::Result<After> {
        exchange.end();
        self.stream.get_ref().get_ref().0.set_zero_linger()?;
        Ok(After::Drop)
    }

    async fn unless_client_leaves<T>(&mut self, future: impl Future<Output = T>) -> io::Result<T> {
        tokio::select! {
            done = future => Ok(done),
            left = self.client_leaves() => Err(left),
        }
    }

    async fn client_leaves(&mut self) -> io::Error {
        match self.stream.fill_buf().await {
            Ok([]) => io::ErrorKind::UnexpectedEof.into(),
            // The next request, early; it stays in the buffer.
            Ok(_) => std::future::pending().await,
            Err(error) => error,
        }
    }

    /// The next request's head, or `None` if the client has closed the connection instead of sending one.
    async fn read_head(&mut self) -> io::Result<Option<Head>> {
        if self.stream.fill_buf().await?.is_empty() {
            return Ok(None);
        }
        let request_line = self.read_line().await?;
        let mut words = request_line.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(io::Error::other(format!("no request line: {request_line:?}")));
        };
        Ok(Some(Head {
            method: method.parse().map_err(io::Error::other)?,
            uri: target.parse().map_err(io::Error::other)?,
            headers: self.read_headers().await?,
        }))
    }

    async fn read_headers(&mut self) -> io::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut size = 0;
        loop {
            let line = self.read_line().await?;
            size += line.len();
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
            if size > HEAD_LIMIT {
                return Err(io::Error::other("the request's head is too large"));
            }
            headers.append(
                name.parse::<HeaderName>().map_err(io::Error::other)?,
                value.trim_matches([' ', '\t']).parse::<HeaderValue>().map_err(io::Error::other)?,
            );
        }
    }

    async fn read_body(&mut self, headers: &HeaderMap) -> io::Result<Bytes> {
        let is_chunked = headers.get(header::TRANSFER_ENCODING).is_some_and(|value| value == "chunked");
        let mut body = Vec::new();
        if is_chunked {
            loop {
                let line = self.read_line().await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
                if size == 0 {
                    self.read_headers().await?;
                    return Ok(body.into());
                }
                self.read_into(&mut body, size).await?;
                self.read_line().await?;
            }
        }
        if let Some(length) = headers.get(header::CONTENT_LENGTH) {
            let length = length.to_str().map_err(io::Error::other)?.parse().map_err(io::Error::other)?;
            self.read_into(&mut body, length).await?;
        }
        Ok(body.into())
    }

    async fn read_into(&mut self, body: &mut Vec<u8>, length: usize) -> io::Result<()> {
        let before = body.len();
        if length > BODY_LIMIT - before {
            return Err(io::Error::other("the request's body is too large"));
        }
        body.resize(before + length, 0);
        self.stream.read_exact(&mut body[before..]).await.map(drop)
    }

    /// A line without its CR LF.
    async fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(HEAD_LIMIT as u64).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => String::from_utf8(line.to_vec()).map_err(io::Error::other),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn written(response: &Response<Bytes>) -> Vec<u8> {
    let mut bytes = status_line(response.status()).into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    // RFC 9110, section 8.6: none with 1xx and 204; a 304 without it is just as good.
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
