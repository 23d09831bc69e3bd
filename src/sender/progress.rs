//! The phase of an attempt, and how long each part of it took.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::outcome::{NetworkFault, Outcome, Phase, Phases};

/// A connection that ends within this after its handshake may have ended because of it, not of what was asked.
const AT_ONCE: Duration = Duration::from_millis(500);

/// One attempt's way. It outlives the attempt's work, so that it can be read when the deadline ends that.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) began: Instant,
    pub(super) phase: Phase,
    since: Instant,
    /// How long each part that is finished took.
    pub(super) phases: Phases,
    /// The answer's status: complete headers came.
    status: Option<u16>,
    /// The endpoint did not choose HTTP/1.1 in the handshake.
    pub(super) is_protocol_unknown: bool,
}

impl Progress {
    /// An attempt begins now. Unless it opens a connection, it waits for its answer from here on.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        let (phase, phases) = (Phase::Waiting, Phases::default());
        Self { began: now, phase, since: now, phases, status: None, is_protocol_unknown: false }
    }

    /// One phase is over, the next one begins.
    pub(super) fn enter(&mut self, next: Phase) {
        let took = Some(self.since.elapsed());
        match self.phase {
            Phase::Resolving => self.phases.dns = took,
            Phase::Connecting => self.phases.connect = took,
            Phase::Handshaking => self.phases.tls = took,
            // On another connection, on which nothing was sent.
            Phase::Waiting => {}
        }
        (self.phase, self.since) = (next, Instant::now());
    }

    /// Complete headers came.
    pub(super) fn answered(&mut self, status: u16) {
        self.phases.first_byte = Some(self.since.elapsed());
        self.status = Some(status);
    }

    /// The handshake ended just now, and the endpoint never said that it speaks HTTP/1.1.
    pub(super) fn may_speak_http_2_only(&self) -> bool {
        self.is_protocol_unknown && self.since.elapsed() < AT_ONCE
    }

    /// The outcome of an attempt that the deadline ended `after` this time.
    pub(super) fn outcome_at(&self, after: Duration) -> Outcome {
        match self.status {
            Some(status) => Outcome::Response { status },
            None => Outcome::NetworkError(NetworkFault::TimedOut { after, phase: self.phase }),
        }
    }
}
