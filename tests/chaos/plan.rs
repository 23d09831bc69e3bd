//! What happens in a storm and when, drawn from one seed before it begins: the load, what customers change, what the
//! nemesis does, and how receivers answer each request. How processes interleave is theirs; the plan is the seed's.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::support::Answer;

/// Two accounts of two webhooks each that stay, and two of one webhook each that is deleted and added anew. Each lies
/// in a partition of its own, so that what is dropped is counted by account.
pub const ACCOUNTS: usize = 4;
pub const STAYING: usize = 2;
pub const WORKERS: usize = 3;

/// The hooks: their accounts and characters.
pub const HOOKS: [(usize, Character); 6] = [
    (0, Character::Steady),
    (0, Character::Flaky),
    (1, Character::Refusing),
    (1, Character::Hanging),
    (2, Character::Steady),
    (3, Character::Flaky),
];

/// How a receiver behaves, by and large.
#[derive(Clone, Copy, Debug)]
pub enum Character {
    Steady,
    Flaky,
    Refusing,
    Hanging,
}

/// What customers and producers do. Hooks and accounts by their number.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Push {
        account: usize,
        events: usize,
    },
    Switch {
        hook: usize,
        on: bool,
    },
    Edit {
        hook: usize,
    },
    /// Deleted, and another added in its place, perhaps after some events that find none.
    Replace {
        hook: usize,
        meanwhile: usize,
    },
    /// Switched on, and what was held is dropped.
    Discard {
        hook: usize,
    },
}

/// What the nemesis does. What lasts has an end of its own in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillWorker(usize),
    StopWorker(usize),
    /// A rollout: SIGTERM, and another in its place.
    ReplaceWorker(usize),
    KillRedis,
    CutConnections,
    SlowConnections(Duration),
    WithholdReplies,
    LoseReplies,
    KillClients,
    PauseClients(Duration),
    FlushScripts,
    DestroyGroup(usize),
    FillMemory,
    JumpLoad(usize),
}

/// The end of what lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    ResumeWorker(usize),
    StartRedis,
    FairWeather,
    FreeMemory,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Begin(Fault),
    End(End),
}

/// A storm.
pub struct Plan {
    pub seed: u64,
    /// How long it lasts; what is left then is finished in peace.
    pub length: Duration,
    /// The waits before the second and the third attempt.
    pub delays: [Duration; 2],
    pub deeds: Vec<(Duration, Deed)>,
    pub steps: Vec<(Duration, Step)>,
}

