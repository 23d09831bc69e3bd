//! The parts that the protocol rests on. Each can be removed to see which invariant breaks.

/// The parts in force.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each stands for a condition in a script")]
pub(crate) struct Protocol {
    /// A leased step first checks that its consumer holds the entry.
    pub(crate) fenced: bool,
    /// … and with the same delivery count.
    pub(crate) counted: bool,
    /// `settle` and `hold` check that the webhook still exists.
    pub(crate) webhook_must_exist: bool,
    /// `hold` plans a visit, and a release if the webhook is on.
    pub(crate) held_is_planned: bool,
    /// `claim` takes over idle entries.
    pub(crate) claims: bool,
    /// `audit` looks for entries without a holder.
    pub(crate) audits: bool,
    /// `fan_out` puts the rest of a fan-out back into the queue.
    pub(crate) fan_out_goes_on: bool,
    /// `promote` removes from the retries every delivery that it puts into the queue.
    pub(crate) promote_removes: bool,
    /// `promote` leaves retries that are not yet due.
    pub(crate) promote_waits: bool,
}

impl Protocol {
    /// All parts, like the scripts.
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
