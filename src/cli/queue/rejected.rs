//! `lynkhook queue rejected`: entries that were no event, whole, with the reason.
//!
//! What is requeued or dropped is what was there at the start: an entry that is rejected for the second time
//! meanwhile has a new id and is left alone, so that `requeue --all` comes to an end.

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::DateTime;
use clap::{ArgGroup, Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{
    super::output::{clean, fits, flexible, render, table, time},
    Exit, output,
};
use crate::{
    domain::{failure::Failure, log_entry::timestamp},
    store::{EntryId, EntryRange, Fate, RejectedEntry, Store},
};

/// In a table, an entry's own fields are shown up to this many characters.
const PREVIEW_CHARS: usize = 80;

/// What to do.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List rejected entries, newest first, each with the reason and its own fields.
    List {
        /// Of this partition only.
        #[arg(long, value_name = "PARTITION")]
        partition: Option<u16>,
        /// At most this many.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
        limit: usize,
        /// Print JSON, with the fields whole.
        #[arg(long)]
        json: bool,
    },
    /// Put rejected entries back into the queue as they came, once what was wrong is mended.
    Requeue {
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Drop rejected entries; they are counted as `rejected_dropped`.
    Drop {
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which entries.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true)))]
pub(in crate::cli) struct Which {
    /// The entry with this id, as `lynkhook queue rejected list` shows it.
    #[arg(long, value_name = "ID", value_parser = entry_id, group = "which")]
    id: Option<EntryId>,
    /// All that there are now.
    #[arg(long, group = "which")]
    all: bool,
    /// Of this partition only.
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u16>,
}

/// Why entries could not be found or put back.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum RejectedError {
    /// No such entry.
    #[error("no rejected entry has the id {0}; `lynkhook queue rejected list` shows those that there are")]
    NotFound(String),
    /// No such partition.
    #[error("there is no partition {0}: there are {1}, counted from 0")]
    Partition(u16, u16),
    /// Several entries have this id.
    #[error("the partitions {1} each have a rejected entry {0}; say which with --partition")]
    Ambiguous(String, String),
    /// Its fields cannot be restored.
    #[error("the rejected entry {0} stays: it has too many fields, or is not one that a worker set aside")]
    Stayed(String),
}

impl RejectedError {
    /// The kind of failure.
    pub(in crate::cli) fn failure(&self) -> Failure {
        match self {
            Self::NotFound(_) => Failure::NotFound,
            Self::Partition(..) | Self::Ambiguous(..) => Failure::Usage,
            Self::Stayed(_) => Failure::Refused,
        }
    }
}

/// Runs it.
pub(super) async fn run(store: &Store, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { partition, limit, json } => list(store, partition, limit, json).await,
        Command::Requeue { which, json } => settle(store, &which, Fate::Requeue, json).await,
        Command::Drop { which, json } => settle(store, &which, Fate::Drop, json).await,
    }
}

async fn list(store: &Store, partition: Option<u16>, limit: usize, as_json: bool) -> anyhow::Result<Exit> {
    let mut entries: Vec<RejectedEntry> = Vec::new();
    for partition in partitions(store, partition)? {
        entries.extend(store.rejected(partition, limit).await?);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.id.order()));
        entries.truncate(limit);
    }
    if as_json {
        output::print_json(&entries.iter().map(to_json).collect::<Vec<_>>())?;
    } else if entries.is_empty() {
        output::print("Nothing is rejected.\n")?;
    } else {
        output::print(&to_table(&entries, output::width()))?;
    }
    Ok(Exit::Success)
}

