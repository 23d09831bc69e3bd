//! The books of a storm. One side has the events that Redis accepted. The other has the deliveries that receivers
//! acknowledged, the failed ones, and those counted as dropped. Either the sides balance, or the missing deliveries are
//! named.
//!
//! **Accounts whose webhooks stay**: exact, delivery by delivery. **Accounts whose webhook is deleted, or whose held
//! deliveries are discarded**: no record of the single lost deliveries remains. So these are balanced by account, each
//! in a partition of its own, against the counts of that partition. Only there may an event be entered twice: the
//! receiver had it, a fault or the deletion came before the answer was settled, and the rest of the delivery was
//! dropped and counted. So the counts may exceed the otherwise missing events, but by no more than the events in flight
//! at such a moment; they are never lower.
//!
//! No attempt was late without a reason: see [`lateness`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    attempts::{History, Repetition, explain},
    lateness::{self, Punctuality, Reasons, Watched},
    logs,
    nemesis::Happened,
    plan::{ACCOUNTS, HOOKS, Plan, STAYING, answer, is_good},
    support::Received,
    world::{Wire, World, envelope, path},
};

/// Around a deletion, events in flight may be entered twice.
const AROUND: Duration = Duration::from_secs(3);

/// The books of one storm, or the sum of several.
#[derive(Default)]
pub struct Books {
    pub faults: BTreeMap<&'static str, usize>,
    pub deeds: BTreeMap<&'static str, usize>,
    pub accepted: usize,
    pub refused: u64,
    /// Accepted events times matching webhooks.
    pub due: usize,
    pub delivered: usize,
    pub failed: usize,
    /// By cause, as Redis counts them.
    pub dropped: BTreeMap<String, u64>,
    /// Delivered or failed, and also counted as dropped.
    pub entered_twice: u64,
    pub requests: usize,
    /// Repeated attempts, by the fault that explains them.
    pub repeated: BTreeMap<&'static str, usize>,
    /// Attempts that no fault can have delayed; the greatest lateness below a second among them; and the number that
    /// waited longer for a place.
    pub timed: usize,
    pub latest: Duration,
    pub waited: usize,
    /// Everything that breaks a promise.
    pub wrong: Vec<String>,
}

/// The observations to enter.
pub struct Seen<'a> {
    pub world: &'a World,
    pub plan: &'a Plan,
    pub happened: &'a [Happened],
    pub watched: Watched,
    pub histories: BTreeMap<String, History>,
}

