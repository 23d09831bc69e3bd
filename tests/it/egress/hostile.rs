//! An endpoint that reads a request and then does, byte for byte, what a script says.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::support::*;

/// One step of a script. After the last one the connection stays open, silent, until the client leaves.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Send(Bytes),
    /// These bytes again and again, as fast as they are taken, until the client leaves.
    Flood(Bytes),
    /// These bytes every 100 ms until the client leaves.
    Drip(Bytes),
    Close,
    /// TCP RST.
    Reset,
}

pub(super) fn send(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Send(bytes.into().into())
}

pub(super) fn drip(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Drip(bytes.into().into())
}

/// Each write is a good portion, so that the flood is bounded by the client and not by this.
pub(super) fn flood(bytes: impl AsRef<[u8]>) -> Act {
    let bytes = bytes.as_ref();
    Act::Flood(bytes.repeat((16 * 1024 / bytes.len()).max(1)).into())
}

/// A running endpoint. It ends when it is dropped.
pub(super) struct Hostile {
    address: SocketAddr,
    connections: Arc<()>,
    _tasks: JoinSet<()>,
}

impl Hostile {
    /// Speaks HTTP/1.1: does this after each request.
    pub(super) async fn http1(script: Vec<Act>) -> Self {
        Self::start(b"http/1.1", script).await
    }

    /// Speaks HTTP/2: greets, waits for the first request, does this.
    pub(super) async fn http2(script: Vec<Act>) -> Self {
        Self::start(b"h2", script).await
    }

    async fn start(protocol: &'static [u8], script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let alpn = std::str::from_utf8(protocol).expect("it is ASCII");
        let acceptor = TlsAcceptor::from(server_config(Identity::Trusted, &[alpn]).expect("this one speaks TLS"));
        let script: Arc<[Act]> = script.into();
        let (mut tasks, connections) = (JoinSet::new(), Arc::new(()));
        let open = connections.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::<io::Result<()>>::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (acceptor, script, open) = (acceptor.clone(), Arc::clone(&script), open.clone());
                connections.spawn(async move {
                    // What was sent before a reset must not be held back, or it is lost with it.
                    stream.set_nodelay(true)?;
                    let stream = acceptor.accept(stream).await?;
                    let played =
                        if protocol == b"h2" { http2(stream, &script).await } else { http1(stream, &script).await };
                    drop(open);
                    played
                });
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    /// How many connections are open.
    pub(super) fn connections(&self) -> usize {
        Arc::strong_count(&self.connections) - 2
    }

    pub(super) fn url(&self) -> String {
        self.url_for("localhost")
    }

    pub(super) fn url_for(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.address.port())
    }
}

async fn http1(mut stream: TlsStream<TcpStream>, script: &[Act]) -> io::Result<()> {
    loop {
        let request = read_request(&mut stream).await?;
        // Compressed answers are never asked for; one that comes all the same is not unpacked.
        assert!(!request.to_ascii_lowercase().contains("accept-encoding"), "{request}");
        play(&mut stream, script).await?;
    }
}

/// A request with its body, which is sent with its length.
async fn read_request(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.expect("deliveries have a length").parse().expect("a number") {
                return Ok(text.into_owned());
            }
        }
    }
}

async fn http2(mut stream: TlsStream<TcpStream>, script: &[Act]) -> io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, 0, [])).await?;
    stream.flush().await?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    // The last frame of a request ends its stream.
    loop {
        let head = stream.read_u64().await?.to_be_bytes();
        let _stream_low = stream.read_u8().await?;
        let (length, kind, flags) = (u32::from_be_bytes([0, head[0], head[1], head[2]]), head[3], head[4]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            break;
        }
    }
    play(&mut stream, script).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// Does what the script says.
async fn play(stream: &mut TlsStream<TcpStream>, script: &[Act]) -> io::Result<()> {
    for act in script {
        match act {
            Act::Send(bytes) => stream.write_all(bytes).await?,
            Act::Flood(bytes) => loop {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                tokio::task::yield_now().await;
            },
            Act::Drip(bytes) => loop {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            },
            Act::Close => return stream.shutdown().await,
            Act::Reset => {
                stream.get_ref().0.set_zero_linger()?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        stream.flush().await?;
    }
    Ok(())
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// `:status: 200` in HPACK.
pub(super) const STATUS_200: &[u8] = &[0x88];
/// `:status: 103`.
pub(super) const STATUS_103: &[u8] = b"\x08\x03103";

/// An HTTP/2 frame (RFC 9113, 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that HPACK neither looks up nor keeps, nor Huffman-encodes; shorter than 127 bytes each.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| vec![u8::try_from(text.len()).expect("short")];
    [vec![0], length(name), name.into(), length(value), value.into()].concat()
}
