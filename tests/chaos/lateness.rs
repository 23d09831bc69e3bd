//! Attempts that are late without a reason. Where nothing is wrong, a first attempt begins within a second of its event
//! being accepted, and a retry within a second of its due time.
//!
//! An attempt is judged if from its due time until it began
//!
//! - no fault was under way, nor had one ended in the last few seconds, in which processes start and connect anew. An
//!   attempt whose worker was struck has the fault in this span, so a lease that had to end needs no rule of its own;
//! - its webhook was on.
//!
//! It may be later than a second only if in that time
//!
//! - a worker showed its endpoint as limited, or
//! - all workers together had as many attempts in flight as one of them has places.
//!
//! Time in which this machine or Redis kept the test itself waiting counts for nobody.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use redis::{AsyncCommands, aio::MultiplexedConnection};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    attempts::{History, Logged},
    nemesis::{Happened, TERM},
    world::CONCURRENCY,
};

/// How late an attempt may be.
const LATE: Duration = Duration::from_secs(1);
/// After a fault, until workers run and are connected again.
pub const RECOVERY: Duration = Duration::from_secs(3);
/// Between two looks at what workers publish, an endpoint may reach its limit unseen.
const UNSEEN: Duration = Duration::from_secs(3);
/// How often the machine, Redis and the workers' figures are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A look that takes this much longer shows that others had to wait as well.
const STALL: Duration = Duration::from_millis(200);
/// Workers publish their figures every two seconds.
const SHOWN_WITHIN: Duration = Duration::from_millis(2500);

/// A span of time, both ends included.
type Span = (Instant, Instant);

/// What keeps attempts from being on time and is not the workers' fault.
#[derive(Default)]
pub struct Reasons {
    /// Faults, each with the time after it.
    faults: Vec<Span>,
    /// Times in which the machine stood still.
    stalls: Vec<Span>,
    /// By webhook.
    off: Vec<(String, Span)>,
    limited: Vec<(String, Span)>,
    /// How many attempts were in flight from each time on, in order.
    in_flight: Vec<(Instant, usize)>,
}

/// How punctual attempts were.
#[derive(Default)]
pub struct Punctuality {
    pub judged: usize,
    /// The latest of those that were not a second late.
    pub worst: Duration,
    /// Later than a second, for want of a place.
    pub waited: usize,
    pub late: Vec<String>,
}

impl Reasons {
    pub fn new(happened: &[Happened], watched: &Watched, off: Vec<(String, Span)>) -> Self {
        // A worker that is told to stop hands over at once what it has not begun; the rest it finishes itself.
        let until = |fault: &Happened| if fault.name == TERM { fault.from } else { fault.until };
        let faults = happened.iter().map(|fault| (fault.from, until(fault) + RECOVERY));
        Self {
            faults: faults.collect(),
            stalls: watched.stalls.clone(),
            off,
            limited: watched.limited.clone(),
            in_flight: Vec::new(),
        }
    }

    /// Counts the attempts in flight.
    #[must_use]
    pub fn with_attempts<'a>(mut self, attempts: impl Iterator<Item = &'a Logged>) -> Self {
        let mut changes: Vec<(Instant, isize)> =
            attempts.flat_map(|attempt| [(attempt.started, 1), (attempt.ended, -1)]).collect();
        changes.sort_unstable();
        let mut count = 0_usize;
        self.in_flight = changes
            .into_iter()
            .map(|(at, change)| {
                count = count.saturating_add_signed(change);
                (at, count)
            })
            .collect();
        self
    }

    /// Whether nothing can be said of an attempt.
    fn is_disturbed(&self, webhook: &str, span: Span) -> bool {
        self.faults.iter().any(|fault| meets(*fault, span)) || has(&self.off, webhook, span)
    }

    /// Whether an attempt that is this late had to wait for a place: all were taken, or its endpoint was at its limit nearly all
    /// of the time.
    fn had_to_wait(&self, webhook: &str, span: Span, late: Duration) -> bool {
        let limited = self.limited.iter().filter(|(of, _)| of == webhook).map(|(_, limited)| *limited);
        let limited = covered(limited, span);
        (!limited.is_zero() && late.saturating_sub(limited) <= UNSEEN) || self.most_in_flight(span) >= CONCURRENCY
    }

    /// How late an attempt is, without the time in which the machine stood still.
    fn late(&self, (due, started): Span) -> Duration {
        let within = |(from, until): &Span| (*until).min(started).saturating_duration_since((*from).max(due));
        let stalled: Duration = self.stalls.iter().map(within).sum();
        started.saturating_duration_since(due).saturating_sub(stalled)
    }

    fn most_in_flight(&self, (from, until): Span) -> usize {
        let next = self.in_flight.partition_point(|(at, _)| *at < from);
        let within = self.in_flight[next.saturating_sub(1)..].iter().take_while(|(at, _)| *at <= until);
        within.map(|(_, count)| *count).max().unwrap_or(0)
    }
}

