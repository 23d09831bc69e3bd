//! The pool decides which connection a request uses, and how many connections there may be.
//!
//! A connection carries one request at a time. Connections *in use* are bounded by the worker's places and by the
//! host's learnt limit; *idle* ones by [`Limits`]. This file only keeps the books: it opens nothing and reads no clock.
//!
//! A host's limit is learnt. If a connection is refused while others to the host work, the host allows no more than
//! those. The bound is then tried upwards by one: soon at first, because a restarting server refuses only for a moment,
//! and once a minute after some refusals. After a successful try, the next one follows at once.

use std::{collections::HashMap, collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::NotMade;

/// The longest time for which a connection is used, so that names are looked up and checked again.
const AGE_MAX: Duration = Duration::from_mins(5);
/// The time for which an idle connection is kept: less than the 60 to 90 s after which servers and address translators
/// commonly drop one.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The interval at which connections that were idle for too long are looked for.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The time within which a host must have answered to count as alive. Only then does a refusal tell its limit.
const ANSWERED_LATELY: Duration = Duration::from_secs(10);
/// The time after the first refusal after which a learnt bound is tried upwards. It doubles with each refusal, up to a
/// minute.
const TRY_AFTER: Duration = Duration::from_secs(5);
const TRY_AFTER_MOST: Duration = Duration::from_mins(1);
/// The time without an answer to any request after which a host's bound is forgotten.
const BOUND_HOLDS: Duration = Duration::from_mins(1);
/// If two reused connections fail within this time, it is a habit of the host, and none is reused for the same time.
const HABIT: Duration = Duration::from_mins(1);
/// The time after which a host without connections is forgotten if it was not seen.
const FORGET: Duration = Duration::from_mins(10);

/// The sockets that a lookup takes: one more than the connection.
const SOCKETS_TO_LOOK_UP: usize = 2;

/// The settings `egress.idle_connections_per_host` and `egress.max_connections`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle_per_host: usize,
    pub(super) total: usize,
}

/// A connection, or a test's stand-in.
pub(super) trait Closable {
    /// Whether the other side closed it, or sent bytes that no request asked for.
    fn is_closed(&self) -> bool;
}

/// The connections to all hosts. A host is a name and a port, as in a URL.
#[derive(Debug)]
pub(super) struct Pool<C> {
    limits: Limits,
    hosts: HashMap<Arc<str>, Host<C>>,
    /// The number of all sockets.
    sockets: usize,
}

/// The connections to one host.
#[derive(Debug)]
struct Host<C> {
    name: Arc<str>,
    /// The idle connections, the least recently used first.
    idle: VecDeque<Kept<C>>,
    in_use: usize,
    opening: usize,
    /// The number of those whose name is being looked up.
    looking_up: usize,
    bound: Option<Bound>,
    /// The time of its last answer, and of its last answer on a reused connection.
    answered: Option<Instant>,
    reused_answered: Option<Instant>,
    /// The time since which requests have had no answer.
    unanswered: Option<Instant>,
    /// The time at which a reused connection last failed, and the time until which none is reused.
    failed: Option<Instant>,
    reuse_from: Option<Instant>,
    seen: Instant,
}

