//! Connections that are out of the pool: being opened, or with a request on them. A [`Line`] tells the pool when it is
//! dropped, so the pool's books stay right however an attempt ends, even by its deadline.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Response;
use hyper::{body::Incoming, client::conn::TrySendError};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{
    NotMade,
    connect::{Connection, Message},
    pool::{Closable, Limits, Pool, SWEEP_EVERY},
};

/// The pool of one sender; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: Mutex<Pool<Connection>>,
    is_swept: AtomicBool,
}

/// A connection for one request, or the right to open one.
#[derive(Debug)]
pub(super) struct Line {
    connections: Connections,
    name: Arc<str>,
    state: State,
    born: Instant,
    pub(super) is_reused: bool,
    /// The time at which the request was sent, while the fate of its response is open.
    sent: Option<Instant>,
}

#[derive(Debug)]
enum State {
    LookingUp,
    Connecting,
    Open(Connection),
    PutBack,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { pool: Pool::new(limits).into(), is_swept: false.into() }))
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool<Connection>> {
        self.0.pool.lock()
    }

    /// An idle connection that brought a response after `since`, or the right to open one.
    pub(super) fn take(&self, name: &str, since: Option<Instant>) -> Result<Line, NotMade> {
        let now = Instant::now();
        let (name, kept) = self.pool().take(name, since, now)?;
        let (is_reused, connections) = (kept.is_some(), self.clone());
        if !is_reused && !self.0.is_swept.swap(true, Relaxed) {
            self.sweep();
        }
        let (state, born) = kept.map_or((State::LookingUp, now), |kept| (State::Open(kept.connection), kept.born));
        Ok(Line { connections, name, state, born, is_reused, sent: None })
    }

    /// Starts a task that closes idle connections in time, until nothing is left to look after.
    fn sweep(&self) {
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            while let Some(shared) = Weak::upgrade(&shared) {
                let goes_on = Self(shared.clone()).pool().sweep(Instant::now());
                shared.is_swept.store(goes_on, Relaxed);
                if !goes_on {
                    return;
                }
                drop(shared);
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        });
    }
}

impl Line {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Notes that the name was looked up.
    pub(super) fn looked_up(&mut self) {
        self.state = State::Connecting;
        self.connections.pool().looked_up(&self.name, Instant::now());
    }

    pub(super) fn opened(&mut self, connection: Connection) {
        self.connections.pool().opened(&self.name, Instant::now());
        self.state = State::Open(connection);
    }

    /// Notes that the host refused the connection, or ended it before the handshake was done. Returns whether that is
    /// its limit.
    pub(super) fn refused(&self) -> bool {
        self.connections.pool().refused(&self.name, Instant::now())
    }

    /// Whether any byte of a response came.
    pub(super) fn has_answer(&self) -> bool {
        matches!(&self.state, State::Open(connection) if connection.answered())
    }

    /// The right to open another connection instead.
    pub(super) fn anew(self) -> Result<Self, NotMade> {
        let (connections, name) = (self.connections.clone(), self.name.clone());
        drop(self);
        connections.take(&name, Some(Instant::now()))
    }

    /// Sends a request; the body of its response may have `body_max_bytes`. If nothing was sent, the error contains the
    /// request.
    pub(super) async fn send(
        &mut self,
        message: Message,
        body_max_bytes: u64,
    ) -> Result<Response<Incoming>, TrySendError<Message>> {
        let State::Open(connection) = &mut self.state else { panic!("it is open") };
        self.sent = Some(Instant::now());
        let met = connection.send(message, body_max_bytes, self.is_reused).await;
        match &met {
            Ok(_) => self.connections.pool().answered(&self.name, self.is_reused, Instant::now()),
            Err(error) if error.message().is_some() => {}
            Err(_) => return met,
        }
        self.sent = None;
        met
    }

    /// Puts the connection back after a whole response, if another request may follow. The host keeps it open for
    /// `keep_alive`.
    pub(super) async fn put_back(mut self, keep_alive: Option<Duration>) {
        let State::Open(connection) = &self.state else { return };
        if connection.is_ready().await
            && let State::Open(connection) = std::mem::replace(&mut self.state, State::PutBack)
        {
            self.connections.pool().put_back(&self.name, connection, self.born, keep_alive, Instant::now());
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let State::PutBack = self.state {
            return;
        }
        let (now, mut pool) = (Instant::now(), self.connections.pool());
        match &self.state {
            State::LookingUp => pool.looked_up(&self.name, now),
            State::Connecting | State::PutBack => {}
            State::Open(connection) => {
                if let Some(sent) = self.sent.filter(|_| self.is_reused && !connection.answered()) {
                    pool.failed(&self.name, sent, !connection.is_closed(), now);
                }
                connection.abort();
            }
        }
        pool.ended(&self.name, self.is_open(), now);
    }
}
