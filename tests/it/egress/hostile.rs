//! An endpoint that reads a request and then does, byte for byte, what a script says.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;

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
pub(super) struct Hostile(Endpoint);

impl Hostile {
    /// Does this after each request.
    pub(super) async fn start(script: Vec<Act>) -> Self {
        let script: Arc<[Act]> = script.into();
        Self(Endpoint::start(move |connection, _| serve(connection, Arc::clone(&script))).await)
    }

    /// How many connections are open.
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
        // Compressed answers are never asked for; one that comes all the same is not unpacked.
        assert!(!head.headers.contains_key(http::header::ACCEPT_ENCODING), "{:?}", head.headers);
        play(&mut connection, &script).await?;
    }
    Ok(())
}

/// Does what the script says.
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
