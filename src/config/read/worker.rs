//! `[worker]` and `[delivery]`, and the rules that connect their values.

use std::time::Duration;

use super::{
    KEY_BYTES, MESSAGE_BYTES, Read, TIME_LIMIT, WAIT,
    duration::{a_duration, duration},
};
use crate::config::{Delivery, Settings, Worker, error::ConfigError};

/// A lease must outlast the latest start plus the longest attempt by this time, which settling takes.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// A list of more waits than this is a mistake, not a schedule.
const RETRY_DELAYS_MAX: usize = 10;

impl Read<'_> {
    /// `[worker]`
    pub(super) fn worker(&self) -> Result<Worker, ConfigError> {
        Ok(Worker {
            concurrency: self.integer("worker.concurrency", 1, 65_536)?,
            threads: self.integer("worker.threads", 1, 256)?,
            max_bytes: self.bytes("worker.max_bytes", &KEY_BYTES)?,
            failing_rate: self.integer("worker.failing_rate", 1, 1_000_000)?,
            lease: self.duration("worker.lease", &TIME_LIMIT)?,
            renew_every: self.duration("worker.renew_every", &TIME_LIMIT)?,
            start_within: self.duration("worker.start_within", &TIME_LIMIT)?,
            claim_every: self.duration("worker.claim_every", &TIME_LIMIT)?,
            max_losses: self.integer("worker.max_losses", 1, 1000)?,
            shutdown_grace: self.duration("worker.shutdown_grace", &WAIT)?,
            health_bind: self.address("worker.health_bind")?,
        })
    }

    /// `[delivery]`
    pub(super) fn delivery(&self) -> Result<Delivery, ConfigError> {
        Ok(Delivery {
            timeout: self.duration("delivery.timeout", &TIME_LIMIT)?,
            retry_delays: self.retry_delays()?,
            response_max_bytes: self.bytes("delivery.response_max_bytes", &MESSAGE_BYTES)?,
            send_traceparent: self.truth("delivery.send_traceparent")?,
        })
    }

    fn retry_delays(&self) -> Result<Vec<Duration>, ConfigError> {
        const KEY: &str = "delivery.retry_delays";
        let expected = format!(
            "a list of at most {RETRY_DELAYS_MAX}, each {}, such as {}",
            a_duration(&WAIT),
            self.layers.default(KEY)
        );
        let list = self.list(KEY, &expected)?;
        if list.len() > RETRY_DELAYS_MAX {
            return Err(self.refuse(KEY, expected));
        }
        list.iter()
            .map(|item| duration(item, &WAIT).map_err(|hint| self.refuse(KEY, format!("{expected}{hint}"))))
            .collect()
    }
}

/// The rules that keep an attempt inside its lease:
///
/// - `lease ≥ start_within + delivery.timeout + 2 s`. An attempt starts at most `start_within` after the last renewal
///   and ends at most `delivery.timeout` later; the margin is for the step that settles it. With less, another
///   worker could take the entry over while the request is on its way.
/// - `2 × renew_every × 1.2 < start_within`. Renewals come every `renew_every` ± 20 %. If one is lost, the next comes
///   before `start_within` has passed since the one before. So no delivery waits for it, and it comes long before the
///   lease ends.
pub(super) fn check_leases(settings: &Settings) -> Result<(), ConfigError> {
    let Worker { lease, renew_every, start_within, .. } = settings.worker;
    let timeout = settings.delivery.timeout;
    if lease < start_within + timeout + LEASE_MARGIN {
        return Err(ConfigError::LeaseTooShort { lease, start_within, timeout, margin: LEASE_MARGIN });
    }
    if renew_every * 12 / 5 >= start_within {
        return Err(ConfigError::RenewalTooSlow { renew_every, start_within });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_says, from_file};

    #[test]
    fn a_lease_that_could_end_before_an_attempt_is_refused_with_the_least_valid_value() {
        assert_says(from_file("delivery.timeout = \"20s\""), &["`worker.lease` is 20s", "raise it to 30s"]);
        from_file("delivery.timeout = \"20s\"\nworker.lease = \"30s\"").unwrap();
        assert_says(
            from_file("worker.renew_every = \"5s\""),
            &["`worker.renew_every` is 5s", "one lost renewal", "12s", "`worker.start_within` is 8s"],
        );
    }
}
