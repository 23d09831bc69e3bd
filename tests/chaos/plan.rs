//! The events of a storm and their times, drawn from one seed before it begins: the load, the customers' changes, the
//! nemesis's faults, and the receivers' answers to each request. The interleaving of processes is not planned.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{lateness::RECOVERY, support::Answer};

/// Two accounts with two webhooks each that stay, and two with one webhook each that is deleted and added again. Each
/// account is in a partition of its own, so that drops are counted by account.
pub const ACCOUNTS: usize = 4;
pub const STAYING: usize = 2;
pub const WORKERS: usize = 3;

/// The hooks: account and character.
pub const HOOKS: [(usize, Character); 6] = [
    (0, Character::Steady),
    (0, Character::Flaky),
    (1, Character::Refusing),
    (1, Character::Hanging),
    (2, Character::Steady),
    (3, Character::Flaky),
];

/// How long the load continues after the last fault.
const CALM: Duration = RECOVERY.saturating_add(Duration::from_secs(4));

/// The usual behaviour of a receiver.
#[derive(Clone, Copy, Debug)]
pub enum Character {
    Steady,
    Flaky,
    Refusing,
    Hanging,
}

/// The actions of customers and producers. Hooks and accounts are given by their number.
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
    /// The webhook is deleted, and another is added in its place, perhaps after some events that match none.
    Replace {
        hook: usize,
        meanwhile: usize,
    },
    /// The webhook is switched off until a delivery is held, then on, with the held deliveries discarded.
    Discard {
        hook: usize,
    },
}

/// The actions of the nemesis. A fault that lasts has an end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillWorker(usize),
    StopWorker(usize),
    /// A rollout: SIGTERM, and another worker in its place.
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

/// The end of a fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    ResumeWorker(usize),
    StartRedis,
    FairWeather,
    FreeMemory,
}

/// A fault, its time, and its end with the time after which it comes.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub at: Duration,
    pub fault: Fault,
    pub end: Option<(Duration, End)>,
}

/// A storm.
pub struct Plan {
    pub seed: u64,
    /// The length, including the calm at the end; the remaining work is finished after it.
    pub length: Duration,
    /// The waits before the second and the third attempt.
    pub delays: [Duration; 2],
    pub deeds: Vec<(Duration, Deed)>,
    pub steps: Vec<Step>,
}