impl Seen<'_> {
    pub async fn enter(mut self, wire: &mut Wire) -> Books {
        let mut books = Books::default();
        for fault in self.happened {
            *books.faults.entry(fault.name).or_default() += 1;
        }
        let all = self.world.receiver.all_requests();
        books.requests = all.len();
        for hook in 0..HOOKS.len() {
            let mut by_event: HashMap<&str, Vec<&Received>> = HashMap::new();
            for request in all.iter().filter(|request| request.path == path(hook)) {
                by_event.entry(request.header("webhook-id").unwrap_or_default()).or_default().push(request);
            }
            self.enter_hook(&mut books, wire, hook, &by_event).await;
        }
        self.enter_attempts(&mut books);
        self.enter_lateness(&mut books);
        let notes = self.world.notes.lock().unwrap();
        books.accepted = notes.accepted.iter().map(Vec::len).sum();
        books.refused = self.world.refused.load(std::sync::atomic::Ordering::Relaxed);
        books.deeds = notes.deeds.iter().map(|(name, times)| (*name, *times)).collect();
        books
    }

    async fn enter_hook(
        &mut self,
        books: &mut Books,
        wire: &mut Wire,
        hook: usize,
        by_event: &HashMap<&str, Vec<&Received>>,
    ) {
        let (account, webhook) = (HOOKS[hook].0, self.world.webhook(hook).to_string());
        let accepted = self.world.notes.lock().unwrap().accepted[account].clone();
        let failed = self.failed(books, wire, account, &webhook).await;
        self.enter_log(books, wire, account, &webhook, &failed.1).await;
        let failed = failed.0;
        let mut known = HashSet::new();
        for event in &accepted {
            let requests = by_event.get(event.as_str()).map_or(&[][..], Vec::as_slice);
            if requests.iter().any(|request| request.body != envelope(event).as_bytes()) {
                books.wrong.push(format!("{} got {event} with another body", path(hook)));
            }
            let nth = (1..=requests.len()).find(|nth| is_good(&answer(self.plan.seed, &path(hook), event, *nth)));
            let has_failed = failed.contains(event);
            if nth.is_some() || has_failed {
                known.insert(event.as_str());
            }
            books.delivered += usize::from(nth.is_some());
            books.failed += usize::from(nth.is_none() && has_failed);
            self.enter_history(books, hook, event, requests, nth.is_some() || has_failed);
        }
        books.due += accepted.len();
        for event in by_event.keys().filter(|event| !accepted.iter().any(|accepted| accepted == *event)) {
            books.wrong.push(format!("{} got {event}, which was never accepted", path(hook)));
        }
        let missing = accepted.iter().filter(|event| !known.contains(event.as_str()));
        if account < STAYING {
            for event in missing {
                let history = self.histories.get(&format!("{event}.{webhook}"));
                books.wrong.push(format!("{event} for {} is missing: {history:?}", path(hook)));
            }
        } else {
            let missing = missing.count() as u64;
            self.balance_account(books, wire, account, (missing, &known)).await;
        }
    }

    /// The deliveries in one webhook's stream of failed deliveries, each event once; and their last log entries, in
    /// order.
    async fn failed(
        &self,
        books: &mut Books,
        wire: &mut Wire,
        account: usize,
        webhook: &str,
    ) -> (HashSet<String>, Vec<String>) {
        let mut range = redis::cmd("XRANGE");
        range.arg(self.world.key(account, &format!("failed:{webhook}"))).arg("-").arg("+");
        let entries: Vec<(String, HashMap<String, String>)> = wire.ask(&range).await;
        let (mut failed, mut logs) = (HashSet::new(), Vec::new());
        for (entry, fields) in entries {
            let (line, body) = fields["delivery"].split_once('\n').unwrap();
            let line: Value = serde_json::from_str(line).unwrap();
            let log: Value = serde_json::from_str(&fields["log"]).unwrap();
            let event = line["event_id"].as_str().unwrap().to_owned();
            if log["final"] != true || !(1..=3).contains(&line["attempt"].as_u64().unwrap_or(0)) {
                books.wrong.push(format!("failed {entry} of {webhook} is none: {line} {log}"));
            }
            if body != envelope(&event) {
                books.wrong.push(format!("{line} failed with another envelope"));
            }
            if !failed.insert(event) {
                books.wrong.push(format!("{line} failed twice"));
            }
            logs.push(fields["log"].clone());
        }
        (failed, logs)
    }

    /// One webhook's log has the newest attempts that ended.
    async fn enter_log(&self, books: &mut Books, wire: &mut Wire, account: usize, webhook: &str, failed: &[String]) {
        let mut range = redis::cmd("LRANGE");
        range.arg(self.world.key(account, &format!("logs:{webhook}"))).arg(0).arg(-1);
        let log: Vec<String> = wire.ask(&range).await;
        let dropped: usize = if account < STAYING {
            0
        } else {
            // A delivery that ended for the worker may have been held again, and dropped.
            let counts: BTreeMap<String, usize> =
                wire.ask(redis::cmd("HGETALL").arg(self.world.key(account, "counts"))).await;
            counts.values().sum()
        };
        books.wrong.extend(logs::faults(webhook, &log, failed, &self.histories, dropped));
    }

    /// Combines requests and log lines for all webhooks that the hook has had.
    fn enter_history(&mut self, books: &mut Books, hook: usize, event: &str, requests: &[&Received], has_ended: bool) {
        let webhook = self.world.webhook(hook).to_string();
        let mut ids = vec![format!("{event}.{webhook}")];
        if HOOKS[hook].0 >= STAYING {
            // The event may have met several webhooks, one after another.
            ids.extend(self.of_event(event).map(|(id, _)| id.clone()));
            ids.dedup();
        }
        let mut all = History::default();
        for id in &ids {
            all.logged.extend(self.histories.get(id).into_iter().flat_map(|history| history.logged.clone()));
        }
        all.match_requests(requests);
        if all.logged.iter().any(|attempt| attempt.good) && !has_ended {
            books.wrong.push(format!("{event} is delivered according to the worker, but not to the receiver: {all:?}"));
        }
        if !requests.is_empty() {
            let id = ids.into_iter().find(|id| self.histories.contains_key(id));
            let id = id.unwrap_or_else(|| format!("{event}.{webhook}"));
            self.histories.entry(id).or_default().unlogged = all.unlogged;
        }
    }

    fn of_event(&self, event: &str) -> impl Iterator<Item = (&String, &History)> {
        self.histories.range(format!("{event}.")..format!("{event}/"))
    }

    /// Checks the counts of an account's partition: no lower than the otherwise missing events, and higher by at most
    /// the events that were in flight when a fault struck or the webhook was deleted.
    async fn balance_account(
        &self,
        books: &mut Books,
        wire: &mut Wire,
        account: usize,
        (missing, known): (u64, &HashSet<&str>),
    ) {
        let counts: BTreeMap<String, u64> =
            wire.ask(redis::cmd("HGETALL").arg(self.world.key(account, "counts"))).await;
        let counted: u64 = counts.values().sum();
        for (cause, n) in counts {
            *books.dropped.entry(cause).or_default() += n;
        }
        if counted < missing {
            books.wrong.push(format!("account {account}: {missing} events have no end, and {counted} are counted"));
        }
        let twice = counted.saturating_sub(missing);
        let struck = known.iter().filter(|event| self.was_struck(account, event)).count() as u64;
        if twice > struck {
            books.wrong.push(format!("account {account}: {twice} entered twice, and {struck} were struck"));
        }
        books.entered_twice += twice;
    }

    /// Whether an event was in flight when a fault struck or its webhook was deleted.
    fn was_struck(&self, account: usize, event: &str) -> bool {
        let notes = self.world.notes.lock().unwrap();
        let mut none = true;
        let struck = self.of_event(event).any(|(_, history)| {
            none = false;
            !history.unlogged.is_empty()
                || history.logged.iter().any(|attempt| {
                    let until = attempt.ended + AROUND;
                    let from = attempt.started.checked_sub(AROUND).unwrap_or(attempt.started);
                    notes.deletions.iter().any(|(of, at)| *of == account && (from..until).contains(at))
                        || self.happened.iter().any(|f| f.repeats > 0 && f.from <= until && from <= f.until)
                })
        });
        // An event that no worker logged died with its worker.
        struck || none
    }

    fn enter_attempts(&self, books: &mut Books) {
        let mut repetitions: Vec<Repetition> = Vec::new();
        for (id, history) in &self.histories {
            repetitions.extend(history.repetitions());
            let faults = history.faults(&self.plan.delays);
            if !faults.is_empty() {
                books.wrong.push(format!("{id}: {}: {history:?}", faults.join(", ")));
            }
        }
        let (causes, unexplained) = explain(repetitions, self.happened);
        books.repeated = causes;
        for unexplained in unexplained {
            books.wrong.push(format!("a repetition that nothing explains: {unexplained:?}"));
        }
    }

    /// Only for accounts whose webhooks stay: for an event that met several webhooks, the fate of each delivery is not
    /// known.
    fn enter_lateness(&self, books: &mut Books) {
        let notes = self.world.notes.lock().unwrap();
        let off = lateness::off(&notes.switches, Instant::now());
        let attempts = self.histories.values().flat_map(|history| &history.logged);
        let reasons = Reasons::new(self.happened, &self.watched, off).with_attempts(attempts);
        let mut punctuality = Punctuality::default();
        for hook in (0..HOOKS.len()).filter(|hook| HOOKS[*hook].0 < STAYING) {
            let webhook = self.world.webhook(hook).to_string();
            for event in &notes.accepted[HOOKS[hook].0] {
                let history = self.histories.get(&format!("{event}.{webhook}"));
                if let (Some(history), Some(accepted)) = (history, notes.accepted_at.get(event)) {
                    punctuality.enter((event, &webhook, &path(hook)), history, *accepted, &self.plan.delays, &reasons);
                }
            }
        }
        (books.timed, books.latest, books.waited) = (punctuality.judged, punctuality.worst, punctuality.waited);
        books.wrong.extend(punctuality.late);
    }
}

