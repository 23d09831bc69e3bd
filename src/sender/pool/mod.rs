//! Which connection a request uses, and how many connections there may be.
//!
//! A connection carries one request at a time. *In use* they are bounded by the worker's places and by what the host has
//! shown to allow; *idle* ones by [`Limits`]. This file only keeps the books: it opens nothing and reads no clock.
//!
//! A host's limit is learnt: a connection that is refused while others to that host work tells that the host allows no
//! more than those. The bound is tried upwards by one, at first soon, for a server that just restarts refuses for a moment
//! only, and after some refusals once a minute. After a try that succeeds the next one follows at once.

use std::{collections::HashMap, collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::NotMade;

/// No connection is used for longer, so that names are looked up and judged again.
const AGE_MAX: Duration = Duration::from_mins(5);
/// An idle connection is kept for this long: below the 60 to 90 s after which servers and address translators commonly
/// drop one themselves.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How often connections that are idle for too long are looked for.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A host that answered within this is alive: a connection that it refuses says something of its limit.
const ANSWERED_LATELY: Duration = Duration::from_secs(10);
/// A learnt bound is tried upwards this long after the first refusal, and after each twice as late, up to a minute.
const TRY_AFTER: Duration = Duration::from_secs(5);
const TRY_AFTER_MOST: Duration = Duration::from_mins(1);
/// A bound is forgotten when a host that was asked has not answered for this long.
const BOUND_HOLDS: Duration = Duration::from_mins(1);
/// Two reused connections that fail within this time are a habit of the host: for as long, none is reused.
const HABIT: Duration = Duration::from_mins(1);
/// A host without connections is forgotten when it was not seen for this long.
const FORGET: Duration = Duration::from_mins(10);

/// The lookup of a name takes two sockets, one more than the connection.
const SOCKETS_TO_LOOK_UP: usize = 2;

/// The settings `egress.idle_connections_per_host` and `egress.max_connections`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle_per_host: usize,
    pub(super) total: usize,
}

/// A connection, or a test's stand-in.
pub(super) trait Closable {
    /// Whether the other side closed it, or sent what nobody asked for.
    fn is_closed(&self) -> bool;
}

/// The connections to all hosts. A host is a name and a port, as in a URL.
#[derive(Debug)]
pub(super) struct Pool<C> {
    limits: Limits,
    hosts: HashMap<Arc<str>, Host<C>>,
    /// Sockets in all.
    sockets: usize,
}

/// The connections to one host.
#[derive(Debug)]
struct Host<C> {
    name: Arc<str>,
    /// The least recently used first.
    idle: VecDeque<Kept<C>>,
    in_use: usize,
    opening: usize,
    /// Of those, the ones whose name is being looked up.
    looking_up: usize,
    bound: Option<Bound>,
    /// When it answered last, and when it did on a reused connection.
    answered: Option<Instant>,
    reused_answered: Option<Instant>,
    /// Since when requests have gone without an answer.
    unanswered: Option<Instant>,
    /// When a reused connection failed last, and until when none is reused.
    failed: Option<Instant>,
    reuse_from: Option<Instant>,
    seen: Instant,
}

/// The limit of a host, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// Connections.
    most: usize,
    /// When one more is tried, and how long after the last refusal that is.
    try_at: Instant,
    after: Duration,
}

/// A connection that has brought an answer, and may bring more.
#[derive(Debug)]
pub(super) struct Kept<C> {
    pub(super) connection: C,
    pub(super) born: Instant,
    answered: Instant,
    until: Instant,
}

