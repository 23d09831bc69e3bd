//! An endpoint that reads a request and then follows a script, byte for byte.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::support::*;

/// One step of a script. After the last step the connection stays open and silent until the client leaves.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Send(Bytes),
    /// Sends these bytes again and again, as fast as possible, until the client leaves.
    Flood(Bytes),
    /// Sends these bytes every 100 ms until the client leaves.
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

/// Each write is large, so that the client limits the flood and not this endpoint.
pub(super) fn flood(bytes: impl AsRef<[u8]>) -> Act {
    let bytes = bytes.as_ref();
    Act::Flood(bytes.repeat((16 * 1024 / bytes.len()).max(1)).into())
}

/// A running endpoint. Dropping it ends it.
pub(super) struct Hostile(Endpoint);

impl Hostile {
    /// Starts an endpoint that runs this script after each request.
    pub(super) async fn start(script: Vec<Act>) -> Self {
        let script: Arc<[Act]> = script.into();
        Self(Endpoint::start(move |connection, _| serve(connection, Arc::clone(&script))).await)
    }

    /// The number of open connections.
    pub(super) fn connections(&self) -> usize {
        self.0.open()
    }

    pub(super) fn url(&self) -> String {
        self.0.url("/")
    }

    pub(super) fn url_for(&self, host: &str) -> String {
        self.0.url_for(host, "/")
    }
}

async fn serve(mut connection: Connection, script: Arc<[Act]>) -> io::Result<()> {
    while let Some((head, _)) = connection.request().await? {
        // The worker never asks for compressed answers, and does not unpack one that comes anyway.
        assert!(!head.headers.contains_key(http::header::ACCEPT_ENCODING), "{:?}", head.headers);
        play(&mut connection, &script).await?;
    }
    Ok(())
}

/// Runs the script.
async fn play(connection: &mut Connection, script: &[Act]) -> io::Result<()> {
    for act in script {
        match act {
            Act::Send(bytes) => connection.send(bytes).await?,
            Act::Flood(bytes) => loop {
                connection.send(bytes).await?;
                tokio::task::yield_now().await;
            },
            Act::Drip(bytes) => loop {
                connection.send(bytes).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            },
            Act::Close => return connection.close().await,
            Act::Reset => {
                connection.reset_when_dropped()?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }
    Ok(())
}
