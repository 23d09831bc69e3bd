//! The invariants: they must hold in every state, whatever happened.

use crate::state::{Counts, Delivery, Event, State, Work};

/// The first broken invariant, and how it is broken.
pub(crate) fn broken(state: &State) -> Option<String> {
    each_event_is_somewhere_once(state)
        .or_else(|| each_attempt_is_logged_once(state))
        .or_else(|| every_held_delivery_has_a_visit_or_release(state))
        .or_else(|| state.early.first().map(|early| format!("promoted before it was due: {early:?}")))
        .or_else(|| attempts_are_one_to_three(state))
        .or_else(|| nothing_is_left_of_a_deleted_webhook(state))
        .or_else(|| state.trespassed.then(|| "a step was taken without holding the entry".to_owned()))
        .or_else(|| every_drop_was_counted(state))
}

/// An event is whole in one place (waiting or set aside), or no webhook wanted it, or every webhook that should get it
/// has it in exactly one place: queue, retries, held, failed, delivered, dropped. Only during fan-out is the event
/// waiting or set aside while some webhooks have it: those up to the webhook after which the fan-out continues.
fn each_event_is_somewhere_once(state: &State) -> Option<String> {
    for event in 0..state.accepted {
        let queued = state.queue.iter().filter_map(|entry| match &entry.work {
            Work::Event(waiting) => Some(waiting),
            Work::Delivery(_) => None,
        });
        let waiting: Vec<&Event> = queued.chain(&state.rejected).filter(|other| other.number == event).collect();
        let unmatched = usize::from(state.unmatched.contains(&event));
        let mut decided = state.books.range((event, 0)..=(event, u8::MAX)).peekable();
        let is_rest = state.begun.contains(&event);
        let whole = waiting.len() + unmatched + usize::from(decided.peek().is_some() && !is_rest);
        let rest = waiting.first().filter(|_| is_rest).and_then(|rest| rest.after);
        let last = state.books.range((event, 0)..=(event, u8::MAX)).last().map(|((_, webhook), _)| *webhook);
        if is_rest && rest.is_some() && rest != last {
            return Some(format!("event {event} goes on behind webhook {rest:?} and {last:?} has it"));
        }
        if whole != 1 {
            return Some(format!("event {event} is in {whole} places"));
        }
        for (&(_, webhook), ended) in decided {
            let is = |delivery: &Delivery| delivery.event == event && delivery.webhook == webhook;
            let queued = |work: &Work| matches!(work, Work::Delivery(delivery) if is(delivery));
            let of = &state.webhooks[usize::from(webhook)];
            let places = state.queue.iter().filter(|entry| queued(&entry.work)).count()
                + state.retries.keys().filter(|delivery| is(delivery)).count()
                + of.held.iter().chain(&of.failed).filter(|delivery| is(delivery)).count()
                + usize::from(ended.delivered + ended.dropped);
            if places != 1 {
                return Some(format!("event {event} for webhook {webhook} is in {places} places"));
            }
        }
    }
    None
}

/// The result of a stale holder is not logged.
fn each_attempt_is_logged_once(state: &State) -> Option<String> {
    let mut log = state.webhooks.iter().flat_map(|webhook| &webhook.log);
    log.find(|(_, times)| **times > 1).map(|(logged, times)| format!("logged {times} times: {logged:?}"))
}

fn every_held_delivery_has_a_visit_or_release(state: &State) -> Option<String> {
    let stranded = |webhook: &&crate::state::Webhook| {
        let comes_back = webhook.visit && (webhook.release.is_some() || !webhook.active);
        !webhook.held.is_empty() && !comes_back
    };
    state.webhooks.iter().find(stranded).map(|webhook| format!("held without a visit or release: {:?}", webhook.held))
}

/// A request is repeated with its number only after a crash, a stall, or the loss of the group or a consumer; a lost
/// reply never repeats one.
fn attempts_are_one_to_three(state: &State) -> Option<String> {
    let repeats = state.happened.crashes + state.happened.stalls + state.happened.groups + state.happened.consumers;
    let wrong = |(delivery, times): &(&Delivery, &u8)| !(1..=3).contains(&delivery.attempt) || **times > 1 + repeats;
    state.requests.iter().find(wrong).map(|(delivery, times)| format!("requested {times} times: {delivery:?}"))
}

fn nothing_is_left_of_a_deleted_webhook(state: &State) -> Option<String> {
    let left = |webhook: &&crate::state::Webhook| {
        let empty = webhook.held.is_empty() && webhook.failed.is_empty() && webhook.log.is_empty();
        webhook.deleted && !(empty && !webhook.visit && webhook.release.is_none())
    };
    state.webhooks.iter().find(left).map(|webhook| format!("left of a deleted webhook: {webhook:?}"))
}

fn every_drop_was_counted(state: &State) -> Option<String> {
    let dropped: u8 = state.books.values().map(|ended| ended.dropped).sum();
    let Counts { deliveries_of_deleted_webhook, failed_of_deleted_webhook, held_overflow, .. } = state.counts;
    let counted = deliveries_of_deleted_webhook + failed_of_deleted_webhook + held_overflow;
    let unmatched = usize::from(state.counts.events_without_webhook);
    let right = dropped == counted && unmatched == state.unmatched.len();
    (!right).then(|| format!("dropped {dropped} and {}, counted {counted} and {unmatched}", state.unmatched.len()))
}

/// Whether everything accepted has ended, and no worker has an entry in hand.
pub(crate) fn is_ended(state: &State) -> bool {
    let held = state.webhooks.iter().any(|webhook| !webhook.held.is_empty());
    state.queue.is_empty() && state.retries.is_empty() && !held && state.workers.iter().all(Vec::is_empty)
}
