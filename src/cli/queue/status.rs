//! `lynkhook queue status`.

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use chrono::DateTime;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    super::output::{Reader, clean, fits, flexible, milliseconds, render, table, time},
    Exit, output,
};
use crate::{
    domain::text::seconds,
    queue::{AwayMaster, Kept, KnownKeys, Limited, LiveWorker, Queue, QueueFigures, Status, WEBHOOKS_MAX},
};

/// The interval between two displays of the figures.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Clears the terminal, and moves the cursor to the top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the figures once.
pub(super) async fn show(queue: &Queue, json: bool) -> anyhow::Result<Exit> {
    let status = queue.status().await?;
    if json {
        output::print_json(&status)?;
    } else {
        output::print(&text(&status, output::width()))?;
    }
    Ok(Exit::Success)
}

/// Shows the figures repeatedly. Redis may be unreachable for a while, but not at the start.
pub(super) async fn watch(queue: &Queue, stop: &CancellationToken, json: bool) -> anyhow::Result<Exit> {
    let redraws = !json && std::io::stdout().is_terminal();
    let mut ticks = interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut shown, mut waiting) = (false, false);
    loop {
        let read = async {
            ticks.tick().await;
            queue.status().await
        };
        let status = tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Success),
            status = read => status,
        };
        match status {
            Ok(status) => {
                let mut frame = if json { output::json_line(&status)? } else { text(&status, output::width()) };
                if redraws {
                    frame.insert_str(0, CLEAR);
                } else if shown && !json {
                    frame.insert(0, '\n');
                }
                (shown, waiting) = (true, false);
                if output::write(&frame)? == Reader::Gone {
                    return Ok(Exit::Success);
                }
            }
            Err(error) if shown && error.is_passing() => {
                if !waiting {
                    tracing::warn!(%error, "Redis is unavailable; watching continues when it is back");
                }
                waiting = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The figures as people read them.
fn text(status: &Status, width: Option<u16>) -> String {
    let mut parts = vec![format!("Queue at {} UTC\n", time(&status.time)), summary(status, width)];
    if !status.away.is_empty() {
        parts.push(away(&status.away));
    }
    if status.partitions.len() > 1 {
        parts.extend(partitions(status, width));
    }
    if !status.most_held.is_empty() {
        let rows = status.most_held.iter().map(|holding| {
            let (account, webhook) = (holding.account.to_string(), holding.webhook.to_string());
            [account, webhook, limited(holding.held, status.held), limited(holding.failed, status.failed)]
        });
        parts.push(render(table(["Account", "Webhook", "Held", "Failed"], rows), width));
    }
    if !status.all.counts.is_empty() {
        parts.push(counts(&status.all.counts, width));
    }
    parts.push(workers(status, width));
    parts.extend(limited_endpoints(&status.workers, width));
    parts.extend(panics(&status.workers));
    if !status.complete {
        parts.push(format!(
            "These figures are incomplete: held and failed cover at most {WEBHOOKS_MAX} webhooks, and workers may be \
             missing.\n"
        ));
    }
    parts.join("\n")
}

fn summary(status: &Status, width: Option<u16>) -> String {
    let QueueFigures {
        depth, oldest_ms, in_flight, consumers, retries, releases, visits, rejected, idempotency, ..
    } = &status.all;
    let oldest = match oldest_ms {
        Some(ms) if depth == in_flight => format!(", all in flight, the oldest arrived {}", ago(*ms)),
        Some(ms) => format!(", the oldest waiting entry arrived {}", ago(*ms)),
        None => String::new(),
    };
    let late = match retries.late {
        0 => String::new(),
        late => format!(", LATE: {late}, by up to {}", duration(retries.late_by_ms)),
    };
    let away: usize = status.away.iter().map(|master| master.partitions.len()).sum();
    let partitions = status.partitions.len() + away;
    let rows = [
        ("Depth", format!("{depth}{oldest}")),
        ("In flight", format!("{in_flight}, of {}", plural(*consumers as u64, "consumer"))),
        ("Retries", format!("{} waiting{late}", retries.waiting)),
        (
            "Releases",
            format!("{} with deliveries to release, {} due", plural(releases.waiting, "webhook"), releases.due),
        ),
        ("Visits", format!("{} waiting, {} due", plural(visits.waiting, "webhook"), visits.due)),
        ("Held", kept(status.held, "held", "webhook")),
        ("Failed", kept(status.failed, "failed", "webhook")),
        ("Rejected", kept(*rejected, "rejected", "partition")),
        ("Idempotency keys", known_keys(idempotency)),
        ("Partitions", partitions.to_string()),
    ];
    let rows = rows.map(|(name, value)| [name.to_owned(), value]);
    render(flexible(table(["", ""], rows), [1]), width)
}

/// `12 of 2 webhooks`, and the limit that is reached.
fn kept(kept: Kept, section: &str, owner: &str) -> String {
    let Kept { entries, streams, limit, max_bytes, .. } = kept;
    let of = if entries > 0 { format!(" of {}", plural(streams, owner)) } else { String::new() };
    let beyond = match section {
        "held" => "new deliveries may fail, or the oldest are dropped",
        _ => "the oldest are dropped",
    };
    let reached = kept.reached().map(|(setting, by)| {
        let bound = match setting {
            "limit" => limit.to_string(),
            _ => bytesize::ByteSize(max_bytes).display().iec().to_string(),
        };
        format!(", LIMIT REACHED by {by}: {section}.{setting} = {bound}, {beyond}")
    });
    format!("{entries}{of}{}", reached.collect::<String>())
}

/// `12 since 2026-03-26 14:32:00`, and the time to which memory shortened the window.
fn known_keys(known: &KnownKeys) -> String {
    let since = known.since.as_ref().map(|since| format!(" since {}", time(since)));
    let shortened = known.shortened_to_ms.map(|ms| {
        let max_bytes = bytesize::ByteSize(known.max_bytes).display().iec();
        format!(", WINDOW SHORTENED to {}: idempotency.max_bytes = {max_bytes} is too small for 24h", duration(ms))
    });
    format!("{}{}{}", known.keys, since.unwrap_or_default(), shortened.unwrap_or_default())
}

/// A line for each master that is away.
fn away(masters: &[AwayMaster]) -> String {
    let line = |master: &AwayMaster| format!("AWAY: {}; nothing here counts what it has\n", clean(&master.to_string()));
    masters.iter().map(line).collect()
}

/// The partitions that are not empty.
fn partitions(status: &Status, width: Option<u16>) -> Option<String> {
    let header =
        ["Partition", "Depth", "Oldest", "In flight", "Consumers", "Retries", "Late", "Visits", "Due", "Rejected"];
    let busy = status.partitions.iter().filter(|partition| {
        let QueueFigures { depth, consumers, retries, visits, rejected, .. } = &partition.figures;
        depth + *consumers as u64 + retries.waiting + visits.waiting + rejected.entries > 0
    });
    let rows = busy.map(|partition| {
        let QueueFigures { depth, oldest_ms, in_flight, consumers, retries, visits, rejected, .. } = &partition.figures;
        [
            partition.partition.to_string(),
            depth.to_string(),
            oldest_ms.map(duration).unwrap_or_default(),
            in_flight.to_string(),
            consumers.to_string(),
            retries.waiting.to_string(),
            retries.late.to_string(),
            visits.waiting.to_string(),
            visits.due.to_string(),
            limited(rejected.entries, *rejected),
        ]
    });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then(|| render(table(header, rows), width))
}

fn counts(counts: &BTreeMap<String, u64>, width: Option<u16>) -> String {
    let rows = counts.iter().map(|(cause, count)| [clean(cause).into_owned(), count.to_string()]);
    render(table(["Dropped", "Since the beginning"], rows), width)
}

/// The workers that are alive. If the table is wider than the terminal, the less important columns are left out.
fn workers(status: &Status, width: Option<u16>) -> String {
    if status.workers.is_empty() && !status.away.is_empty() {
        return "No worker is known to be alive; the figures of some may be at a master that is away.\n".to_owned();
    }
    if status.workers.is_empty() {
        return "No worker is alive, so nothing is delivered. Start one: lynkhook worker\n".to_owned();
    }
    let row = |LiveWorker { name, figures: worker }: &LiveWorker| {
        [
            clean(name).into_owned(),
            clean(&worker.version).into_owned(),
            format!("{}/{}", worker.in_flight, worker.concurrency),
            worker.attempts.to_string(),
            worker.delivered.to_string(),
            worker.retries.to_string(),
            worker.failed.to_string(),
            worker.put_off.to_string(),
            format!("{}/{}", worker.slow_endpoints, worker.failing_endpoints),
            time(&worker.started_at),
            age_ms(&worker.at, &status.time).map(ago).unwrap_or_default(),
        ]
    };
    let header = [
        "Worker",
        "Version",
        "In flight",
        "Attempts",
        "Delivered",
        "Retries",
        "Failed",
        "Put off",
        "Slow/failing",
        "Started (UTC)",
        "Heard",
    ];
    let wide = table(header, status.workers.iter().map(row));
    if fits(&wide, width, None) {
        return render(wide, width);
    }
    let row = |worker: &LiveWorker| {
        let [name, _, in_flight, attempts, delivered, _, failed, _, bad, _, heard] = row(worker);
        [name, in_flight, attempts, delivered, failed, bad, heard]
    };
    let header = ["Worker", "In\nflight", "Attempts", "Delivered", "Failed", "Slow/\nfailing", "Heard"];
    render(flexible(table(header, status.workers.iter().map(row)), [0]), width)
}

/// Endpoints at their limit of attempts in flight, with the reason.
fn limited_endpoints(workers: &[LiveWorker], width: Option<u16>) -> Option<String> {
    let of = |worker: &LiveWorker| {
        let name = clean(&worker.name).into_owned();
        let row = move |one: &Limited| {
            let [account, webhook, why] = [&one.account, &one.webhook, &one.why].map(|text| clean(text).into_owned());
            [account, webhook, format!("{}/{}", one.in_flight, one.limit), why, name.clone()]
        };
        worker.figures.limited.iter().map(row).collect::<Vec<_>>()
    };
    let rows: Vec<_> = workers.iter().flat_map(of).collect();
    let header = ["Account", "Limited webhook", "In flight", "Why", "Worker"];
    (!rows.is_empty()).then(|| render(flexible(table(header, rows), [3, 4]), width))
}

/// The panics (faults of this program) that workers survived.
fn panics(workers: &[LiveWorker]) -> Option<String> {
    let met = workers.iter().filter(|worker| worker.figures.panics > 0);
    let lines = met.map(|worker| {
        let (name, panics) = (clean(&worker.name), plural(worker.figures.panics, "panic"));
        format!("{panics} in {name}: a bug in Lynkhook; the worker's log says where. Its deliveries are taken over.\n")
    });
    let lines: String = lines.collect();
    (!lines.is_empty()).then_some(lines)
}

/// A number, marked if it has reached its limit.
fn limited(entries: u64, kept: Kept) -> String {
    if kept.is_full(entries) { format!("{entries} (limit)") } else { entries.to_string() }
}

fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn ago(ms: u64) -> String {
    duration(ms) + " ago"
}

/// `120 ms`, `1.2 s`, `3m 20s`.
fn duration(ms: u64) -> String {
    if ms < 60_000 { milliseconds(ms) } else { seconds(Duration::from_millis(ms)) }
}

/// Milliseconds from one RFC 3339 time to another; 0 if the first is later.
fn age_ms(then: &str, now: &str) -> Option<u64> {
    let parse = |text| DateTime::parse_from_rfc3339(text).ok();
    Some(u64::try_from((parse(now)? - parse(then)?).num_milliseconds()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_is_shown_with_its_setting() {
        let none = Kept { limit: 10, ..Kept::default() };
        assert_eq!(kept(none, "held", "webhook"), "0");
        let some = Kept { entries: 12, streams: 2, ..none };
        assert_eq!(kept(some, "held", "webhook"), "12 of 2 webhooks");
        let full = Kept { at_limit: 1, ..some };
        let said =
            "12 of 2 webhooks, LIMIT REACHED by 1: held.limit = 10, new deliveries may fail, or the oldest are dropped";
        assert_eq!(kept(full, "held", "webhook"), said);
        let large = Kept { at_max_bytes: 2, max_bytes: 64 << 20, ..some };
        let said = "12 of 2 webhooks, LIMIT REACHED by 2: held.max_bytes = 64.0 MiB, new deliveries may fail, or the oldest are dropped";
        assert_eq!(kept(large, "held", "webhook"), said);
        let said = "12 of 2 webhooks, LIMIT REACHED by 2: failed.max_bytes = 64.0 MiB, the oldest are dropped";
        assert_eq!(kept(large, "failed", "webhook"), said);
        assert_eq!((limited(9, none), limited(10, none)), ("9".to_owned(), "10 (limit)".to_owned()));
    }

    #[test]
    fn a_window_that_memory_shortened_is_shown_with_its_setting() {
        let none = KnownKeys { max_bytes: 64 << 20, ..KnownKeys::default() };
        assert_eq!(known_keys(&none), "0");
        let some = KnownKeys { keys: 12, since: Some("2026-03-26T14:32:00.000Z".to_owned()), ..none };
        assert_eq!(known_keys(&some), "12 since 2026-03-26 14:32:00");
        let short = KnownKeys { shortened_to_ms: Some(12_000_000), ..some };
        let said = "12 since 2026-03-26 14:32:00, WINDOW SHORTENED to 3h 20m: idempotency.max_bytes = 64.0 MiB is too small for 24h";
        assert_eq!(known_keys(&short), said);
    }

    #[test]
    fn a_master_that_is_away_has_a_line_with_its_partitions() {
        let master = |partitions| AwayMaster {
            master: "127.0.0.1:7001".to_owned(),
            partitions,
            error: "Redis at 127.0.0.1:7001 is unreachable: timed out".to_owned(),
        };
        let said = "AWAY: Redis at 127.0.0.1:7001 is unreachable: timed out (its partitions: 0, 3 to 5); nothing here \
                    counts what it has\n";
        assert_eq!(away(&[master(vec![0, 3, 4, 5])]), said);
        assert_eq!(away(&[master(vec![]), master(vec![0, 3, 4, 5])]).lines().count(), 2);
    }

    #[test]
    fn durations_are_for_people() {
        for (ms, shown) in [(0, "0 ms"), (59_999, "60.0 s"), (60_000, "1m"), (200_500, "3m 20s")] {
            assert_eq!(duration(ms), shown);
        }
        assert_eq!(age_ms("2026-03-26T14:32:00.000Z", "2026-03-26T14:32:01.500Z"), Some(1500));
        assert_eq!(age_ms("2026-03-26T14:32:01.000Z", "2026-03-26T14:32:00.000Z"), Some(0), "clocks differ");
        assert_eq!(age_ms("", "2026-03-26T14:32:00.000Z"), None);
    }
}
