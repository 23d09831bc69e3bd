//! Many deliveries in one script: their arguments by webhook, the entries between which their leases lie, and the answers in
//! the batch's order.

use std::time::Duration;

use super::entry::Fence;
use crate::{
    domain::{account::AccountId, delivery::Delivery, webhook::WebhookId},
    store::link::Run,
};

/// Leases of one step were mostly taken within this, but for those of slow endpoints.
pub(super) const TOGETHER: Duration = Duration::from_secs(1);

/// Between which entries some leases lie, and how many they are: what lies there is looked at together, so those are left
/// out of it that were taken more than `within` before the last. Among all that is in hand since then, they would take the
/// place of the others.
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

/// Deliveries of a batch by their webhooks, so that a script is told once what those of one have in common.
pub(super) struct ByWebhook<'a> {
    /// Each delivery, and where in the batch it stands; those of one webhook in their order.
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

/// The answers to a batch, in the batch's order; `order` has their places in it.
pub(super) fn in_order<A>(order: impl Iterator<Item = usize>, answers: impl IntoIterator<Item = A>) -> Vec<A> {
    let mut answers: Vec<_> = order.zip(answers).collect();
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
