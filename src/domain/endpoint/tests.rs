use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const RULE: Rule = Rule { places: 256, timeout: Duration::from_secs(10), failing_every: Duration::from_millis(30) };
const OK: Outcome = Outcome::Response { status: 200 };
const UNAVAILABLE: Outcome = Outcome::Response { status: 503 };

fn silence() -> Outcome {
    Outcome::Refused(String::new())
}

/// A crowd in which slow endpoints occupy this number of places, and others none.
fn slow(slow: usize) -> Crowd {
    Crowd { in_flight: slow, slow, failing: 0, alone: false, quickest: Duration::ZERO, busy: false }
}

fn room(endpoint: &Endpoint, crowd: &Crowd, now: Duration) -> usize {
    endpoint.room(&RULE, crowd, now, false).0
}

fn end_all(endpoint: &mut Endpoint, attempts: Vec<InFlight>, now: Duration, outcome: &Outcome) {
    for attempt in attempts {
        endpoint.end(&RULE, attempt, now, outcome);
    }
}

/// An endpoint after these attempts, one after the other; and the time after them.
fn after(attempts: &[(Duration, &Outcome)]) -> (Endpoint, Duration) {
    let (mut endpoint, mut now) = (Endpoint::default(), Duration::ZERO);
    for (took, outcome) in attempts {
        let attempt = endpoint.begin(&RULE, &slow(0), 1, now, false);
        now += *took;
        endpoint.end(&RULE, attempt, now, outcome);
    }
    (endpoint, now)
}

/// An endpoint that has used its whole limit until only its pool limits it.
fn grown(took: Duration) -> (Endpoint, Duration) {
    let (mut endpoint, mut now) = (Endpoint::default(), Duration::ZERO);
    while endpoint.limit() < RULE.places {
        let attempts: Vec<_> = (0..endpoint.limit()).map(|_| endpoint.begin(&RULE, &slow(0), 1, now, false)).collect();
        now += took;
        end_all(&mut endpoint, attempts, now, &OK);
    }
    (endpoint, now)
}

#[test]
fn a_quick_endpoint_may_use_seven_eighths_whether_it_answers_or_fails() {
    let (quick, now) = grown(2 * MS);
    assert_eq!([0, 250].map(|slow| room(&quick, &self::slow(slow), now)), [224, 6]);
    let (failing, now) = after(&[(2 * MS, &UNAVAILABLE); 20]);
    assert!(failing.is_quick(&slow(0), now));
    let (reset, now) = after(&[(MS, &silence()); 20]);
    assert!(reset.is_quick(&slow(0), now) && reset.fails());
}

#[test]
fn slow_endpoints_share_half_and_one_may_take_what_the_others_leave_free_of_it() {
    let (endpoint, now) = grown(200 * MS);
    for (slow, expected) in [(0, 128), (128, 128), (130, 112), (143, 8), (144, 1), (159, 1), (160, 0)] {
        assert_eq!(room(&endpoint, &self::slow(slow), now), expected, "{slow} places are taken");
    }
    // Alone: half of the places. However many there are: five eighths at most, evenly.
    for hogs in [1, 2, 10, 50, 140] {
        let mut taken = vec![0; hogs];
        for _ in 0..300 {
            for hog in 0..hogs {
                let in_flight = taken.iter().sum();
                let mut endpoint = endpoint.clone();
                (0..taken[hog]).for_each(|_| {
                    endpoint.begin(&RULE, &slow(0), 1, now, false);
                });
                taken[hog] += usize::from(room(&endpoint, &slow(in_flight), now) > 0);
            }
        }
        let (all, most, least) = (taken.iter().sum::<usize>(), taken.iter().max(), taken.iter().min());
        assert!((128..=160).contains(&all) && (hogs > 1 || all == 128), "{hogs} hogs have {all}");
        assert!(most.unwrap() - least.unwrap() <= 8, "{hogs} hogs have {taken:?}");
    }
}

#[test]
fn an_endpoint_that_is_alone_may_use_every_place_if_it_answers() {
    let alone = Crowd { alone: true, ..slow(0) };
    let (endpoint, now) = grown(SECOND);
    assert_eq!(room(&endpoint, &alone, now), 256);
    let mut fallen_silent = endpoint;
    fallen_silent.begin(&RULE, &slow(0), 1, now, false);
    assert_eq!(room(&fallen_silent, &alone, now + 4 * SECOND), 255);
    assert_eq!(room(&fallen_silent, &alone, now + 5 * SECOND), 127, "no answer for longer than one takes");
}

