//! Tests of the books alone: connections are stand-ins, and time is an argument.

use std::{cell::Cell, rc::Rc};

use super::*;

const HOST: &str = "hooks.test:443";

/// A connection, and whether the other side closed it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Line {
    number: usize,
    closed: Rc<Cell<bool>>,
}

impl Closable for Line {
    fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

struct Scene {
    pool: Pool<Line>,
    now: Instant,
    opened: usize,
}

impl Scene {
    fn of(idle_per_host: usize, total: usize) -> Self {
        Self { pool: Pool::new(Limits { idle_per_host, total }), now: Instant::now(), opened: 0 }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Opens a connection, which the host accepts.
    fn open(&mut self, host: &str) -> Result<Line, NotMade> {
        self.begin(host)?;
        self.pool.opened(host, self.now);
        self.opened += 1;
        Ok(Line { number: self.opened, ..Line::default() })
    }

    /// Begins to open a connection.
    fn begin(&mut self, host: &str) -> Result<(), NotMade> {
        self.pool.take(host, Some(self.now + Duration::from_secs(1)), self.now)?;
        self.pool.looked_up(host, self.now);
        Ok(())
    }

    /// Tries to open a connection, which the host refuses; returns whether that is its limit.
    fn refused(&mut self) -> Result<bool, NotMade> {
        self.begin(HOST)?;
        Ok(self.is_refused())
    }

    /// The host refuses a connection that is being opened.
    fn is_refused(&mut self) -> bool {
        let limited = self.pool.refused(HOST, self.now);
        self.pool.ended(HOST, false, self.now);
        limited
    }

    fn answer(&mut self, host: &str, line: Line) {
        self.pool.answered(host, false, self.now);
        self.pool.put_back(host, line, self.now, None, self.now);
    }

    /// The number of the connection that a request gets, 0 for one that is to be opened; it is given back unused.
    fn next(&mut self, since: Option<Instant>) -> usize {
        let Some(kept) = self.pool.take(HOST, since, self.now).unwrap().1 else {
            self.pool.looked_up(HOST, self.now);
            self.pool.ended(HOST, false, self.now);
            return 0;
        };
        let number = kept.connection.number;
        self.pool.with(HOST, self.now, |host| {
            host.in_use -= 1;
            host.idle.push_back(kept);
        });
        number
    }

    fn many(&mut self, count: usize) -> Vec<Line> {
        (0..count).map(|_| self.open(HOST).unwrap()).collect()
    }
}

#[test]
fn the_most_recently_used_connection_goes_first_and_a_closed_one_never() {
    let mut scene = Scene::of(64, 1000);
    let [first, second] = scene.many(2).try_into().unwrap();
    scene.answer(HOST, first);
    scene.answer(HOST, second.clone());
    assert_eq!(scene.next(None), 2);
    second.closed.set(true);
    assert_eq!(scene.next(None), 1);
}

#[test]
fn an_idle_connection_is_kept_for_30_s_at_most_and_a_second_less_than_the_host_says() {
    for (said, kept_seconds) in [(None, 30), (Some(5), 4), (Some(3600), 30), (Some(1), 0), (Some(0), 0)] {
        let mut scene = Scene::of(64, 1000);
        let line = scene.open(HOST).unwrap();
        scene.pool.put_back(HOST, line, scene.now, said.map(Duration::from_secs), scene.now);
        if kept_seconds > 0 {
            scene.now += Duration::from_millis(kept_seconds * 1000 - 1);
        }
        assert_eq!(scene.next(None), usize::from(kept_seconds > 0), "{said:?}");
        scene.now += Duration::from_millis(1);
        assert_eq!(scene.next(None), 0, "{said:?}");
    }
}

#[test]
fn no_connection_is_used_for_more_than_5_min() {
    let mut scene = Scene::of(64, 1000);
    let (born, mut line) = (scene.now, scene.open(HOST).unwrap());
    for _ in 0..29 {
        scene.later(10);
        scene.pool.put_back(HOST, line, born, None, scene.now);
        line = scene.pool.take(HOST, None, scene.now).unwrap().1.expect("it is young").connection;
    }
    scene.later(9);
    scene.pool.put_back(HOST, line, born, None, scene.now);
    assert_eq!(scene.next(None), 1);
    scene.later(1);
    assert_eq!(scene.next(None), 0);
}

#[test]
fn a_host_keeps_as_many_idle_connections_as_are_allowed_those_used_last() {
    let mut scene = Scene::of(3, 1000);
    for line in scene.many(5) {
        scene.answer(HOST, line);
    }
    let swept = |scene: &mut Scene| {
        scene.pool.sweep(scene.now);
        scene.pool.hosts[HOST].idle.iter().map(|kept| kept.connection.number).collect::<Vec<_>>()
    };
    assert_eq!(swept(&mut scene), [1, 2, 3, 4, 5], "they are in use again in a moment");
    scene.later(1);
    assert_eq!((swept(&mut scene), scene.pool.sockets), (vec![3, 4, 5], 3));
}

#[test]
fn if_all_connections_are_taken_the_one_that_was_idle_for_the_longest_time_makes_room() {
    let mut scene = Scene::of(64, 4);
    for host in ["a:443", "b:443", "c:443"] {
        let line = scene.open(host).unwrap();
        scene.later(1);
        scene.answer(host, line);
    }
    // A lookup takes a socket of its own, so that there are four at times.
    for (host, left) in [("d:443", vec!["b:443", "c:443"]), ("e:443", vec!["c:443"]), ("f:443", vec![])] {
        scene.open(host).unwrap();
        let hosts = scene.pool.hosts.values().filter(|host| !host.idle.is_empty());
        let mut idle: Vec<_> = hosts.map(|host| &*host.name).collect();
        idle.sort_unstable();
        assert_eq!((idle, scene.pool.sockets), (left, 3));
    }
    assert!(matches!(scene.open("g:443"), Err(NotMade::Lacking(_))));
}

#[test]
fn a_later_attempt_uses_only_a_connection_that_has_brought_an_answer_since() {
    let mut scene = Scene::of(64, 1000);
    let [old, new] = scene.many(2).try_into().unwrap();
    scene.answer(HOST, old);
    scene.later(3);
    let failed_at = scene.now;
    assert_eq!(scene.next(Some(failed_at)), 0);
    scene.later(1);
    scene.answer(HOST, new);
    assert_eq!(scene.next(Some(failed_at)), 2);
}

#[test]
fn after_two_failures_of_reused_connections_within_a_minute_none_is_reused_for_a_minute() {
    for (between_seconds, reused_after) in [(59, 60), (61, 0)] {
        let mut scene = Scene::of(64, 1000);
        for _ in 0..2 {
            let [failing, idle] = scene.many(2).try_into().unwrap();
            scene.answer(HOST, idle);
            scene.pool.failed(HOST, scene.now, false, scene.now);
            assert_eq!(scene.next(None), 0, "what was idle is closed too");
            drop(failing);
            scene.later(between_seconds);
        }
        scene.now -= Duration::from_secs(between_seconds);
        for seconds in 0..=60 {
            let line = scene.open(HOST).unwrap();
            scene.answer(HOST, line);
            assert_eq!(scene.next(None) > 0, seconds >= reused_after, "{between_seconds} {seconds}");
            scene.later(1);
        }
    }
}

#[test]
fn a_connection_that_is_merely_silent_says_nothing_while_reused_ones_are_answered() {
    let mut scene = Scene::of(64, 1000);
    let [line, answered] = scene.many(2).try_into().unwrap();
    let sent = scene.now;
    scene.later(1);
    scene.pool.answered(HOST, true, scene.now);
    scene.pool.put_back(HOST, answered, sent, None, scene.now);
    scene.later(9);
    scene.pool.failed(HOST, sent, true, scene.now);
    assert_eq!(scene.next(None), 2);
    scene.pool.failed(HOST, scene.now, true, scene.now);
    assert_eq!(scene.next(None), 0);
    drop(line);
}

#[test]
fn a_refusal_is_the_hosts_limit_while_another_connection_works_and_it_answered_within_10_s() {
    for (alive, answered_seconds_ago, limited) in [(1, 9, true), (1, 10, false), (0, 0, false), (3, 0, true)] {
        let mut scene = Scene::of(64, 1000);
        let lines = scene.many(alive);
        scene.pool.answered(HOST, false, scene.now);
        if alive == 0 {
            let line = scene.open(HOST).unwrap();
            line.closed.set(true);
            scene.answer(HOST, line);
        }
        scene.later(answered_seconds_ago);
        assert_eq!(scene.refused(), Ok(limited), "{alive} {answered_seconds_ago}");
        let expected = if limited { Err(NotMade::HostFull) } else { Ok(alive == 0) };
        assert_eq!(scene.open(HOST).map(|_| alive == 0), expected, "{alive} {answered_seconds_ago}");
        drop(lines);
    }
}

#[test]
fn a_learnt_bound_is_tried_upwards_by_one_at_first_soon_then_once_a_minute_and_on_while_the_tries_succeed() {
    let mut scene = Scene::of(64, 1000);
    let mut lines = scene.many(10);
    scene.pool.answered(HOST, false, scene.now);
    assert_eq!(scene.refused(), Ok(true));
    assert_eq!(scene.pool.room(HOST, scene.now), 0);
    for after in [5, 10, 20, 40, 60, 60] {
        scene.later(after - 1);
        scene.pool.answered(HOST, false, scene.now);
        assert_eq!(scene.refused(), Err(NotMade::HostFull), "{after}");
        scene.later(1);
        assert_eq!(scene.pool.room(HOST, scene.now), 1);
        assert_eq!(scene.refused(), Ok(true), "{after}");
    }
    scene.later(60);
    scene.pool.answered(HOST, false, scene.now);
    for _ in 0..5 {
        lines.push(scene.open(HOST).unwrap());
    }
    assert_eq!(scene.refused(), Ok(true));
    assert_eq!(scene.pool.room(HOST, scene.now), 0);
    let line = lines.pop().unwrap();
    scene.answer(HOST, line);
    assert_eq!(scene.pool.room(HOST, scene.now), 1, "an idle connection takes a request");
}

#[test]
fn a_refused_try_keeps_the_bound_even_if_nothing_is_open_yet_and_no_answer_came_for_long() {
    let mut scene = Scene::of(64, 1000);
    for line in scene.many(10) {
        scene.answer(HOST, line);
    }
    assert_eq!(scene.refused(), Ok(true));
    scene.later(300);
    // All of a burst is being opened when the host refuses the eleventh.
    for _ in 0..11 {
        scene.begin(HOST).unwrap();
    }
    assert_eq!(scene.begin(HOST), Err(NotMade::HostFull));
    assert!(scene.is_refused());
    assert_eq!(scene.begin(HOST), Err(NotMade::HostFull));
    for _ in 0..10 {
        scene.pool.opened(HOST, scene.now);
    }
    assert_eq!(scene.refused(), Err(NotMade::HostFull));
}

#[test]
fn a_bound_is_forgotten_if_the_host_accepts_nothing_or_answers_nothing_for_a_minute() {
    let mut silent = Scene::of(64, 1000);
    let _lines = silent.many(2);
    silent.pool.answered(HOST, false, silent.now);
    assert_eq!(silent.refused(), Ok(true));
    silent.later(1);
    assert_eq!(silent.refused(), Err(NotMade::HostFull), "it is asked, and does not answer from here on");
    silent.later(60);
    assert_eq!(silent.refused(), Ok(false), "a refusal is an attempt");

    let mut down = Scene::of(64, 1000);
    let line = down.open(HOST).unwrap();
    down.answer(HOST, line.clone());
    assert_eq!(down.refused(), Ok(true));
    line.closed.set(true);
    assert_eq!(down.refused(), Ok(false));
    assert_eq!(down.pool.room(HOST, down.now), usize::MAX);
}

#[test]
fn at_a_bound_an_idle_connection_that_may_not_be_used_makes_room_for_a_new_one() {
    let mut scene = Scene::of(64, 1000);
    let line = scene.open(HOST).unwrap();
    scene.answer(HOST, line);
    assert_eq!(scene.refused(), Ok(true));
    scene.later(3);
    assert_eq!(scene.next(Some(scene.now)), 0);
    assert_eq!(scene.pool.hosts[HOST].open(), 0);
}

#[test]
fn a_shortage_closes_the_less_recently_used_half() {
    let mut scene = Scene::of(64, 1000);
    for line in scene.many(5) {
        scene.later(1);
        scene.answer(HOST, line);
    }
    scene.pool.make_room(scene.now);
    let kept: Vec<_> = scene.pool.hosts[HOST].idle.iter().map(|kept| kept.connection.number).collect();
    assert_eq!(kept, [4, 5]);
}

#[test]
fn in_the_end_nothing_is_left_in_the_books() {
    let mut scene = Scene::of(64, 1000);
    let lines = scene.many(3);
    scene.begin(HOST).unwrap();
    scene.pool.ended(HOST, false, scene.now);
    for line in lines {
        scene.answer(HOST, line);
    }
    assert!(scene.pool.sweep(scene.now));
    scene.later(30);
    assert!(scene.pool.sweep(scene.now));
    assert_eq!(scene.pool.sockets, 0);
    scene.later(60);
    assert!(!scene.pool.sweep(scene.now));
}
