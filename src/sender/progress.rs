//! What an attempt is doing, and how long each part of it took.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::outcome::{NetworkFault, Outcome, Phase, Phases};

/// A connection that ends within this after its handshake ended because of it, and not of what was asked.
const AT_ONCE: Duration = Duration::from_millis(500);

/// One attempt's way. It outlives the attempt's work, so that it can be read when the deadline ends that.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) began: Instant,
    /// What the attempt is doing.
    pub(super) phase: Phase,
    /// How long each part that is finished took.
    pub(super) phases: Phases,
    /// The answer's status: complete headers came.
    pub(super) status: Option<u16>,
    /// The endpoint chose HTTP/1.1 when it was offered, so that it speaks it.
    pub(super) is_http_1_agreed: bool,
    since: Instant,
}

impl Progress {
    /// An attempt begins now. Unless it opens a connection, it waits for its answer from here on.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            phase: Phase::Waiting,
            phases: Phases::default(),
            status: None,
            is_http_1_agreed: true,
            since: now,
        }
    }

    /// It begins to open a connection.
    pub(super) fn opens(&mut self) {
        self.phases = Phases::default();
        (self.phase, self.since) = (Phase::Resolving, Instant::now());
    }

    /// The phase is over, and the next one begins.
    pub(super) fn next(&mut self) {
        let now = Instant::now();
        let took = Some(now - self.since);
        self.since = now;
        self.phase = match self.phase {
            Phase::Resolving => {
                self.phases.dns = took;
                Phase::Connecting
            }
            Phase::Connecting => {
                self.phases.connect = took;
                Phase::Handshaking
            }
            Phase::Handshaking => {
                self.phases.tls = took;
                Phase::Waiting
            }
            Phase::Waiting => {
                self.phases.first_byte = took;
                Phase::Waiting
            }
        };
    }

    /// The connection is new, nothing came on it, and the endpoint never said that it speaks HTTP/1.1.
    pub(super) fn may_speak_http_2_only(&self) -> bool {
        self.phase == Phase::Waiting && !self.is_http_1_agreed && self.since.elapsed() < AT_ONCE
    }

    /// What an attempt met that the deadline `after` this time ended.
    pub(super) fn outcome_at(&self, after: Duration) -> Outcome {
        match self.status {
            Some(status) => Outcome::Response { status },
            None => Outcome::NetworkError(NetworkFault::TimedOut { after, phase: self.phase }),
        }
    }
}