/// The limit of a host, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// The most connections.
    most: usize,
    /// The time at which one more is tried, and the wait from the last refusal to then.
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

    /// A connection for a request: the most recently used idle one that brought a response after `since`, or else the
    /// right to open one (`None`). At a bound, an idle connection is closed to make room. Also returns the pool's own
    /// copy of the name.
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

    /// Notes that the name for a connection that is being opened was looked up.
    pub(super) fn looked_up(&mut self, name: &str, now: Instant) {
        self.with(name, now, |host| host.looking_up -= 1);
    }

    /// Notes that a connection is open.
    pub(super) fn opened(&mut self, name: &str, now: Instant) {
        self.with(name, now, |host| {
            (host.opening, host.in_use) = (host.opening - 1, host.in_use + 1);
            let alive = host.in_use + host.idle.len();
            if let Some(bound) = host.bound.as_mut().filter(|bound| bound.most < alive) {
                (bound.most, bound.after) = (alive, TRY_AFTER);
            }
        });
    }

    /// Notes that a connection in use, or one that was being opened, is gone.
    pub(super) fn ended(&mut self, name: &str, was_open: bool, now: Instant) {
        self.with(name, now, |host| {
            *(if was_open { &mut host.in_use } else { &mut host.opening }) -= 1;
            if host.in_use + host.opening == 0 {
                // No request is open any longer.
                host.unanswered = None;
            }
        });
    }

    /// Notes that the headers of a response came.
    pub(super) fn answered(&mut self, name: &str, reused: bool, now: Instant) {
        self.with(name, now, |host| {
            host.answered = Some(now);
            host.unanswered = None;
            if reused {
                host.reused_answered = Some(now);
            }
        });
    }

    /// Makes a connection idle after a whole response. The host keeps it open for `keep_alive`, if it says so.
    pub(super) fn put_back(
        &mut self,
        name: &str,
        connection: C,
        born: Instant,
        keep_alive: Option<Duration>,
        now: Instant,
    ) {
        // Keep it for a second less than the host does, so that a request does not meet a connection that is just being
        // closed.
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

    /// Notes that a connection was refused, reset or closed before its handshake ended. Returns whether that is the
    /// host's limit on connections, so that no attempt was made.
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
                // The host accepts no connections at all, or answers nothing, so a bound explains nothing.
                host.bound = None;
            }
            limited
        })
    }

    /// Notes that a request sent at `sent` on a reused connection ended before the first byte of a response. The
    /// connection may have been dead, and then so are the others. A connection that was merely `silent` says nothing if
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

    /// The number of sockets in use.
    #[cfg(test)]
    pub(super) fn sockets(&self) -> usize {
        self.sockets
    }

    /// The number of further requests that the host would take now.
    pub(super) fn room(&self, name: &str, now: Instant) -> usize {
        let bounded = self.hosts.get(name).filter(|host| host.bound.is_some());
        bounded.map_or(usize::MAX, |host| host.idle.len() + host.allowed(now).saturating_sub(host.open()))
    }

    /// Closes the less recently used half of the idle connections, because the system has no files left.
    pub(super) fn make_room(&mut self, now: Instant) {
        let idle: usize = self.hosts.values().map(|host| host.idle.len()).sum();
        for _ in 0..idle.div_ceil(2) {
            self.close_least_used(now);
        }
    }

    /// Closes connections that were idle for too long, and forgets hosts. Returns whether anything is left to look
    /// after.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.hosts.retain(|_, host| {
            let before = host.sockets();
            host.idle.retain(|kept| now + SWEEP_EVERY < kept.until && !kept.connection.is_closed());
            // Between two bursts, more connections than the limit may be idle; those were used a moment ago.
            let unused = host.idle.partition_point(|kept| kept.answered + SWEEP_EVERY <= now);
            host.idle.drain(..unused.min(host.idle.len().saturating_sub(self.limits.idle_per_host)));
            self.sockets -= before - host.sockets();
            host.open() > 0 || now < host.seen + if host.bound.is_some() { FORGET } else { HABIT }
        });
        !self.hosts.is_empty()
    }

    /// Closes the connection that was idle for the longest time; returns whether there was one.
    fn close_least_used(&mut self, now: Instant) -> bool {
        let idle = self.hosts.iter().filter_map(|(name, host)| Some((host.idle.front()?.answered, name)));
        let Some(name) = idle.min().map(|(_, name)| name.clone()) else { return false };
        self.with(&name, now, |host| host.idle.pop_front()).is_some()
    }

    /// Changes a host's books, and the totals with them.
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

    /// The number of connections that may be open.
    fn allowed(&self, now: Instant) -> usize {
        self.bound(now).map_or(usize::MAX, |bound| bound.most + usize::from(now >= bound.try_at))
    }

    fn may_reuse(&self, now: Instant) -> bool {
        self.reuse_from.is_none_or(|from| now >= from)
    }

    /// The most recently used idle connection that brought a response after `since`. Connections that ended are
    /// dropped.
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
