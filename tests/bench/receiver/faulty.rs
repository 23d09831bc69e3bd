//! Listeners that never get a request. Each connection counts as one, in a series with the listener's name.

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::{InFlight, Shared};

/// Accepts connections and resets them. Answers the listener's port.
pub async fn resetting(shared: Shared) -> u16 {
    listen("reset", shared, |stream| {
        let _ = stream.set_zero_linger();
    })
    .await
}

/// Answers every connection with bytes that are not TLS, and closes it. Answers the listener's port.
pub async fn without_tls(shared: Shared) -> u16 {
    listen("no-tls", shared, |mut stream| {
        tokio::spawn(async move { stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await });
    })
    .await
}

async fn listen(series: &'static str, shared: Shared, serve: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                drop(InFlight::arrived(&shared, series, None));
                serve(stream);
            }
        }
    });
    port
}
