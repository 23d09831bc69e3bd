//! The server's end of a connection: enough of HTTP/1.1 to read requests (RFC 9112: content-length and chunked bodies,
//! connections that are kept), and free to send anything at any time.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// No test sends a larger request head or body.
const HEAD_LIMIT: usize = 256 * 1024;
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// A connection after its handshake. Dropping it closes it without a TLS close.
pub struct Connection {
    stream: BufReader<TlsStream<TcpStream>>,
}

/// A request line and its headers.
pub struct Head {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
}

impl Connection {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The next request, whole, or `None` if the client has closed the connection instead of sending one.
    pub async fn request(&mut self) -> io::Result<Option<(Head, Bytes)>> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let body = self.body(&head).await?;
        Ok(Some((head, body)))
    }

    /// The next request's head, or `None` if the client has closed the connection instead of sending one.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
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

    /// The body after this head.
    pub async fn body(&mut self, head: &Head) -> io::Result<Bytes> {
        let is_chunked = head.headers.get(header::TRANSFER_ENCODING).is_some_and(|value| value == "chunked");
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
        if let Some(length) = head.headers.get(header::CONTENT_LENGTH) {
            let length = length.to_str().map_err(io::Error::other)?.parse().map_err(io::Error::other)?;
            self.read_into(&mut body, length).await?;
        }
        Ok(body.into())
    }

    /// Waits for a byte. Answers `false` if the client closes the connection instead of sending one.
    pub async fn has_more(&mut self) -> io::Result<bool> {
        Ok(!self.stream.fill_buf().await?.is_empty())
    }

    /// Reads and discards until the client closes the connection.
    pub async fn drain(&mut self) -> io::Result<()> {
        tokio::io::copy_buf(&mut self.stream, &mut tokio::io::sink()).await.map(drop)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Sends complete headers with this status, and an empty body.
    pub async fn answer(&mut self, status: u16) -> io::Result<()> {
        self.send(format!("HTTP/1.1 {status} Answer\r\ncontent-length: 0\r\n\r\n")).await
    }

    /// Closes this side properly, TLS included. The client's later bytes can still be read.
    pub async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Makes the kernel send RST instead of FIN when this is dropped.
    pub fn reset_when_dropped(&self) -> io::Result<()> {
        self.stream.get_ref().get_ref().0.set_zero_linger()
    }

    pub(super) async fn unless_client_leaves<T>(&mut self, future: impl Future<Output = T>) -> io::Result<T> {
        tokio::select! {
            done = future => Ok(done),
            left = self.client_leaves() => Err(left),
        }
    }

    async fn client_leaves(&mut self) -> io::Error {
        match self.has_more().await {
            Ok(false) => io::ErrorKind::UnexpectedEof.into(),
            // The next request has arrived early; it stays in the buffer.
            Ok(true) => std::future::pending().await,
            Err(error) => error,
        }
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