impl<C: Closable> Pool<C> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, hosts: HashMap::new(), sockets: 0 }
    }

    /// A connection for a request: the most recently used idle one that brought an answer `since` then, or else the right
    /// to open one (`None`). At a bound, an idle connection is closed to make room. With the pool's own copy
    /// of the name.
    pub(super) fn take(
        &mut self,
        name: &str,
        since: Option<Instant>,
        now: Instant,
    ) -> Result<(Arc<str>, Option<Kept<C>>), NotMade> {
        let (name, kept, allowed) = self.with(name, now, |host| {
            let kept = host.take_idle(since, now);
            let allowed = kept.is_some() || host.open() < host.allowed(now) || host.idle.pop_front().is_some();
            host.unanswered.get_or_insert(now);
            (host.name.clone(), kept, allowed)
        });
        if kept.is_some() {
            return Ok((name, kept));
        }
        if !allowed {
            return Err(NotMade::HostFull);
        }
        while self.sockets + SOCKETS_TO_LOOK_UP > self.limits.total {
            if !self.close_least_used(now) {
                return Err(NotMade::Lacking("all connections that egress.max_connections allows are in use"));
            }
        }
        self.with(&name, now, |host| (host.opening, host.looking_up) = (host.opening + 1, host.looking_up + 1));
        Ok((name, None))
    }

    /// The name of a connection that is being opened was looked up.
    pub(super) fn looked_up(&mut self, name: &str, now: Instant) {
        self.with(name, now, |host| host.looking_up -= 1);
    }

    /// A connection is open.
    pub(super) fn opened(&mut self, name: &str, now: Instant) {
        self.with(name, now, |host| {
            (host.opening, host.in_use) = (host.opening - 1, host.in_use + 1);
            let alive = host.in_use + host.idle.len();
            if let Some(bound) = host.bound.as_mut().filter(|bound| bound.most < alive) {
                (bound.most, bound.after) = (alive, TRY_AFTER);
            }
        });
    }

    /// A connection that was in use, or that was not open yet, is gone.
    pub(super) fn ended(&mut self, name: &str, was_open: bool, now: Instant) {
        self.with(name, now, |host| {
            *(if was_open { &mut host.in_use } else { &mut host.opening }) -= 1;
            if host.in_use + host.opening == 0 {
                // Nothing is asked any more.
                host.unanswered = None;
            }
        });
    }

    /// The headers of an answer came.
    pub(super) fn answered(&mut self, name: &str, reused: bool, now: Instant) {
        self.with(name, now, |host| {
            host.answered = Some(now);
            host.unanswered = None;
            if reused {
                host.reused_answered = Some(now);
            }
        });
    }

    /// A connection in use becomes idle after a whole answer. The host keeps it open for `keep_alive`, if it says so.
    pub(super) fn put_back(
        &mut self,
        name: &str,
        connection: C,
        born: Instant,
        keep_alive: Option<Duration>,
        now: Instant,
    ) {
        // A second less than the host, so that a request does not meet a connection that is just being closed.
        let keep = keep_alive.map_or(IDLE_MAX, |said| said.saturating_sub(Duration::from_secs(1)).min(IDLE_MAX));
        let until = (now + keep).min(born + AGE_MAX);
        let full = self.sockets > self.limits.total;
        self.with(name, now, |host| {
            host.in_use -= 1;
            if now < until && host.may_reuse(now) && !full {
                host.idle.push_back(Kept { connection, born, answered: now, until });
            }
        });
    }

    /// A connection was refused, reset or closed before its handshake ended. Whether that is the host's limit on
    /// connections, so that no attempt was made.
    pub(super) fn refused(&mut self, name: &str, now: Instant) -> bool {
        self.with(name, now, |host| {
            host.idle.retain(|kept| !kept.connection.is_closed());
            let alive = host.in_use + host.idle.len();
            let is_try = host.bound(now).is_some_and(|bound| host.open() > bound.most);
            let limited = is_try || (alive > 0 && host.answered.is_some_and(|at| now < at + ANSWERED_LATELY));
            if limited {
                let before = host.bound.map(|bound| (bound.most, (bound.after * 2).min(TRY_AFTER_MOST)));
                let (most, after) = before.unwrap_or((alive, TRY_AFTER));
                host.bound = Some(Bound { most: if is_try { most } else { alive }, try_at: now + after, after });
            } else if host.opening == 1 && (alive == 0 || host.bound(now).is_none()) {
                // It takes no connections at all, or answers none, so that the bound explains nothing.
                host.bound = None;
            }
            limited
        })
    }

    /// A request that was sent at `sent` on a reused connection ended before the first byte of an answer. That may be
    /// because the connection was dead, and then so are the others. A connection that was merely `silent` says nothing if
    /// others were answered meanwhile.
    pub(super) fn failed(&mut self, name: &str, sent: Instant, silent: bool, now: Instant) {
        self.with(name, now, |host| {
            if silent && host.reused_answered.is_some_and(|at| at >= sent) {
                return;
            }
            host.idle.clear();
            if host.failed.replace(now).is_some_and(|before| now < before + HABIT) {
                host.reuse_from = Some(now + HABIT);
            }
        });
    }

    /// How many sockets are taken.
    #[cfg(test)]
    pub(super) fn sockets(&self) -> usize {
        self.sockets
    }

    /// How many more requests the host would take now.
    pub(super) fn room(&self, name: &str, now: Instant) -> usize {
        let bounded = self.hosts.get(name).filter(|host| host.bound.is_some());
        bounded.map_or(usize::MAX, |host| host.idle.len() + host.allowed(now).saturating_sub(host.open()))
    }

    /// Closes the less recently used half of the idle connections, for the system has no files left.
    pub(super) fn make_room(&mut self, now: Instant) {
        let idle: usize = self.hosts.values().map(|host| host.idle.len()).sum();
        for _ in 0..idle.div_ceil(2) {
            self.close_least_used(now);
        }
    }

    /// Closes what was idle for too long, and forgets hosts. Whether anything is left to look after.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.hosts.retain(|_, host| {
            let before = host.sockets();
            host.idle.retain(|kept| now + SWEEP_EVERY < kept.until && !kept.connection.is_closed());
            // More than are kept may be idle between two bursts; those were used a moment ago.
            let unused = host.idle.partition_point(|kept| kept.answered + SWEEP_EVERY <= now);
            host.idle.drain(..unused.min(host.idle.len().saturating_sub(self.limits.idle_per_host)));
            self.sockets -= before - host.sockets();
            host.open() > 0 || now < host.seen + if host.bound.is_some() { FORGET } else { HABIT }
        });
        !self.hosts.is_empty()
    }

    /// Closes the connection that was idle for the longest time; whether there was one.
    fn close_least_used(&mut self, now: Instant) -> bool {
        let idle = self.hosts.iter().filter_map(|(name, host)| Some((host.idle.front()?.answered, name)));
        let Some(name) = idle.min().map(|(_, name)| name.clone()) else { return false };
        self.with(&name, now, |host| host.idle.pop_front()).is_some()
    }

    /// Changes a host's books, and the sum of them.
    fn with<R>(&mut self, name: &str, now: Instant, change: impl FnOnce(&mut Host<C>) -> R) -> R {
        if !self.hosts.contains_key(name) {
            let name: Arc<str> = name.into();
            self.hosts.insert(name.clone(), Host::new(name, now));
        }
        let host = self.hosts.get_mut(name).expect("it is there now");
        let before = host.sockets();
        host.seen = now;
        let changed = change(host);
        self.sockets = self.sockets + host.sockets() - before;
        changed
    }
}

