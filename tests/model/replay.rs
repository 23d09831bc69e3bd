//! Random histories of the model, step by step on a real Redis: after each step, what lies there is what the model
//! says. So that model and scripts cannot drift apart.
//!
//! Nothing waits for time to pass: leases, retries and visits are aged by hand. `LYNKHOOK_TEST_SEED` repeats a run.

mod bench;
mod look;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use self::bench::Bench;
use crate::{
    actions::{Action, after},
    bounds::Bounds,
    possible::possible,
    protocol::Protocol,
    state::{Faults, State},
};

const HISTORIES: usize = 80;
const STEPS: usize = 100;

/// Far more than can be searched: a history goes where it likes.
const WIDE: Bounds = Bounds {
    workers: 2,
    hands: 3,
    webhooks: 2,
    events: 12,
    faults: Faults { crashes: 9, stalls: 9, losses: 9, groups: 3 },
    faults_in_all: 30,
    switched_off: 9,
    deletions: 1,
    redeliveries: 9,
    leaving: true,
};

/// One of all that can happen, and of what scripts must not heed.
fn choose(state: &State, dice: &mut StdRng) -> Action {
    let mut all = possible(state, &WIDE);
    // A read with nothing to read would wait for it.
    let readable = state.queue.iter().any(|entry| entry.pending.is_none());
    all.retain(|action| readable || !matches!(action, Action::Read { .. }));
    // Deleting ends most of what a history could show.
    all.retain(|action| !matches!(action, Action::Delete { .. }) || dice.random_bool(0.4));
    let worker = dice.random_range(0..2);
    all.push(Action::Visit { webhook: dice.random_range(0..2) });
    let (room, suspects) = (dice.random_range(0..3), dice.random_range(0..2));
    all.push(Action::Claim { worker, room, suspects, answered: dice.random_bool(0.5) });
    all[dice.random_range(0..all.len())]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_redis_and_the_model_agree_after_each_step() {
    let seed = std::env::var("LYNKHOOK_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("LYNKHOOK_TEST_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    for history in 0..HISTORIES {
        let mut state = State::new(WIDE.workers, WIDE.webhooks);
        let mut bench = Bench::new(&state).await;
        for step in 0..STEPS {
            let action = choose(&state, &mut dice);
            let next = after(Protocol::WHOLE, &state, action);
            println!("history {history}, step {step}: {action:?}");
            bench.take(action, &state, &next).await;
            let there = bench.look(&next).await;
            assert!(there == next, "\nbefore: {state:?}\nin Redis: {there:?}\nin the model: {next:?}");
            state = next;
        }
    }
}