async fn settle(store: &Store, which: &Which, fate: Fate, as_json: bool) -> anyhow::Result<Exit> {
    let mut spans = Vec::new();
    match &which.id {
        Some(id) => spans.push((find(store, id, which.partition).await?, EntryRange::one(id), 1)),
        None => {
            for partition in partitions(store, which.partition)? {
                spans.extend(store.rejected_span(partition).await?.map(|(span, length)| (partition, span, length)));
            }
        }
    }
    let bar = if as_json { ProgressBar::hidden() } else { progress(spans.iter().map(|(_, _, length)| length).sum()) };
    let (mut moved, mut stayed) = (0, 0);
    for (partition, span, _) in spans {
        let mut rest = Some(span);
        while let Some(span) = rest {
            let batch = store.settle_rejected(partition, &span, fate).await?;
            (moved, stayed, rest) = (moved + batch.moved, stayed + batch.stayed, batch.rest);
            bar.inc(batch.moved + batch.stayed);
        }
    }
    bar.finish_and_clear();
    if let Some(id) = &which.id {
        match (moved, stayed) {
            (0, 0) => return Err(RejectedError::NotFound(id.0.clone()).into()),
            (0, _) => return Err(RejectedError::Stayed(id.0.clone()).into()),
            _ => {}
        }
    }
    report(fate, moved, stayed, as_json)?;
    Ok(Exit::Success)
}

fn report(fate: Fate, moved: u64, stayed: u64, as_json: bool) -> anyhow::Result<()> {
    let entries = |count| if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
    match (fate, as_json) {
        (Fate::Requeue, true) => output::print_json(&json!({ "requeued": moved, "stayed": stayed })),
        (Fate::Drop, true) => output::print_json(&json!({ "dropped": moved })),
        (Fate::Drop, false) => output::print(&format!("Dropped {}.\n", entries(moved))),
        (Fate::Requeue, false) => {
            let kept = if stayed == 0 {
                String::new()
            } else {
                format!(" {} stayed rejected: too many fields, or not set aside by a worker.", entries(stayed))
            };
            output::print(&format!("Put {} back into the queue.{kept}\n", entries(moved)))
        }
    }
}

/// The partition of an entry.
async fn find(store: &Store, id: &EntryId, partition: Option<u16>) -> anyhow::Result<u16> {
    let mut found = Vec::new();
    for partition in partitions(store, partition)? {
        if store.has_rejected(partition, id).await? {
            found.push(partition);
        }
    }
    match found[..] {
        [] => Err(RejectedError::NotFound(id.0.clone()).into()),
        [partition] => Ok(partition),
        _ => {
            let found: Vec<_> = found.iter().map(u16::to_string).collect();
            Err(RejectedError::Ambiguous(id.0.clone(), found.join(", ")).into())
        }
    }
}

/// The one that was named, or all.
fn partitions(store: &Store, named: Option<u16>) -> Result<std::ops::Range<u16>, RejectedError> {
    let there_are = store.keys().partitions();
    match named {
        Some(named) if named >= there_are => Err(RejectedError::Partition(named, there_are)),
        Some(named) => Ok(named..named + 1),
        None => Ok(0..there_are),
    }
}

/// `<ms>-<sequence>`, whole: half an id names many entries.
fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "a whole number from 1".to_owned())
}

fn entry_id(text: &str) -> Result<EntryId, String> {
    let id = EntryId(text.to_owned());
    id.order().map(|_| id).ok_or_else(|| "an id is <ms>-<sequence>, e.g. 1774535520000-0".to_owned())
}

/// When an entry was rejected, as RFC 3339.
fn rejected_at(id: &EntryId) -> String {
    let ms = id.order().and_then(|(ms, _)| i64::try_from(ms).ok());
    ms.and_then(DateTime::from_timestamp_millis).map(timestamp).unwrap_or_default()
}

fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}  {per_sec}  {eta} left");
    bar.set_style(style.expect("the template is well formed"));
    bar
}

fn to_table(entries: &[RejectedEntry], width: Option<u16>) -> String {
    let header = ["ID", "Partition", "Time (UTC)", "Reason", "Entry", "Fields"];
    let row = |entry: &RejectedEntry| {
        [
            clean(&entry.id.0).into_owned(),
            entry.partition.to_string(),
            time(&rejected_at(&entry.id)),
            clean(&entry.reason).into_owned(),
            clean(&entry.entry).into_owned(),
            preview(entry),
        ]
    };
    let wide = table(header, entries.iter().map(row));
    if fits(&wide, width, None) {
        return render(wide, width);
    }
    let row = |entry: &RejectedEntry| {
        let [id, partition, time, reason, _, fields] = row(entry);
        [format!("{id}\npartition {partition}\n{time}"), format!("{reason}\n{fields}")]
    };
    render(flexible(table(["ID\nPartition, Time (UTC)", "Reason\nFields"], entries.iter().map(row)), [1]), width)
}

