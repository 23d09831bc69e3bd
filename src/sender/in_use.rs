//! Connections that are out of the pool: being opened, or with a request on them. However an attempt ends, even by its
//! deadline, the pool's books stay right, because these tell it when they are dropped.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Response;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::Instant;

use super::{
    NotMade,
    connect::{Connection, Message},
    pool::{Closable, Doing, Limits, Pool, Taken},
};

const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The pool of one sender; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: Mutex<Pool<Connection>>,
    is_swept: AtomicBool,
}

/// How a request gets a connection.
#[derive(Debug)]
pub(super) enum Way {
    Kept(InUse),
    New(Opening),
}

/// The right to open one connection.
#[derive(Debug)]
pub(super) struct Opening {
    connections: Connections,
    name: Arc<str>,
    /// `None` when it is open.
    doing: Option<Doing>,
}

/// A connection for one request.
#[derive(Debug)]
pub(super) struct InUse {
    connections: Connections,
    name: Arc<str>,
    /// `None` when it was put back.
    connection: Option<Connection>,
    born: Instant,
    reused: bool,
    /// Since when an answer is awaited, of which nothing is known yet.
    sent: Option<Instant>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { pool: Pool::new(limits).into(), is_swept: false.into() }))
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool<Connection>> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection that brought an answer `since` then, or the right to open one.
    pub(super) fn take(&self, name: &str, since: Option<Instant>) -> Result<Way, NotMade> {
        let taken = self.pool().take(name, since, Instant::now())?;
        Ok(match taken {
            Taken::Kept(name, kept) => Way::Kept(InUse::new(self.clone(), name, kept.connection, Some(kept.born))),
            Taken::New(name) => Way::New(self.opening(name)),
        })
    }

    /// The right to open a connection.
    pub(super) fn take_new(&self, name: &str) -> Result<Opening, NotMade> {
        let name = self.pool().take_new(name, Instant::now())?;
        Ok(self.opening(name))
    }

    fn opening(&self, name: Arc<str>) -> Opening {
        self.have_swept();
        Opening { connections: self.clone(), name, doing: Some(Doing::LookingUp) }
    }

    /// Closes what was idle for too long. Whether anything is left to look after.
    fn sweep(&self) -> bool {
        let mut pool = self.pool();
        let goes_on = pool.sweep(Instant::now());
        self.0.is_swept.store(goes_on, Relaxed);
        goes_on
    }

    /// Has idle connections closed in time, while there are any.
    fn have_swept(&self) {
        if self.0.is_swept.swap(true, Relaxed) {
            return;
        }
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            while let Some(connections) = Weak::upgrade(&shared).map(Self) {
                if !connections.sweep() {
                    return;
                }
                drop(connections);
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        });
    }
}

impl Opening {
    /// The name was looked up.
    pub(super) fn looked_up(&mut self) {
        let from = self.doing.replace(Doing::Connecting).expect("it is not open yet");
        self.connections.pool().moved(&self.name, from, self.doing, Instant::now());
    }

    /// The host refused the connection, or ended it before the handshake was done. Whether that is its limit.
    pub(super) fn refused(&self) -> bool {
        self.connections.pool().refused(&self.name, Instant::now())
    }

    /// It is open.
    pub(super) fn done(mut self, connection: Connection) -> InUse {
        let from = self.doing.take().expect("it is not open yet");
        self.connections.pool().moved(&self.name, from, Some(Doing::InUse), Instant::now());
        InUse::new(self.connections.clone(), self.name.clone(), connection, None)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(from) = self.doing {
            self.connections.pool().moved(&self.name, from, None, Instant::now());
        }
    }
}

impl InUse {
    /// One that was `born` before is reused.
    fn new(connections: Connections, name: Arc<str>, connection: Connection, born: Option<Instant>) -> Self {
        let (reused, born) = (born.is_some(), born.unwrap_or_else(Instant::now));
        Self { connections, name, connection: Some(connection), born, reused, sent: None }
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request whose answer's body may have this many bytes. A request of which nothing was sent is in the error.
    pub(super) async fn send(
        &mut self,
        message: Message,
        body_max_bytes: u64,
    ) -> Result<Response<Incoming>, TrySendError<Message>> {
        let connection = self.connection.as_mut().expect("it was not put back");
        let now = Instant::now();
        self.sent = Some(now);
        self.connections.pool().asked(&self.name, now);
        let met = connection.send(message, body_max_bytes, self.reused).await;
        match &met {
            Ok(_) => {
                self.sent = None;
                self.connections.pool().answered(&self.name, self.reused, Instant::now());
            }
            Err(error) if error.message().is_some() => self.sent = None,
            Err(_) => {}
        }
        met
    }

    /// Puts it back after a whole answer, if another request may follow; the host keeps it open for `keep_alive`.
    pub(super) async fn put_back(mut self, keep_alive: Option<Duration>) {
        let connection = self.connection.as_ref().expect("it was not put back");
        if connection.is_ready().await {
            let connection = self.connection.take().expect("as above");
            self.connections.pool().put_back(&self.name, connection, self.born, keep_alive, Instant::now());
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let Some(connection) = &self.connection else { return };
        let (now, mut pool) = (Instant::now(), self.connections.pool());
        if let Some(sent) = self.sent.filter(|_| self.reused && !connection.answered()) {
            pool.failed(&self.name, sent, !connection.is_closed(), now);
        }
        pool.moved(&self.name, Doing::InUse, None, now);
        connection.abort();
    }
}