/// How much of a span others cover, which come in the order in which they begin.
fn covered(spans: impl Iterator<Item = Span>, (from, until): Span) -> Duration {
    let (mut reached, mut covered) = (from, Duration::ZERO);
    for (begins, ends) in spans {
        let (begins, ends) = (begins.max(reached), ends.min(until));
        if ends > begins {
            covered += ends - begins;
            reached = ends;
        }
    }
    covered
}

fn meets(one: Span, other: Span) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

fn has(spans: &[(String, Span)], webhook: &str, span: Span) -> bool {
    spans.iter().any(|(of, one)| of == webhook && meets(*one, span))
}

impl Punctuality {
    /// Judges one delivery's attempts, of which the first was due when its event was accepted.
    pub fn enter(
        &mut self,
        (event, webhook, path): (&str, &str, &str),
        history: &History,
        accepted: Instant,
        delays: &[Duration],
        reasons: &Reasons,
    ) {
        for attempt in &history.logged {
            let Some(due) = due(history, attempt, accepted, delays) else { continue };
            let span = (due, attempt.started);
            if reasons.is_disturbed(webhook, span) {
                continue;
            }
            self.judged += 1;
            let late = reasons.late(span);
            if late <= LATE {
                self.worst = self.worst.max(late);
            } else if reasons.had_to_wait(webhook, span, late) {
                self.waited += 1;
            } else {
                self.late.push(format!("attempt {} of {event} for {path} was {late:?} late", attempt.number));
            }
        }
    }
}

/// When an attempt was due at the latest: the delay may be up to 5 % longer.
fn due(history: &History, attempt: &Logged, accepted: Instant, delays: &[Duration]) -> Option<Instant> {
    let Some(before) = attempt.number.checked_sub(2) else { return Some(accepted) };
    let delay = delays[usize::from(before).min(delays.len() - 1)].mul_f64(1.05);
    let predecessors = history.logged.iter().filter(|other| other.number + 1 == attempt.number);
    predecessors.map(|other| other.ended).filter(|ended| *ended <= attempt.started).max().map(|ended| ended + delay)
}

/// What is seen beside the storm.
#[derive(Clone, Default)]
pub struct Watched {
    stalls: Vec<Span>,
    limited: Vec<(String, Span)>,
}

/// Watches until it is dropped.
pub struct Watch {
    watched: Arc<Mutex<Watched>>,
    _watching: JoinSet<()>,
}

impl Watch {
    pub fn start(redis_url: &str, prefix: &str) -> Self {
        let (watched, mut watching) = (Arc::<Mutex<Watched>>::default(), JoinSet::new());
        watching.spawn(watch(redis_url.to_owned(), format!("{prefix}:workers:*"), Arc::clone(&watched)));
        Self { watched, _watching: watching }
    }

    pub fn watched(&self) -> Watched {
        self.watched.lock().unwrap().clone()
    }
}

async fn watch(url: String, pattern: String, watched: Arc<Mutex<Watched>>) {
    let client = redis::Client::open(url).expect("it is a URL");
    let mut connection = None;
    loop {
        let before = Instant::now();
        let limited = limited(&client, &mut connection, &pattern).await;
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Instant::now();
        let mut watched = watched.lock().unwrap();
        // A Redis that is away answers nothing; that is a fault, and is known.
        if limited.is_err() || now - before > LOOK_EVERY + STALL {
            watched.stalls.push((before, now));
        }
        let shown = (before.checked_sub(SHOWN_WITHIN).unwrap_or(before), now);
        watched.limited.extend(limited.unwrap_or_default().into_iter().map(|webhook| (webhook, shown)));
    }
}

/// The webhooks that workers show as limited.
async fn limited(
    client: &redis::Client,
    kept: &mut Option<MultiplexedConnection>,
    pattern: &str,
) -> redis::RedisResult<HashSet<String>> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => client.get_multiplexed_async_connection().await?,
    };
    let keys: Vec<String> = connection.keys(pattern).await?;
    let mut webhooks = HashSet::new();
    for key in keys {
        let figures: Option<String> = connection.get(key).await?;
        let figures: Value = figures.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let limited = figures["limited"].as_array().into_iter().flatten();
        webhooks.extend(limited.filter_map(|one| one["webhook"].as_str()).map(ToOwned::to_owned));
    }
    // One that broke is not used again.
    *kept = Some(connection);
    Ok(webhooks)
}

