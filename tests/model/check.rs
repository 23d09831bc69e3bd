//! Checks the model: the invariants hold within the stated bounds, and each part of the protocol is needed.

use std::time::Instant;

use crate::{
    bounds::Bounds,
    protocol::Protocol,
    search::{Found, search},
    state::Faults,
};

const EACH_FAULT: Faults = Faults { crashes: 1, stalls: 1, losses: 1, groups: 1, consumers: 1 };

/// Two workers that take one entry at a time, one event, one webhook, no faults.
const SMALLEST: Bounds = Bounds {
    workers: 2,
    hands: 1,
    webhooks: 1,
    events: 1,
    faults: EACH_FAULT,
    faults_in_all: 0,
    put_off: 0,
    switched_off: 0,
    deletions: 0,
    redeliveries: 0,
    leaving: false,
};

/// Searches, and prints the extent.
fn searched(protocol: Protocol, bounds: Bounds) -> Found {
    let started = Instant::now();
    let found = search(protocol, bounds);
    println!("{bounds:?}: {found} ({:.1?})", started.elapsed());
    found
}

fn assert_all_hold(bounds: Bounds) {
    assert!(searched(Protocol::WHOLE, bounds).counterexample.is_none());
}

#[test]
fn one_delivery_survives_any_two_faults() {
    assert_all_hold(Bounds { faults_in_all: 2, ..SMALLEST });
}

#[test]
fn one_delivery_survives_any_fault_amid_peoples_actions() {
    assert_all_hold(Bounds { faults_in_all: 1, switched_off: 1, deletions: 1, ..SMALLEST });
    assert_all_hold(Bounds { faults_in_all: 1, redeliveries: 1, ..SMALLEST });
}

#[test]
fn a_delivery_that_is_put_off_because_its_endpoint_is_busy_survives_any_fault() {
    assert_all_hold(Bounds { faults_in_all: 1, put_off: 1, switched_off: 1, ..SMALLEST });
    assert_all_hold(Bounds { faults_in_all: 1, put_off: 2, deletions: 1, ..SMALLEST });
}

#[test]
fn when_held_is_full_a_new_delivery_fails_or_the_oldest_is_dropped_if_the_webhook_is_off() {
    assert_all_hold(Bounds { events: 2, put_off: 2, ..SMALLEST });
    assert_all_hold(Bounds { events: 2, put_off: 1, switched_off: 1, workers: 1, ..SMALLEST });
}

#[test]
fn two_events_survive_a_stall() {
    let faults = Faults { stalls: 1, ..Faults::default() };
    assert_all_hold(Bounds { events: 2, faults, faults_in_all: 1, ..SMALLEST });
}

#[test]
fn two_webhooks_survive_a_stall() {
    let faults = Faults { stalls: 1, ..Faults::default() };
    assert_all_hold(Bounds { webhooks: 2, faults, faults_in_all: 1, ..SMALLEST });
}

#[test]
fn two_webhooks_share_an_event_while_one_is_switched_and_one_deleted() {
    assert_all_hold(Bounds { webhooks: 2, switched_off: 1, deletions: 1, ..SMALLEST });
}

#[test]
fn an_entry_given_to_its_worker_again_survives_any_fault() {
    let faults = Faults { stalls: 1, groups: 1, losses: 1, ..Faults::default() };
    assert_all_hold(Bounds { hands: 2, leaving: true, faults, faults_in_all: 2, ..SMALLEST });
}

/// The same within wider bounds, for `make model`.
#[test]
#[ignore = "takes a minute; `make model` runs it"]
fn wider_bounds_hold_too() {
    for bounds in [
        Bounds { faults_in_all: 4, ..SMALLEST },
        Bounds { hands: 2, leaving: true, faults_in_all: 3, ..SMALLEST },
        Bounds { faults_in_all: 3, faults: Faults { crashes: 3, ..EACH_FAULT }, switched_off: 1, ..SMALLEST },
        Bounds { faults_in_all: 1, switched_off: 1, deletions: 1, redeliveries: 1, leaving: true, ..SMALLEST },
        Bounds { webhooks: 2, faults_in_all: 1, ..SMALLEST },
        Bounds {
            webhooks: 2,
            faults_in_all: 1,
            faults: Faults { stalls: 1, ..Faults::default() },
            deletions: 1,
            ..SMALLEST
        },
        Bounds { events: 2, hands: 2, faults_in_all: 1, ..SMALLEST },
    ] {
        assert_all_hold(bounds);
    }
}

/// Checks that a broken protocol violates an invariant whose message has these words.
fn breaks(what: &str, protocol: Protocol, bounds: Bounds) {
    let found = searched(protocol, bounds);
    let counterexample = found.counterexample.expect("a counterexample");
    assert!(counterexample.broken.contains(what), "{}", counterexample.broken);
}

#[test]
fn without_the_fence_a_stale_holder_moves_anothers_entry() {
    let bounds = Bounds { faults_in_all: 1, ..SMALLEST };
    breaks("without holding the entry", Protocol { fenced: false, ..Protocol::WHOLE }, bounds);
}

#[test]
fn without_the_delivery_count_a_late_command_moves_an_entry_taken_again() {
    let bounds = Bounds { faults_in_all: 3, faults: Faults { stalls: 2, losses: 1, ..Faults::default() }, ..SMALLEST };
    breaks("without holding the entry", Protocol { counted: false, ..Protocol::WHOLE }, bounds);
}

#[test]
fn without_a_check_for_the_webhook_keys_of_a_deleted_one_come_back() {
    let bounds = Bounds { deletions: 1, ..SMALLEST };
    breaks("left of a deleted webhook", Protocol { webhook_must_exist: false, ..Protocol::WHOLE }, bounds);
}

#[test]
fn without_a_visit_or_release_held_deliveries_are_stranded() {
    for bounds in [Bounds { switched_off: 1, ..SMALLEST }, Bounds { put_off: 1, ..SMALLEST }] {
        breaks("held without a visit or release", Protocol { held_is_planned: false, ..Protocol::WHOLE }, bounds);
    }
}

#[test]
fn an_event_whose_fan_out_does_not_continue_is_lost() {
    let bounds = Bounds { webhooks: 2, ..SMALLEST };
    breaks("event 0 is in 0 places", Protocol { fan_out_goes_on: false, ..Protocol::WHOLE }, bounds);
}

#[test]
fn a_promoted_retry_that_stays_is_in_two_places() {
    breaks("is in 2 places", Protocol { promote_removes: false, ..Protocol::WHOLE }, SMALLEST);
}

#[test]
fn a_promoter_that_does_not_wait_is_early() {
    breaks("promoted before it was due", Protocol { promote_waits: false, ..Protocol::WHOLE }, SMALLEST);
}

#[test]
fn without_claiming_a_dead_workers_entries_never_end() {
    let bounds = Bounds { faults_in_all: 1, ..SMALLEST };
    breaks("no progress is possible", Protocol { claims: false, ..Protocol::WHOLE }, bounds);
}

#[test]
fn without_audits_a_deleted_consumers_entries_never_end() {
    let bounds = Bounds { faults_in_all: 1, ..SMALLEST };
    breaks("no progress is possible", Protocol { audits: false, ..Protocol::WHOLE }, bounds);
}