/// The entry's own fields in one line, cut.
fn preview(entry: &RejectedEntry) -> String {
    let mut shown = String::new();
    for (name, value) in &entry.fields {
        if !shown.is_empty() {
            shown.push(' ');
        }
        for part in [&name[..], b"=", value] {
            // Four bytes a character at most, so that a payload of megabytes is not gone through.
            let head = String::from_utf8_lossy(&part[..part.len().min(4 * PREVIEW_CHARS)]);
            shown += &clean(&head);
        }
        if shown.chars().count() > PREVIEW_CHARS {
            return shown.chars().take(PREVIEW_CHARS - 1).chain(['…']).collect();
        }
    }
    shown
}

fn to_json(entry: &RejectedEntry) -> Value {
    json!({
        "id": entry.id.0,
        "partition": entry.partition,
        "time": rejected_at(&entry.id),
        "reason": entry.reason,
        "entry": entry.entry,
        "fields": entry.fields.iter().map(|(name, value)| field(name, value)).collect::<Vec<_>>(),
    })
}

/// A field in order: a name may stand twice, and neither name nor value need be text.
fn field(name: &[u8], value: &[u8]) -> Value {
    let mut field = json!({ "name": String::from_utf8_lossy(name), "value": String::from_utf8_lossy(value) });
    for (key, bytes) in [("nameBase64", name), ("base64", value)] {
        if std::str::from_utf8(bytes).is_err() {
            field[key] = BASE64_STANDARD.encode(bytes).into();
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&'static [u8], &'static [u8])]) -> RejectedEntry {
        RejectedEntry {
            partition: 3,
            id: EntryId("1774535520045-7".into()),
            reason: "the entry has no field `account`".into(),
            entry: "1774535520001-0".into(),
            fields: fields.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        }
    }

    #[test]
    fn an_id_is_whole_or_none() {
        assert_eq!(entry_id("1774535520000-12").unwrap().order(), Some((1_774_535_520_000, 12)));
        for bad in ["", "-", "1", "1-", "-1", "+1-0", "1-0-0", "a-b", "99999999999999999999-0"] {
            assert!(entry_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_preview_is_one_bounded_line_without_control_characters() {
        assert_eq!(preview(&entry(&[(b"a", b"1\n"), (b"b\x1b", b"\xff")])), "a=1\\n b\\u{1b}=\u{fffd}");
        let long: &'static [u8] = "ü".repeat(1000).leak().as_bytes();
        assert_eq!(preview(&entry(&[(b"envelope", long)])).chars().count(), PREVIEW_CHARS);
    }

    #[test]
    fn in_a_narrow_terminal_the_fields_stand_below_the_reason() {
        let shown = to_table(&[entry(&[(b"envelope", b"{}")])], Some(60));
        assert_eq!(
            shown,
            "ID                     Reason\n\
             Partition, Time (UTC)  Fields\n\
             1774535520045-7        the entry has no field `account`\n\
             partition 3            envelope={}\n\
             2026-03-26 14:32:00\n"
        );
    }

    #[test]
    fn json_has_fields_in_order_and_what_is_no_text_in_base64_too() {
        let entry = entry(&[(b"account", b"acme"), (b"account", b"\xff\x00"), (b"\xfe", b"x")]);
        let expected = json!({
            "id": "1774535520045-7", "partition": 3, "time": "2026-03-26T14:32:00.045Z",
            "reason": "the entry has no field `account`", "entry": "1774535520001-0",
            "fields": [
                { "name": "account", "value": "acme" },
                { "name": "account", "value": "\u{fffd}\u{0}", "base64": "/wA=" },
                { "name": "\u{fffd}", "value": "x", "nameBase64": "/g==" },
            ],
        });
        assert_eq!(to_json(&entry), expected);
    }
}
