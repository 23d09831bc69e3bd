//! Random histories of the model, step by step on a real Redis. After each step, the content of Redis must match the
//! model, so that model and scripts cannot diverge.
//!
//! Nothing waits for time to pass: the test ages leases, retries and visits itself. `LYNKHOOK_TEST_SEED` repeats a run.

mod bench;
mod look;

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use self::bench::Bench;
use crate::{
    actions::{Action, after, command},
    bounds::Bounds,
    possible::possible,
    protocol::Protocol,
    redis_steps::Answer,
    state::{Faults, Reason, State, Step},
};

const HISTORIES: usize = 80;
const STEPS: usize = 100;
/// The number of kinds of actions.
const ACTIONS: usize = 27;

/// Far wider than a search could cover: a history is random.
const WIDE: Bounds = Bounds {
    workers: 2,
    hands: 3,
    webhooks: 2,
    events: 12,
    faults: Faults { crashes: 9, stalls: 9, losses: 9, groups: 3, consumers: 5 },
    faults_in_all: 30,
    put_off: 9,
    switched_off: 9,
    deletions: 1,
    redeliveries: 9,
    leaving: true,
};

/// One of the possible actions. Actions that are progress are more likely; now and then, an action that must change
/// nothing.
fn choose(state: &State, dice: &mut StdRng) -> Action {
    let worker = dice.random_range(0..2);
    if dice.random_bool(0.1) {
        let (room, suspects) = (dice.random_range(0..3), dice.random_range(0..2));
        let idle = [
            Action::Release { webhook: dice.random_range(0..2) },
            Action::Visit { webhook: dice.random_range(0..2) },
            Action::Promote,
            Action::Audit,
            Action::Renew { worker },
            Action::Claim { worker, room, suspects, answered: true },
        ];
        return idle[dice.random_range(0..idle.len())];
    }
    let all = possible(state, &WIDE);
    // Held deliveries leave soon, so only several in a row reach the limit of `held`.
    let put_off = all.iter().copied().find(|action| matches!(action, Action::PutOff { .. }));
    if let Some(put_off) = put_off.filter(|_| dice.random_bool(0.25)) {
        return put_off;
    }
    let leads_on: Vec<Action> = all.iter().copied().filter(|action| action.is_progress(state)).collect();
    let among = if leads_on.is_empty() || dice.random_bool(0.4) { &all } else { &leads_on };
    match among[dice.random_range(0..among.len())] {
        // After a deletion, a history has little left to show.
        Action::Delete { .. } if dice.random_bool(0.7) => choose(state, dice),
        action => action,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_the_model_agree_after_each_step() {
    let seed = std::env::var("LYNKHOOK_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("LYNKHOOK_TEST_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut changes: BTreeMap<String, usize> = BTreeMap::new();
    let mut answers: BTreeSet<(Option<Reason>, Answer)> = BTreeSet::new();
    for history in 0..HISTORIES {
        let mut state = State::new(WIDE.workers, WIDE.webhooks);
        let mut bench = Bench::new(&state).await;
        for step in 0..STEPS {
            let action = choose(&state, &mut dice);
            let next = after(Protocol::WHOLE, &state, action);
            println!("history {history}, step {step}: {action:?}");
            if let Action::Take { worker, hand } = action {
                let command = command(&state, worker, hand);
                let reason = if let Step::Hold(_, reason) = command.step { Some(reason) } else { None };
                answers.insert((reason, Protocol::WHOLE.take(&mut state.clone(), command)));
            }
            bench.take(action, &state, &next).await;
            let there = bench.look(&next).await;
            assert!(there == next, "\nbefore: {state:?}\nin Redis: {there:?}\nin the model: {next:?}");
            let name = format!("{action:?}").split([' ', '{']).next().unwrap().to_owned();
            *changes.entry(name).or_default() += usize::from(next != state);
            state = next;
        }
    }
    println!("changes by action: {changes:?}");
    assert_eq!(changes.len(), ACTIONS, "{changes:?}");
    assert!(changes.values().all(|times| *times > 0), "{changes:?}");
    let held = [
        (Reason::Off, Answer::Done),
        (Reason::Off, Answer::Active),
        (Reason::New, Answer::Done),
        (Reason::New, Answer::Full),
        (Reason::Again, Answer::Done),
    ];
    for (reason, answer) in held {
        assert!(answers.contains(&(Some(reason), answer)), "no {reason:?} was answered {answer:?}: {answers:?}");
    }
}
