//! The answers that a receiver can give.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use tokio::sync::watch;

/// One answer. The variants up to `Gate` are ordinary answers, the others are faults.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Complete headers with this status, and an empty body.
    Status(u16),
    StatusWithBody(u16, Bytes),
    /// 301 to this location.
    Redirect(String),
    /// Reads the request and sends nothing while the client stays.
    Silence,
    /// The other answer, after this time.
    Delay(Duration, Box<Answer>),
    /// The other answer, once the test opens the gate; made by [`Gate::before`].
    Gate(Gate, Box<Answer>),

    /// Reads the request, then TCP RST.
    ResetBeforeHeaders,
    /// Reads the request, then closes properly.
    CloseBeforeHeaders,
    /// A status line and half of a header block, then TCP RST.
    ResetInHeaders,
    /// Complete headers with status 200 and 10 of 1000 bytes, then TCP RST.
    ResetInBody,
    /// A status line, then one header that grows by a byte each 200 ms and never ends.
    DripHeaders,
    /// Complete headers with this status, then a body that grows by a byte every 200 ms while the client stays.
    DripBody(u16),
    /// `103 Early Hints`, complete, every 20 ms, and never a final status.
    InterimForever,
    /// A line of another protocol, then a close.
    NotHttp,
}

impl Answer {
    /// Waits for the delay or gate, and answers the inner answer.
    pub(super) async fn when_due(mut self) -> Self {
        loop {
            self = match self {
                Self::Delay(time, next) => {
                    tokio::time::sleep(time).await;
                    *next
                }
                Self::Gate(gate, next) => {
                    gate.opened().await;
                    *next
                }
                Self::Silence => std::future::pending().await,
                due => return due,
            };
        }
    }

    /// The response, if the answer is an ordinary one.
    pub(super) fn response(&self) -> Option<Response<Bytes>> {
        let (status, body) = match self {
            Self::Status(status) => (*status, Bytes::new()),
            Self::StatusWithBody(status, body) => (*status, body.clone()),
            Self::Redirect(_) => (StatusCode::MOVED_PERMANENTLY.as_u16(), Bytes::new()),
            _ => return None,
        };
        let mut response = Response::builder().status(status);
        if let Self::Redirect(location) = self {
            response = response.header(header::LOCATION, location);
        }
        Some(response.body(body).expect("the test gave a valid status and location"))
    }
}

/// Holds answers back until the test opens it. Clones share the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer, behind this gate.
    pub fn before(&self, answer: Answer) -> Answer {
        Answer::Gate(self.clone(), Box::new(answer))
    }

    /// Lets through all waiting answers and all later ones.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        self.0.subscribe().wait_for(|&open| open).await.expect("the sender is here");
    }
}