impl Plan {
    pub fn new(seed: u64, length: Duration, delays_ms: [u64; 2]) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let deeds = deeds(&mut dice, length);
        let mut steps = steps(&mut dice, length);
        steps.sort_by_key(|(at, _)| *at);
        Self { seed, length, delays: delays_ms.map(ms), deeds, steps }
    }

    pub fn faults(&self) -> usize {
        self.steps.iter().filter(|(_, step)| matches!(step, Step::Begin(_))).count()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Some thirty events a second, and a change every half second.
fn deeds(dice: &mut StdRng, length: Duration) -> Vec<(Duration, Deed)> {
    let (mut deeds, mut at) = (Vec::new(), Duration::ZERO);
    while at < length {
        let (hook, account) = (dice.random_range(0..HOOKS.len()), dice.random_range(0..ACCOUNTS));
        let changing = dice.random_range(2 * STAYING..HOOKS.len());
        deeds.push((
            at,
            match dice.random_range(0..20) {
                0..2 => Deed::Switch { hook, on: dice.random_bool(0.6) },
                2 => Deed::Edit { hook },
                3 if dice.random_bool(0.5) => Deed::Replace { hook: changing, meanwhile: dice.random_range(0..3) },
                3 => Deed::Discard { hook: changing },
                _ => Deed::Push { account, events: dice.random_range(1..8) },
            },
        ));
        at += ms(dice.random_range(50..200));
    }
    deeds
}

/// Squalls of some seconds with a fault every second, and calms between them, in which nothing may be repeated that was
/// not hit before.
fn steps(dice: &mut StdRng, length: Duration) -> Vec<(Duration, Step)> {
    let (mut steps, mut at) = (Vec::new(), ms(1000));
    let mut calm_from = at + ms(8000);
    while at < length {
        let (fault, end) = fault(dice);
        steps.push((at, Step::Begin(fault)));
        if let Some((after, end)) = end {
            steps.push((at + after, Step::End(end)));
        }
        at += ms(dice.random_range(300..1300));
        if at > calm_from {
            at += ms(5000);
            calm_from = at + ms(8000);
        }
    }
    steps
}

fn fault(dice: &mut StdRng) -> (Fault, Option<(Duration, End)>) {
    let worker = dice.random_range(0..WORKERS);
    match dice.random_range(0..28) {
        0..5 => (Fault::KillWorker(worker), None),
        // Half of them for longer than a lease of 3.2 s.
        5..9 => (Fault::StopWorker(worker), Some((ms(dice.random_range(500..6000)), End::ResumeWorker(worker)))),
        9..11 => (Fault::ReplaceWorker(worker), None),
        11..13 => (Fault::KillRedis, Some((ms(dice.random_range(100..4500)), End::StartRedis))),
        13..15 => (Fault::CutConnections, None),
        15..16 => {
            let delay = ms(dice.random_range(100..600));
            (Fault::SlowConnections(delay), Some((ms(dice.random_range(500..2500)), End::FairWeather)))
        }
        16..17 => (Fault::WithholdReplies, Some((ms(dice.random_range(500..4500)), End::FairWeather))),
        17..20 => (Fault::LoseReplies, Some((ms(dice.random_range(20..300)), End::FairWeather))),
        20..21 => (Fault::KillClients, None),
        21..22 => (Fault::PauseClients(ms(dice.random_range(3300..4500))), None),
        22..23 => (Fault::FlushScripts, None),
        23..25 => (Fault::DestroyGroup(dice.random_range(0..ACCOUNTS)), None),
        25..26 => (Fault::FillMemory, Some((ms(dice.random_range(500..2000)), End::FreeMemory))),
        _ => (Fault::JumpLoad(dice.random_range(0..ACCOUNTS)), None),
    }
}

/// How a receiver answers, decided by the seed, the path, the event and how often it came.
pub fn answer(seed: u64, path: &str, event: &str, nth: usize) -> Answer {
    let mut hasher = DefaultHasher::new();
    (seed, path, event, nth).hash(&mut hasher);
    let mut dice = StdRng::seed_from_u64(hasher.finish());
    let number = path.trim_start_matches("/hook-").parse::<usize>().expect("a path of the plan");
    let (fail, refuse, hang) = match HOOKS[number].1 {
        Character::Steady => (5, 0, 0),
        Character::Flaky => (45, 0, 3),
        Character::Refusing => (15, 20, 0),
        Character::Hanging => (10, 0, 20),
    };
    let answer = match dice.random_range(0..100) {
        roll if roll < fail => match dice.random_range(0..6) {
            0 => Answer::ResetBeforeHeaders,
            1 => Answer::CloseBeforeHeaders,
            2 => Answer::ResetInHeaders,
            3 => Answer::NotHttp,
            _ => Answer::Status(503),
        },
        roll if roll < fail + refuse => [Answer::Status(404), Answer::Status(301)][dice.random_range(0..2)].clone(),
        roll if roll < fail + refuse + hang => return Answer::Silence,
        // Complete headers are an answer, whatever the body then does.
        99 => Answer::ResetInBody,
        _ => Answer::Status(200),
    };
    Answer::Delay(ms(dice.random_range(0..120)), Box::new(answer))
}

/// Whether an answer acknowledges.
pub fn is_good(answer: &Answer) -> bool {
    match answer {
        Answer::Delay(_, answer) => is_good(answer),
        Answer::Status(status) => (200..300).contains(status),
        Answer::ResetInBody => true,
        _ => false,
    }
}
