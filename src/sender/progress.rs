//! The phase of an attempt, and the time that each part of it took.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::outcome::{NetworkFault, Outcome, Phase, Phases};

/// A connection that ends within this time after its handshake may have ended because of the handshake, not of the
/// request.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The progress of one attempt. It outlives the attempt's work, so that it can be read after the deadline ended that
/// work.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) began: Instant,
    pub(super) phase: Phase,
    since: Instant,
    /// The time of each part that is finished.
    pub(super) phases: Phases,
    /// The response's status, once complete headers came.
    status: Option<u16>,
    /// Whether the endpoint did not choose HTTP/1.1 in the handshake.
    pub(super) is_protocol_unknown: bool,
}

impl Progress {
    /// Begins an attempt now. Unless it opens a connection, it waits for its response from here on.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        let (phase, phases) = (Phase::Waiting, Phases::default());
        Self { began: now, phase, since: now, phases, status: None, is_protocol_unknown: false }
    }

    /// Ends the present phase and begins the next.
    pub(super) fn enter(&mut self, next: Phase) {
        let took = Some(self.since.elapsed());
        match self.phase {
            Phase::Resolving => self.phases.dns = took,
            Phase::Connecting => self.phases.connect = took,
            Phase::Handshaking => self.phases.tls = took,
            // The attempt began on another connection, on which nothing was sent.
            Phase::Waiting => {}
        }
        (self.phase, self.since) = (next, Instant::now());
    }

    /// Notes that complete headers came.
    pub(super) fn answered(&mut self, status: u16) {
        self.phases.first_byte = Some(self.since.elapsed());
        self.status = Some(status);
    }

    /// Whether the handshake ended just now and the endpoint did not choose HTTP/1.1 in it.
    pub(super) fn may_speak_http_2_only(&self) -> bool {
        self.is_protocol_unknown && self.since.elapsed() < AT_ONCE
    }

    /// The outcome of an attempt that the deadline ended after the time `after`.
    pub(super) fn outcome_at(&self, after: Duration) -> Outcome {
        match self.status {
            Some(status) => Outcome::Response { status },
            None => Outcome::NetworkError(NetworkFault::TimedOut { after, phase: self.phase }),
        }
    }
}
