//! Attempts that are late without a reason. If nothing is wrong, a first attempt begins within a second after its event
//! was accepted, and a retry within a second after its due time.
//!
//! An attempt is judged if, from its due time until it began,
//!
//! - no fault was under way, nor had one ended in the last few seconds, in which processes start and reconnect. If a
//!   fault struck the attempt's worker, it lies in this span, so a lease that had to end needs no rule of its own;
//! - its webhook was on.
//!
//! It may be later than a second only if, in that time,
//!
//! - a worker showed its endpoint as limited, or
//! - all workers together had at least as many attempts in flight as one of them has places.
//!
//! Time in which the machine or Redis kept the test itself waiting does not count.

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

/// The longest that an attempt may be late.
const LATE: Duration = Duration::from_secs(1);
/// The time after a fault until workers run and are connected again.
pub const RECOVERY: Duration = Duration::from_secs(3);
/// An endpoint may reach its limit unseen between two looks at the figures that workers publish.
const UNSEEN: Duration = Duration::from_secs(3);
/// The interval at which the test looks at the machine, Redis and the workers' figures.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A look that takes this much longer shows that other processes had to wait as well.
const STALL: Duration = Duration::from_millis(200);
/// Workers publish their figures every two seconds.
const SHOWN_WITHIN: Duration = Duration::from_millis(2500);

/// A span of time, both ends included.
type Span = (Instant, Instant);

/// The reasons for late attempts that are not the workers' fault.
#[derive(Default)]
pub struct Reasons {
    /// Faults, each with the recovery time after it.
    faults: Vec<Span>,
    /// Times in which the machine stalled.
    stalls: Vec<Span>,
    /// By webhook.
    off: Vec<(String, Span)>,
    limited: Vec<(String, Span)>,
    /// The number of attempts in flight from each time on, in order.
    in_flight: Vec<(Instant, usize)>,
}

/// The punctuality of attempts.
#[derive(Default)]
pub struct Punctuality {
    pub judged: usize,
    /// The greatest lateness below a second.
    pub worst: Duration,
    /// Attempts more than a second late because no place was free.
    pub waited: usize,
    pub late: Vec<String>,
}

impl Reasons {
    pub fn new(happened: &[Happened], watched: &Watched, off: Vec<(String, Span)>) -> Self {
        // A stopping worker hands over at once the entries that it has not begun; it finishes the others itself.
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

    /// Whether an attempt cannot be judged.
    fn is_disturbed(&self, webhook: &str, span: Span) -> bool {
        self.faults.iter().any(|fault| meets(*fault, span)) || has(&self.off, webhook, span)
    }

    /// Whether an attempt that is this late had to wait for a place: all places were taken, or its endpoint was at its
    /// limit nearly all the time.
    fn had_to_wait(&self, webhook: &str, span: Span, late: Duration) -> bool {
        let limited = self.limited.iter().filter(|(of, _)| of == webhook).map(|(_, limited)| *limited);
        let limited = covered(limited, span);
        (!limited.is_zero() && late.saturating_sub(limited) <= UNSEEN) || self.most_in_flight(span) >= CONCURRENCY
    }

    /// How late an attempt is, without the time in which the machine stalled.
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

/// The part of a span that the other spans cover. They come in the order in which they begin.
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
    /// Judges the attempts of one delivery. The first attempt was due when its event was accepted.
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

/// The latest due time of an attempt: the delay may be up to 5 % longer.
fn due(history: &History, attempt: &Logged, accepted: Instant, delays: &[Duration]) -> Option<Instant> {
    let Some(before) = attempt.number.checked_sub(2) else { return Some(accepted) };
    let delay = delays[usize::from(before).min(delays.len() - 1)].mul_f64(1.05);
    let predecessors = history.logged.iter().filter(|other| other.number + 1 == attempt.number);
    predecessors.map(|other| other.ended).filter(|ended| *ended <= attempt.started).max().map(|ended| ended + delay)
}

/// The observations made during a storm.
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
        // A Redis that is down answers nothing. That is a fault, and it is recorded.
        if limited.is_err() || now - before > LOOK_EVERY + STALL {
            watched.stalls.push((before, now));
        }
        let shown = (before.checked_sub(SHOWN_WITHIN).unwrap_or(before), now);
        watched.limited.extend(limited.unwrap_or_default().into_iter().map(|webhook| (webhook, shown)));
    }
}

/// The webhooks that workers report as limited.
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
    // A connection that broke is not used again.
    *kept = Some(connection);
    Ok(webhooks)
}

/// The spans in which webhooks were off, computed from the customers' switches: webhook, on or off, and when the switch
/// began and ended.
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

    /// The verdict on one delivery whose attempts began at these times.
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
        // The second attempt is due 420 ms after the end of the first, the third 840 ms after the end of the second.
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
    fn a_reason_counts_only_between_the_due_time_and_the_start() {
        let zero = Instant::now() + Duration::from_secs(60);
        let span = |from, until| (zero + ms(from), zero + ms(until));
        let fault = |at| Happened { name: KILL, from: zero + ms(at), until: zero + ms(at), worker: None, repeats: 16 };
        let of = |webhook: &str, span| vec![(webhook.to_owned(), span)];
        let full: Vec<Logged> = (0..CONCURRENCY).map(|_| logged(1, zero + ms(5300))).collect();
        let with = |happened: &[Happened], off| Reasons::new(happened, &Watched::default(), off);
        // The delivery's attempt 2 is due at 430 ms and begins at 5400 ms.
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