impl<C: Closable> Host<C> {
    const fn new(name: Arc<str>, now: Instant) -> Self {
        Self {
            name,
            idle: VecDeque::new(),
            in_use: 0,
            opening: 0,
            looking_up: 0,
            bound: None,
            answered: None,
            reused_answered: None,
            unanswered: None,
            failed: None,
            reuse_from: None,
            seen: now,
        }
    }

    fn open(&self) -> usize {
        self.idle.len() + self.in_use + self.opening
    }

    fn sockets(&self) -> usize {
        self.open() + self.looking_up
    }

    /// The host's limit, unless it has been silent for too long.
    fn bound(&self, now: Instant) -> Option<Bound> {
        self.bound.filter(|_| self.unanswered.is_none_or(|since| now < since + BOUND_HOLDS))
    }

    /// How many connections may be open.
    fn allowed(&self, now: Instant) -> usize {
        self.bound(now).map_or(usize::MAX, |bound| bound.most + usize::from(now >= bound.try_at))
    }

    fn may_reuse(&self, now: Instant) -> bool {
        self.reuse_from.is_none_or(|from| now >= from)
    }

    /// The most recently used idle connection that brought an answer `since` then. Those that ended are dropped.
    fn take_idle(&mut self, since: Option<Instant>, now: Instant) -> Option<Kept<C>> {
        while let Some(kept) = self.idle.pop_back() {
            if kept.connection.is_closed() || now >= kept.until {
                continue;
            }
            if since.is_some_and(|since| kept.answered < since) {
                self.idle.push_back(kept);
                return None;
            }
            self.in_use += 1;
            return Some(kept);
        }
        None
    }
}

#[cfg(test)]
mod tests;
