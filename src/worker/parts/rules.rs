//! The settings by which a worker works, as they were when it started.

use std::time::Duration;

use crate::{
    config::Settings,
    domain::{endpoint::Rule, event::Catalogue, lease::LeaseRule, retry::Schedule},
};

/// The rules of one worker.
pub(crate) struct Rules {
    pub(crate) catalogue: Catalogue,
    pub(crate) schedule: Schedule,
    /// `worker.concurrency`: the attempts that may be in flight.
    pub(crate) concurrency: usize,
    pub(crate) leases: LeaseRule,
    pub(crate) endpoints: Rule,
    /// `delivery.send_traceparent`.
    pub(crate) send_traceparent: bool,
}

impl Rules {
    pub(crate) fn new(settings: &Settings) -> Self {
        let (worker, delivery) = (&settings.worker, &settings.delivery);
        let attempts = u32::try_from(delivery.retry_delays.len() + 1).unwrap_or(u32::MAX);
        Self {
            catalogue: settings.catalogue(),
            schedule: Schedule::new(delivery.retry_delays.clone()),
            concurrency: worker.concurrency,
            leases: LeaseRule {
                lease: worker.lease,
                renew_every: worker.renew_every,
                start_within: worker.start_within,
                claim_every: worker.claim_every,
                max_losses: worker.max_losses,
            },
            endpoints: Rule {
                places: worker.concurrency,
                timeout: delivery.timeout,
                failing_every: Duration::from_secs(attempts.into()) / worker.failing_rate,
            },
            send_traceparent: delivery.send_traceparent,
        }
    }
}
