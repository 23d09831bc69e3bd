//! The rules about leases: when a lease is renewed, which delivery count makes an entry a suspect, and when an entry is
//! given up.

use std::time::Duration;

/// The delivery count after a claim from which an entry is a suspect: it was read and lost, then claimed and lost
/// again, so its workers may have died of it. Suspects are attempted apart from each other. (`claim.lua` and `examine`
/// see the count before the next claim, where it is more than 1.)
pub const SUSPECT_DELIVERIES: u32 = 3;

/// The settings about leases.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRule {
    /// `worker.lease`: an entry that was not renewed for this long may be claimed by another worker.
    pub lease: Duration,
    /// `worker.renew_every`.
    pub renew_every: Duration,
    /// `worker.start_within`: no request starts under a lease that was renewed longer ago.
    pub start_within: Duration,
    /// `worker.claim_every`.
    pub claim_every: Duration,
    /// `worker.max_losses`: an entry that was lost this often is set aside.
    pub max_losses: u32,
}

impl LeaseRule {
    /// The longest time between two renewals of a lease, should one of them fail: both come up to a fifth late.
    pub fn two_renewals(&self) -> Duration {
        self.renew_every * 12 / 5
    }

    /// The age below which a lease can wait for the next round of renewals, and even for the round after if the next
    /// fails. Most entries are settled by then.
    pub fn may_wait(&self) -> Duration {
        self.start_within.saturating_sub(self.two_renewals()).min(self.renew_every / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_skips_a_round_is_young_enough_even_if_the_next_round_fails() {
        let seconds = Duration::from_secs_f64;
        let rule = |start_within, renew_every| LeaseRule {
            lease: seconds(20.0),
            renew_every: seconds(renew_every),
            start_within: seconds(start_within),
            claim_every: seconds(2.0),
            max_losses: 5,
        };
        for (start_within, renew_every) in [(8.0, 3.0), (15.0, 5.0), (2.5, 1.0), (2.41, 1.0), (100.0, 1.0), (0.9, 0.3)]
        {
            let rule = rule(start_within, renew_every);
            let age = rule.may_wait();
            assert!(age + rule.renew_every * 12 / 5 <= rule.start_within, "{age:?} of {start_within:?}");
            assert!(age <= rule.renew_every / 4, "{age:?}");
        }
        assert_eq!(rule(8.0, 3.0).may_wait(), seconds(0.75));
    }
}