#[test]
fn a_new_endpoint_starts_with_three_and_gets_one_more_with_each_answer_while_it_uses_what_it_has() {
    let mut endpoint = Endpoint::default();
    assert_eq!(endpoint.room(&RULE, &slow(0), MS, false), (3, Limit::New));
    let attempts: Vec<_> = (0..3).map(|_| endpoint.begin(&RULE, &slow(0), 1, MS, false)).collect();
    assert_eq!(room(&endpoint, &slow(3), MS), 0);
    for (number, attempt) in attempts.into_iter().enumerate() {
        endpoint.end(&RULE, attempt, 5 * MS, &OK);
        assert_eq!(endpoint.limit(), (4 + number).min(5), "the last left more than half of it unused");
    }
    let (idle, _) = after(&[(MS, &OK); 200]);
    assert_eq!(idle.limit(), 3, "one at a time says nothing of many");
}

#[test]
fn an_answer_that_takes_long_where_others_did_not_takes_one_away_and_the_last_one_stays() {
    let (mut endpoint, mut now) = after(&[(SECOND, &OK)]);
    for limit in [2, 1, 1] {
        let [lone, last] = [(); 2].map(|()| endpoint.begin(&RULE, &slow(0), 1, now, false));
        endpoint.forget(lone, now);
        now += 6 * SECOND;
        endpoint.end(&RULE, last, now, &OK);
        assert_eq!(endpoint.limit(), limit);
    }
    let (as_ever, _) = after(&[(6 * SECOND, &OK); 5]);
    assert_eq!(as_ever.limit(), 3, "it takes as long when nothing else is in flight");
}

#[test]
fn an_endpoint_that_answers_nothing_for_the_time_limit_may_use_its_share_and_its_first_answer_puts_it_back_to_three() {
    let mut endpoint = Endpoint::default();
    let hanging: Vec<_> = (0..3).map(|_| endpoint.begin(&RULE, &slow(0), 1, Duration::ZERO, false)).collect();
    assert_eq!(room(&endpoint, &slow(3), 9 * SECOND), 0);
    let now = 10 * SECOND;
    end_all(&mut endpoint, hanging, now, &silence());
    assert_eq!(endpoint.room(&RULE, &slow(0), now, true).0, 128, "retries come at their own time");
    assert_eq!(endpoint.room(&RULE, &slow(0), now, false), (12, Limit::Silent), "as much as times out in a second");
    let mut hanging: Vec<_> = (0..127).map(|_| endpoint.begin(&RULE, &slow(0), 1, now, false)).collect();
    assert_eq!(room(&endpoint, &slow(0), now + 8 * SECOND), 0);
    let answered = endpoint.begin(&RULE, &slow(0), 1, now, false);
    endpoint.end(&RULE, answered, now + MS, &UNAVAILABLE);
    // Attempts that still hang take places, but do not count against its new limit.
    assert_eq!(endpoint.room(&RULE, &slow(127), now + MS, false), (3, Limit::Answers));
    endpoint.end(&RULE, hanging.remove(0), now + 10 * SECOND, &silence());
    assert_eq!((endpoint.limit(), endpoint.attempts), (3, 0));
    for attempt in hanging {
        endpoint.forget(attempt, now);
    }
    assert_eq!((endpoint.in_flight(), endpoint.attempts), (0, 0));
}

#[test]
fn an_endpoint_that_was_not_asked_was_not_silent() {
    let (mut endpoint, now) = after(&[(MS, &OK)]);
    let later = now + 100 * SECOND;
    let attempts: Vec<_> = (0..3).map(|_| endpoint.begin(&RULE, &slow(0), 1, later, false)).collect();
    end_all(&mut endpoint, attempts, later + SECOND, &silence());
    assert!(room(&endpoint, &slow(0), later + SECOND) <= 3);
}

#[test]
fn an_endpoint_that_fails_in_step_falls_silent_too_though_it_is_not_always_being_asked() {
    for (took, pause) in [(6 * SECOND, 8 * MS), (200 * MS, 100 * MS)] {
        let (mut endpoint, mut now) = after(&[(MS, &OK)]);
        for _ in 0..(20_000 / took.as_millis()) {
            now += pause;
            let attempts = (0..endpoint.limit()).map(|_| endpoint.begin(&RULE, &slow(0), 1, now, false)).collect();
            now += took;
            end_all(&mut endpoint, attempts, now, &silence());
        }
        assert!(endpoint.silent, "each attempt takes {took:?}");
    }
}