/// The spans in which webhooks were off, from what customers switched: webhook, on or off, and how long that took.
pub fn off(switches: &[(String, bool, Span)], end: Instant) -> Vec<(String, Span)> {
    let mut since: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut off = Vec::new();
    for (webhook, on, (began, done)) in switches {
        if !on {
            since.entry(webhook).or_insert(*began);
        } else if let Some(since) = since.remove(webhook.as_str()) {
            off.push((webhook.clone(), (since, *done)));
        }
    }
    off.extend(since.into_iter().map(|(webhook, since)| (webhook.to_owned(), (since, end))));
    off
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::KILL;

    const DELAYS: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(800)];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn logged(number: u8, started: Instant) -> Logged {
        Logged { number, started, ended: started + ms(10), last: false, good: false }
    }

    /// How one delivery is judged whose attempts began at these times.
    fn judged(zero: Instant, started: &[u64], reasons: &Reasons) -> (usize, usize) {
        let logged = (1..).zip(started).map(|(number, at)| logged(number, zero + ms(*at))).collect();
        let history = History { logged, ..History::default() };
        let mut punctuality = Punctuality::default();
        punctuality.enter(("e1", "wh_1", "/hook-0"), &history, zero, &DELAYS, reasons);
        (punctuality.judged, punctuality.late.len())
    }

    #[test]
    fn an_attempt_that_is_more_than_a_second_late_is_seen() {
        let zero = Instant::now() + Duration::from_secs(60);
        // The second is due 420 ms after the end of the first, the third 840 ms after that of the second.
        for (started, late) in [
            (&[900, 1400, 2300][..], 0),
            (&[1100], 1),
            (&[0, 1400], 0),
            (&[0, 1500], 1),
            (&[0, 430, 2250], 0),
            (&[0, 430, 2350], 1),
        ] {
            assert_eq!(judged(zero, started, &Reasons::default()), (started.len(), late), "{started:?}");
        }
    }

    #[test]
    fn only_what_happens_between_the_due_time_and_the_start_is_a_reason() {
        let zero = Instant::now() + Duration::from_secs(60);
        let span = |from, until| (zero + ms(from), zero + ms(until));
        let fault = |at| Happened { name: KILL, from: zero + ms(at), until: zero + ms(at), worker: None, repeats: 16 };
        let of = |webhook: &str, span| vec![(webhook.to_owned(), span)];
        let full: Vec<Logged> = (0..CONCURRENCY).map(|_| logged(1, zero + ms(5300))).collect();
        let with = |happened: &[Happened], off| Reasons::new(happened, &Watched::default(), off);
        // Of the delivery, attempt 2 is due at 430 ms and begins at 5400 ms.
        for (reasons, is_late) in [
            (with(&[], Vec::new()), true),
            (with(&[fault(3000)], Vec::new()), false),
            (with(&[fault(5500)], Vec::new()), true),
            (with(&[], of("wh_1", span(5000, 5100))), false),
            (with(&[], of("wh_2", span(5000, 5100))), true),
            (with(&[], of("wh_1", span(100, 200))), true),
            (Reasons { stalls: vec![span(600, 4700)], ..Reasons::default() }, false),
            (Reasons { stalls: vec![span(600, 4300)], ..Reasons::default() }, true),
            (with(&[], Vec::new()).with_attempts(full.iter()), false),
            (with(&[], Vec::new()).with_attempts(full[1..].iter()), true),
        ] {
            assert_eq!(judged(zero, &[0, 5400], &reasons).1, usize::from(is_late), "{:?}", reasons.faults);
        }
    }

    #[test]
    fn a_webhook_is_off_from_when_it_is_switched_off_until_it_is_on_again() {
        let zero = Instant::now();
        let at = |second: u64| (zero + ms(second * 1000), zero + ms(second * 1000 + 100));
        let switch = |webhook: &str, on, second| (webhook.to_owned(), on, at(second));
        let switches = [
            switch("a", true, 1),
            switch("a", false, 2),
            switch("a", false, 3),
            switch("b", false, 4),
            switch("a", true, 5),
        ];
        let end = zero + ms(9000);
        assert_eq!(off(&switches, end), [("a".to_owned(), (at(2).0, at(5).1)), ("b".to_owned(), (at(4).0, end))]);
    }
}
