//! The schedule at random: endpoints fail, flake, are slow or are well, and there are no faults on our side. While the
//! worker has room, no first attempt begins more than a second after its event was added, and no retry more than a
//! second after its score.
//!
//! Two exceptions are promised: an endpoint that has not answered yet, and one that a worker reports as limited.

use super::*;

/// The longest that an attempt may be late.
const LATE_MS: i64 = 1000;

/// The time for three attempts, and for held deliveries.
const FINISHING: Duration = Duration::from_secs(15);

/// The usual behaviour of an endpoint.
#[derive(Clone, Copy, Debug)]
enum Character {
    Healthy,
    Failing,
    Flaking,
    Slow,
}

use Character::{Failing, Flaking, Healthy, Slow};

const ENDPOINTS: [Character; 10] = [Healthy, Healthy, Healthy, Failing, Failing, Failing, Flaking, Flaking, Slow, Slow];

/// An endpoint's answer to one request.
fn answer(character: Character, dice: &mut StdRng) -> Answer {
    let (status, pause_ms) = match character {
        Healthy => (200, dice.random_range(0..20)),
        Failing => return [Answer::Status(500), Answer::ResetBeforeHeaders][dice.random_range(0..2)].clone(),
        Flaking => (if dice.random_bool(0.5) { 503 } else { 200 }, dice.random_range(0..40)),
        Slow => (if dice.random_bool(0.1) { 503 } else { 200 }, dice.random_range(100..600)),
    };
    Answer::Delay(Duration::from_millis(pause_ms), Box::new(Answer::Status(status)))
}

struct Storm {
    here: Installation,
    /// Answers until it is dropped.
    _receiver: Receiver,
    times: Timetable,
    workers: Vec<Process>,
}

impl Storm {
    async fn gather(dice: &mut StdRng) -> Self {
        let receiver = Receiver::start().await;
        let mut here = Installation::new(&receiver).await;
        for (name, value) in TELLING.into_iter().chain([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "500ms,1s")]) {
            here = here.with(name, value).await;
        }
        for (number, character) in ENDPOINTS.into_iter().enumerate() {
            let (path, mut dice) = (format!("/{number}"), StdRng::seed_from_u64(dice.random()));
            receiver.plan_each(&path, move |_| answer(character, &mut dice));
            here.add(&account(number), &receiver.url(&path)).await;
        }
        let workers: Vec<Process> = (0..2).map(|_| here.program.worker([])).collect();
        for worker in &workers {
            worker.wait_for_line("worker started").await;
        }
        let times = Timetable::watch(&here);
        Self { here, _receiver: receiver, times, workers }
    }

    /// About sixty events a second, one at a time and sometimes a few at once.
    async fn rage(&self, dice: &mut StdRng, duration: Duration) {
        let started = Instant::now();
        while started.elapsed() < duration {
            let account = account(dice.random_range(0..ENDPOINTS.len()));
            let events = if dice.random_bool(0.05) { dice.random_range(2..20) } else { 1 };
            for _ in 0..events {
                self.times.push(&self.here, &account).await;
            }
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..50))).await;
        }
        // Deliveries that are left after that are incomplete, and are reported with the other faults.
        let _ = tokio::time::timeout(FINISHING, self.here.drained()).await;
    }

    fn record(&self, number: usize) -> Record {
        let said: Vec<String> = self.workers.iter().map(Process::stderr).collect();
        self.times.of(&account(number), &said)
    }

    /// Whether one of the two exceptions explains a late attempt.
    fn is_explained(&self, attempt: &Timed, answered_ms: i64) -> bool {
        let due_ms = attempt.due_ms.unwrap_or(attempt.started_ms);
        due_ms < answered_ms || self.times.was_limited(&attempt.webhook, due_ms, attempt.started_ms)
    }
}

fn account(number: usize) -> String {
    format!("account-{number}")
}

/// The time by which both workers can have learned that an endpoint answers: each has to send it a request itself.
fn answered_ms(record: &Record) -> i64 {
    let mut ends: Vec<i64> = record.attempts().map(|attempt| attempt.ended_ms).collect();
    ends.sort_unstable();
    ends.get(1).copied().unwrap_or(i64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn at_random_no_attempt_is_a_second_late_unless_its_endpoint_is_limited_or_has_not_answered_yet() {
    let (mut dice, duration) = dice();
    let storm = Storm::gather(&mut dice).await;
    storm.rage(&mut dice, duration).await;
    let (mut checked, mut explained, mut worst_ms, mut wrong) = (0, 0, 0, Vec::new());
    for (number, character) in ENDPOINTS.into_iter().enumerate() {
        let record = storm.record(number);
        wrong.extend(record.incomplete().map(|incomplete| format!("{character:?}: {incomplete}")));
        let answered_ms = answered_ms(&record);
        for attempt in record.attempts() {
            let Some(late_ms) = storm.times.late_ms(attempt) else { continue };
            checked += 1;
            worst_ms = worst_ms.max(late_ms);
            if late_ms > LATE_MS && storm.is_explained(attempt, answered_ms) {
                explained += 1;
            } else if late_ms > LATE_MS {
                wrong.push(format!("{character:?}, {late_ms} ms late: {attempt:?}"));
            }
        }
    }
    println!("{checked} attempts, at most {worst_ms} ms late, {explained} later than a second as is promised");
    // Ends the workers before their logs are read.
    drop(storm);
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