#[test]
fn a_quick_refusal_among_slow_answers_does_not_keep_an_endpoint_from_getting_more() {
    let refused = Outcome::Response { status: 429 };
    let (mut endpoint, mut now) = after(&[(2 * MS, &UNAVAILABLE), (2 * MS, &refused)]);
    for _ in 0..10 {
        let attempts = (0..endpoint.limit()).map(|_| endpoint.begin(&RULE, &slow(0), 1, now, false)).collect();
        now += 6 * SECOND;
        end_all(&mut endpoint, attempts, now, &OK);
    }
    assert!(endpoint.limit() > 40, "{}", endpoint.limit());
}

#[test]
fn slow_endpoints_leave_a_place_to_others_however_few_there_are() {
    for places in 2..10 {
        let rule = Rule { places, ..RULE };
        let taken = (0..places).find(|taken| Endpoint::default().room(&rule, &slow(*taken), MS, false).0 == 0);
        assert!(taken.is_some_and(|taken| taken < places), "{places} places");
    }
}

#[test]
fn only_while_the_worker_is_busy_a_failing_endpoint_has_a_rate_which_its_retries_do_not_use() {
    let busy = Crowd { busy: true, ..slow(0) };
    let (mut endpoint, now) = after(&[(MS, &UNAVAILABLE); 49]);
    assert_ne!(endpoint.room(&RULE, &busy, now, false).1, Limit::Failing);
    let attempt = endpoint.begin(&RULE, &slow(0), 1, now, false);
    endpoint.end(&RULE, attempt, now, &UNAVAILABLE);
    let start = |endpoint: &mut Endpoint, now: Duration, is_retry: bool| {
        let attempt = endpoint.begin(&RULE, &busy, 1, now, is_retry);
        endpoint.end(&RULE, attempt, now, &UNAVAILABLE);
    };
    let start_all = |endpoint: &mut Endpoint, now: Duration| {
        let has_room = |endpoint: &Endpoint| endpoint.room(&RULE, &busy, now, false).0 > 0;
        (0..1000).take_while(|_| has_room(endpoint).then(|| start(endpoint, now, false)).is_some()).count()
    };
    assert_eq!(start_all(&mut endpoint, now), 33, "a second's worth of 100 attempts, three for each delivery");
    assert_eq!(endpoint.room(&RULE, &busy, now, false), (0, Limit::Failing));
    assert!(endpoint.room(&RULE, &busy, now, true).0 > 0, "a retry was counted with its delivery");
    (0..10).for_each(|_| start(&mut endpoint, now, true));
    assert!(endpoint.room(&RULE, &slow(0), now, false).0 > 0, "the worker has time");
    assert!((33..=34).contains(&start_all(&mut endpoint, now + SECOND)));
    let ten = Crowd { failing: 10, ..busy };
    let (every, _) = endpoint.pace(&RULE, &ten, now).unwrap();
    assert_eq!(every, 300 * MS, "ten that fail share it");
    assert!(endpoint.always_fails(now + SECOND) && !endpoint.always_fails(now + SECOND + LATELY));
    let attempt = endpoint.begin(&RULE, &slow(0), 1, now, false);
    endpoint.end(&RULE, attempt, now, &OK);
    assert_eq!(endpoint.room(&RULE, &busy, now, false), (3, Limit::Answers), "it has recovered, and is not flooded");
}

#[test]
fn a_due_retry_that_found_no_room_goes_first_when_it_comes_again() {
    let (mut endpoint, now) = grown(SECOND);
    let full = Crowd { in_flight: 256, ..slow(128) };
    assert_eq!(endpoint.room(&RULE, &full, now, true).0, 0);
    let then = now + endpoint.put_off(now);
    assert_eq!(endpoint.room(&RULE, &slow(0), then, false), (0, Limit::Retries));
    assert!(endpoint.room(&RULE, &slow(0), then, true).0 > 0);
    assert!(room(&endpoint, &slow(0), then + WAY_BACK) > 0, "it has come, or another worker has taken it");
    for _ in 0..10 {
        endpoint.begin(&RULE, &slow(0), 1, now, false);
    }
    let waits: Vec<_> = (0..100).map(|_| endpoint.put_off(then + SECOND)).collect();
    assert_eq!(
        [waits[0], waits[1], waits[99]],
        [300 * MS, 400 * MS, 2 * SECOND],
        "one after the other, as attempts end"
    );
}

#[test]
fn if_even_the_quickest_endpoints_take_long_none_of_them_counts_as_slow() {
    let (endpoint, now) = after(&[(120 * MS, &OK)]);
    let laboured = |quickest| Crowd { quickest, ..slow(0) };
    assert!(!endpoint.is_quick(&slow(0), now) && endpoint.is_quick(&laboured(40 * MS), now));
    let (three_seconds, now) = after(&[(3 * SECOND, &OK)]);
    assert!(!three_seconds.is_quick(&laboured(3 * SECOND), now), "not without end");
}