/// Nothing else may be left in the end: no entry queued, pending, waiting or held; no key of a deleted webhook; no log
/// over its limits.
pub async fn leftovers(world: &World, wire: &mut Wire, books: &mut Books) {
    let mut look = redis::cmd("KEYS");
    let keys: Vec<String> = wire.ask(look.arg(format!("{}:*", world.here.prefix))).await;
    let webhooks: Vec<String> = (0..HOOKS.len()).map(|hook| world.webhook(hook).to_string()).collect();
    for key in &keys {
        let kind = key.split(':').nth(2).unwrap_or_default();
        let of_present = || webhooks.iter().any(|webhook| key.ends_with(webhook));
        let fine = match kind {
            "queue" => wire.ask::<u64>(redis::cmd("XLEN").arg(key)).await == 0,
            "webhooks" | "visits" | "releases" => true,
            // No storm takes an entry out of the queue.
            "audit" => !wire.ask::<bool>(redis::cmd("HEXISTS").arg(key).arg("noticed")).await,
            "counts" => (STAYING..ACCOUNTS).any(|account| *key == world.key(account, "counts")),
            "logs" => of_present() && log_is_fine(wire, key).await,
            "failed" => of_present(),
            // `meta`, and the figures of workers that died less than half a minute ago.
            _ => key.ends_with(":meta") || key.contains(":workers:"),
        };
        if !fine {
            books.wrong.push(format!("{key} is left, or not as it should be"));
        }
    }
    for account in 0..ACCOUNTS {
        let pending = redis::cmd("XPENDING").arg(world.key(account, "queue")).arg("workers").to_owned();
        let summary: Vec<redis::Value> = wire.ask(&pending).await;
        if summary.first() != Some(&redis::Value::Int(0)) {
            books.wrong.push(format!("account {account}: still pending: {summary:?}"));
        }
        let visits: Vec<String> = wire.ask(redis::cmd("ZRANGE").arg(world.key(account, "visits")).arg(0).arg(-1)).await;
        for visit in visits.iter().filter(|visit| !webhooks.iter().any(|webhook| visit.ends_with(webhook))) {
            books.wrong.push(format!("a visit of a webhook that is gone: {visit}"));
        }
    }
}

/// At most 50 entries, each attempt once, numbers 1 to 3, and an expiry of 90 days.
async fn log_is_fine(wire: &mut Wire, key: &str) -> bool {
    let entries: Vec<String> = wire.ask(redis::cmd("LRANGE").arg(key).arg(0).arg(-1)).await;
    let ttl: i64 = wire.ask(redis::cmd("TTL").arg(key)).await;
    let mut attempts = HashSet::new();
    let fine = |entry: &String| {
        let entry: Value = serde_json::from_str(entry).unwrap();
        let number = entry["attempt"].as_u64().unwrap();
        (1..=3).contains(&number) && attempts.insert((entry["deliveryId"].to_string(), number))
    };
    entries.len() <= 50 && (1..=90 * 24 * 3600).contains(&ttl) && entries.iter().all(fine)
}
