//! The books as a text for people.

use std::fmt::{self, Display, Formatter};

use crate::ledger::Books;

impl Books {
    /// Adds another storm's books to these.
    pub fn add(&mut self, other: Self) {
        for (name, n) in other.faults {
            *self.faults.entry(name).or_default() += n;
        }
        for (name, n) in other.deeds {
            *self.deeds.entry(name).or_default() += n;
        }
        for (cause, n) in other.dropped {
            *self.dropped.entry(cause).or_default() += n;
        }
        for (cause, n) in other.repeated {
            *self.repeated.entry(cause).or_default() += n;
        }
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.due += other.due;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.entered_twice += other.entered_twice;
        self.requests += other.requests;
        self.timed += other.timed;
        self.latest = self.latest.max(other.latest);
        self.waited += other.waited;
        self.wrong.extend(other.wrong);
    }
}

impl Display for Books {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let dropped: u64 = self.dropped.values().sum();
        let ended = (self.delivered + self.failed) as u64 + dropped - self.entered_twice;
        // This is the difference of the counts; `wrong` names each lost delivery.
        let lost = (self.due as u64).saturating_sub(ended);
        line(f, "faults", self.faults.values().sum::<usize>(), &list(&self.faults))?;
        line(f, "changes to webhooks", self.deeds.values().sum::<usize>(), &list(&self.deeds))?;
        line(f, "events accepted", self.accepted, &format!("{} not accepted: Redis full or away", self.refused))?;
        line(f, "deliveries due", self.due, "each event for each webhook that wants it")?;
        line(f, "  delivered", self.delivered, "acknowledged by the receiver")?;
        line(f, "  failed", self.failed, "three attempts, or a final answer; kept, and in the log")?;
        line(f, "  dropped and counted", dropped, &list(&self.dropped))?;
        line(f, "  entered twice", self.entered_twice, "delivered, and dropped before the delivery was settled")?;
        line(f, "  lost", lost, "")?;
        line(f, "requests", self.requests, "")?;
        line(f, "attempts repeated", self.repeated.values().sum::<usize>(), &list(&self.repeated))?;
        let latest = self.latest.as_millis();
        let latest = format!("without a fault: at most {latest} ms late, or at a limit ({})", self.waited);
        line(f, "attempts timed", self.timed, &latest)?;
        line(f, "wrong", self.wrong.len(), "attempts that are early, late, fourth or unexplained; leftovers")
    }
}

fn line(f: &mut Formatter<'_>, name: &str, n: impl Display, remark: &str) -> fmt::Result {
    let text = format!("{name:<22}{n:>8}  {remark}");
    writeln!(f, "{}", text.trim_end())
}

fn list(counts: &std::collections::BTreeMap<impl Display, impl Display>) -> String {
    let each: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
    each.join(", ")
}