#[test]
fn an_endpoint_not_seen_for_a_minute_is_forgotten_unless_something_is_in_flight() {
    let (mut endpoint, now) = after(&[(MS, &OK)]);
    assert_eq!([60, 61].map(|s| endpoint.is_forgettable(now + s * SECOND)), [false, true]);
    endpoint.begin(&RULE, &slow(0), 1, now, false);
    assert!(!endpoint.is_forgettable(now + 61 * SECOND));
}

/// Simulates a server that serves `threads` requests at a time, each for `took`, in their order, and 150 deliveries at
/// once. A delivery that finds no room comes again as soon as there is room. Returns the number of attempts that ran
/// into the time limit, and the time for all of them.
fn serve(threads: usize, took: Duration) -> (usize, Duration) {
    let (mut endpoint, mut now, mut waiting, mut timed_out) = (Endpoint::default(), Duration::ZERO, 150, 0);
    let mut in_flight: VecDeque<(InFlight, Duration)> = VecDeque::new();
    let mut free_at = vec![Duration::ZERO; threads];
    loop {
        while waiting > 0 && room(&endpoint, &slow(in_flight.len()), now) > 0 {
            waiting -= 1;
            let attempt = endpoint.begin(&RULE, &slow(0), 1, now, false);
            let first = free_at.iter_mut().min().unwrap();
            *first = now.max(*first) + took;
            in_flight.push_back((attempt, *first));
        }
        let Some((attempt, ends)) = in_flight.pop_front() else { return (timed_out, now) };
        let limit = attempt.began + RULE.timeout;
        now = now.max(ends.min(limit));
        timed_out += usize::from(ends > limit);
        endpoint.end(&RULE, attempt, now, if ends > limit { &NO_ANSWER } else { &OK });
    }
}

const NO_ANSWER: Outcome = Outcome::NetworkError(crate::domain::outcome::NetworkFault::ConnectionRefused);

#[test]
fn an_endpoint_that_serves_few_at_a_time_gets_all_of_a_burst_at_its_own_pace() {
    for (threads, took_ms) in
        [(1, 20), (1, 300), (1, 1500), (1, 3000), (2, 2000), (4, 800), (4, 3000), (16, 1000), (50, 3000)]
    {
        let took = MS * took_ms;
        let (timed_out, lasted) = serve(threads, took);
        assert_eq!(timed_out, 0, "{threads} at a time, {took:?} each");
        let ideal = took * u32::try_from(150_usize.div_ceil(threads)).unwrap();
        assert!(lasted < ideal * 3 / 2 + took * 5, "{threads} at a time, {took:?} each: {lasted:?}, at best {ideal:?}");
    }
}

proptest! {
    #[test]
    fn there_is_never_more_room_than_places_and_an_idle_worker_always_has_some(
        attempts in proptest::collection::vec((0u64..12_000, 0usize..3), 0..80),
        places in 1usize..1000,
        taken in 0usize..1000,
    ) {
        let outcomes = [OK, UNAVAILABLE, NO_ANSWER];
        let attempts: Vec<_> = attempts.iter().map(|(ms, kind)| (Duration::from_millis(*ms), &outcomes[*kind])).collect();
        let (endpoint, now) = after(&attempts);
        let rule = Rule { places, ..RULE };
        let crowd = slow(taken.min(places));
        prop_assert!(endpoint.room(&rule, &crowd, now, false).0 <= places - crowd.in_flight);
        prop_assert!(endpoint.room(&rule, &slow(0), now, false).0 > 0);
    }
}

#[test]
fn the_time_of_an_attempt_that_does_not_count_is_not_charged_to_the_endpoint() {
    let (mut endpoint, mut now) = grown(2 * MS);
    let before = room(&endpoint, &slow(0), now);
    for _ in 0..20 {
        let waiting: Vec<_> = (0..3).map(|_| endpoint.begin(&RULE, &slow(0), 1, now, false)).collect();
        now += 5 * SECOND;
        for attempt in waiting {
            endpoint.forget(attempt, now);
        }
    }
    assert_eq!(room(&endpoint, &slow(0), now), before);
    let attempt = endpoint.begin(&RULE, &slow(0), 1, now, false);
    endpoint.end(&RULE, attempt, now + MS, &silence());
    assert!(!endpoint.silent, "an endpoint that was not asked for 100 s is not silent at its first failure");
}
