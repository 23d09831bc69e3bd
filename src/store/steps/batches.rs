//! Many deliveries in one script: arguments grouped by webhook, the range of entries with their leases, and answers in
//! the order of the batch.

use std::time::Duration;

use super::entry::Fence;
use crate::{
    domain::{account::AccountId, delivery::Delivery, webhook::WebhookId},
    store::link::Run,
};

/// The time within which most leases of one step were taken. Those of slow endpoints are older.
pub(super) const TOGETHER: Duration = Duration::from_secs(1);

/// Adds the first and last entry id and the number of leases. The script checks all leases in that range with one
/// XPENDING. Leases taken more than `within` before the newest are left out, because the range would then cover
/// everything that came into hand since, and leave no room for the others.
pub(super) fn arg_leases<'a>(script: &mut Run<'_>, leases: impl IntoIterator<Item = &'a Fence>, within: Duration) {
    let mut entries: Vec<_> = leases.into_iter().map(|fence| (fence.entry.order(), &*fence.entry.0)).collect();
    entries.sort_unstable();
    let at = |order: &Option<(u64, u64)>| Duration::from_millis(order.map_or(0, |(ms, _)| ms));
    let last = entries.last().map_or(Duration::ZERO, |(order, _)| at(order));
    let apart = entries.partition_point(|(order, _)| last.saturating_sub(at(order)) > within);
    let ends = entries.get(apart).zip(entries.last());
    let (first, last) = ends.map_or(("-", "+"), |((_, first), (_, last))| (first, last));
    script.arg(first).arg(last).arg(entries.len());
}

/// The deliveries of a batch, grouped by webhook, so that a script gets once what the deliveries of one webhook share.
pub(super) struct ByWebhook<'a> {
    /// Each delivery and its place in the batch; the deliveries of one webhook in their order.
    pub(super) sorted: Vec<(&'a Delivery, usize)>,
}

impl<'a> ByWebhook<'a> {
    pub(super) fn new(deliveries: impl Iterator<Item = &'a Delivery>) -> Self {
        let mut sorted: Vec<_> = deliveries.zip(0..).collect();
        sorted.sort_by(|(a, _), (b, _)| (a.webhook, &a.account).cmp(&(b.webhook, &b.account)));
        Self { sorted }
    }

    /// Each webhook's account and id, and its deliveries with their places in the batch.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AccountId, WebhookId, &[(&'a Delivery, usize)])> {
        let same =
            |(a, _): &(&Delivery, usize), (b, _): &(&Delivery, usize)| a.webhook == b.webhook && a.account == b.account;
        self.sorted.chunk_by(same).map(|of_one| (&of_one[0].0.account, of_one[0].0.webhook, of_one))
    }
}

/// The answers to a batch, sorted by their places in the batch, which `order` gives.
pub(super) fn in_order<A>(order: impl Iterator<Item = usize>, answers: impl IntoIterator<Item = A>) -> Vec<A> {
    let mut answers: Vec<_> = order.zip(answers).collect();
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