impl Plan {
    pub fn new(seed: u64, length: Duration, delays_ms: [u64; 2]) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut planned = deeds(&mut dice, length);
        let steps = steps(&mut dice, length);
        // After the last fault, only the load continues for some seconds, so that there are attempts that no fault can
        // have delayed.
        let ends = steps.iter().map(|step| step.at + step.end.map_or(Duration::ZERO, |(after, _)| after));
        let over = ends.fold(length, Duration::max);
        planned.extend(deeds(&mut dice, CALM).into_iter().map(|(at, deed)| (over + at, deed)));
        Self { seed, length: over + CALM, delays: delays_ms.map(ms), deeds: planned, steps }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// About thirty events a second, and a change every half second, dealt from a shuffled deck.
fn deeds(dice: &mut StdRng, length: Duration) -> Vec<(Duration, Deed)> {
    let (mut deeds, mut at, mut deck) = (Vec::new(), Duration::ZERO, Vec::new());
    while at < length {
        if deck.is_empty() {
            deck.extend(0..40);
            deck.shuffle(dice);
        }
        let (hook, account) = (dice.random_range(0..HOOKS.len()), dice.random_range(0..ACCOUNTS));
        let changing = dice.random_range(2 * STAYING..HOOKS.len());
        let deed = match deck.pop() {
            Some(0..4) => Deed::Switch { hook, on: dice.random_bool(0.6) },
            Some(4..6) => Deed::Edit { hook },
            Some(6) => Deed::Replace { hook: changing, meanwhile: dice.random_range(0..3) },
            Some(7) => Deed::Discard { hook: changing },
            _ => Deed::Push { account, events: dice.random_range(1..8) },
        };
        deeds.push((at, deed));
        at += ms(dice.random_range(50..200));
    }
    deeds
}

/// Squalls of some seconds with a fault every second, and calms between them. In a calm, only attempts that a fault has
/// struck may be repeated, and nothing that begins in it may be late. The first squall has each kind of fault once, and
/// begins with a worker that is killed in fair weather.
fn steps(dice: &mut StdRng, length: Duration) -> Vec<Step> {
    let mut deck = cards(dice, [1; KINDS]);
    let first = deck.iter().position(|(fault, _)| matches!(fault, Fault::KillWorker(_))).expect("one of them");
    let last = deck.len() - 1;
    deck.swap(first, last);
    let (mut steps, mut at, mut calm_from) = (Vec::new(), ms(1000), ms(10_000));
    while at < length || steps.len() < KINDS {
        if deck.is_empty() {
            deck = cards(dice, OFTEN);
        }
        let (fault, end) = deck.pop().expect("no deck is without cards");
        steps.push(Step { at, fault, end });
        at += ms(dice.random_range(300..1000));
        if at > calm_from && steps.len() >= KINDS {
            at += ms(8000);
            calm_from = at + ms(8000);
        }
    }
    steps
}

type Card = (Fault, Option<(Duration, End)>);

/// The number of kinds of faults, and how often each is in a deck, in the order of [`fault`].
pub const KINDS: usize = 14;
const OFTEN: [usize; KINDS] = [5, 4, 2, 2, 2, 1, 1, 3, 1, 1, 1, 2, 1, 2];

fn cards(dice: &mut StdRng, often: [usize; KINDS]) -> Vec<Card> {
    let kinds = (0..KINDS).flat_map(|kind| std::iter::repeat_n(kind, often[kind]));
    let mut cards: Vec<Card> = kinds.map(|kind| fault(dice, kind)).collect();
    cards.shuffle(dice);
    cards
}

fn fault(dice: &mut StdRng, kind: usize) -> Card {
    let worker = dice.random_range(0..WORKERS);
    match kind {
        0 => (Fault::KillWorker(worker), None),
        // A third of these last longer than a lease of 3.9 s.
        1 => (Fault::StopWorker(worker), Some((ms(dice.random_range(500..6000)), End::ResumeWorker(worker)))),
        2 => (Fault::ReplaceWorker(worker), None),
        3 => (Fault::KillRedis, Some((ms(dice.random_range(100..4500)), End::StartRedis))),
        4 => (Fault::CutConnections, None),
        5 => {
            let delay = ms(dice.random_range(100..600));
            (Fault::SlowConnections(delay), Some((ms(dice.random_range(500..2500)), End::FairWeather)))
        }
        6 => (Fault::WithholdReplies, Some((ms(dice.random_range(500..4500)), End::FairWeather))),
        7 => (Fault::LoseReplies, Some((ms(dice.random_range(20..300)), End::FairWeather))),
        8 => (Fault::KillClients, None),
        9 => (Fault::PauseClients(ms(dice.random_range(4000..4600))), None),
        10 => (Fault::FlushScripts, None),
        11 => (Fault::DestroyGroup(dice.random_range(0..ACCOUNTS)), None),
        12 => (Fault::FillMemory, Some((ms(dice.random_range(500..2000)), End::FreeMemory))),
        _ => (Fault::JumpLoad(dice.random_range(0..ACCOUNTS)), None),
    }
}

/// A receiver's answer, decided by the seed, the path, the event and the number of its requests so far.
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
        // Longer than a quarter of a lease, and still in time.
        roll if (50..60).contains(&roll) && matches!(HOOKS[number].1, Character::Hanging) => {
            return Answer::Delay(ms(1000), Box::new(Answer::Status(200)));
        }
        // Complete headers are an answer, whatever happens to the body.
        99 => Answer::ResetInBody,
        _ => Answer::Status(200),
    };
    Answer::Delay(ms(dice.random_range(0..120)), Box::new(answer))
}

/// Whether an answer acknowledges the delivery.
pub fn is_good(answer: &Answer) -> bool {
    match answer {
        Answer::Delay(_, answer) => is_good(answer),
        Answer::Status(status) => (200..300).contains(status),
        Answer::ResetInBody => true,
        _ => false,
    }
}
