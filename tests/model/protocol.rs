//! What the protocol rests on, each part of which can be taken out to see what breaks.

/// The parts that are in force.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each stands for a condition in a script")]
pub(crate) struct Protocol {
    /// A leased step asks first whether the entry is its consumer's.
    pub(crate) fenced: bool,
    /// … and under this very delivery count.
    pub(crate) counted: bool,
    /// `settle` and `hold` ask whether the webhook is still there.
    pub(crate) webhook_must_exist: bool,
    /// `hold` sees to a visit, and to a release where the webhook is on.
    pub(crate) held_is_planned: bool,
    /// `claim` takes over what is idle.
    pub(crate) claims: bool,
    /// `audit` looks for what nobody holds.
    pub(crate) audits: bool,
    /// `fan_out` puts the rest of a fan-out back into the queue.
    pub(crate) fan_out_goes_on: bool,
    /// `promote` takes out of the retries what it puts into the queue.
    pub(crate) promote_removes: bool,
    /// `promote` leaves what is not due.
    pub(crate) promote_waits: bool,
}

impl Protocol {
    /// As the scripts are.
    pub(crate) const WHOLE: Self = Self {
        fenced: true,
        counted: true,
        webhook_must_exist: true,
        held_is_planned: true,
        claims: true,
        audits: true,
        fan_out_goes_on: true,
        promote_removes: true,
        promote_waits: true,
    };
}
