//! `lynkhook queue rejected`: entries that are not valid events, kept whole, with the reason.

use clap::{ArgGroup, Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    super::output::{clean, fits, flexible, render, table, time},
    Exit, output,
};
use crate::queue::{Disposed, EntryId, Fate, Queue, RejectedEntry, WhichRejected};

/// In a table, an entry's own fields are shown up to this many characters.
const PREVIEW_CHARS: usize = 80;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List rejected entries, newest first, each with the reason and its own fields.
    List {
        /// List only this partition's entries.
        #[arg(long, value_name = "PARTITION")]
        partition: Option<u16>,
        /// List at most this many entries.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
        limit: usize,
        /// Print JSON, with each field in full.
        #[arg(long)]
        json: bool,
    },
    /// Put rejected entries back into the queue unchanged, once the cause is fixed.
    Requeue {
        #[command(flatten)]
        which: WhichFlags,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete rejected entries for good; they are counted as `rejected_dropped`.
    Drop {
        #[command(flatten)]
        which: WhichFlags,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The choice of entries.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true)))]
pub(in crate::cli) struct WhichFlags {
    /// Only the entry with this id, as shown by `lynkhook queue rejected list`.
    #[arg(long, value_name = "ID", value_parser = entry_id, group = "which")]
    id: Option<EntryId>,
    /// All entries that are rejected now.
    #[arg(long, group = "which")]
    all: bool,
    /// Only entries of this partition.
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u16>,
}

impl From<WhichFlags> for WhichRejected {
    fn from(WhichFlags { id, partition, .. }: WhichFlags) -> Self {
        Self { id, partition }
    }
}

/// Runs it.
pub(super) async fn run(queue: &Queue, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List { partition, limit, json } => list(queue, partition, limit, json).await,
        Command::Requeue { which, json } => settle(queue, which.into(), Fate::Requeue, json).await,
        Command::Drop { which, json } => settle(queue, which.into(), Fate::Drop, json).await,
    }
}

async fn list(queue: &Queue, partition: Option<u16>, limit: usize, as_json: bool) -> anyhow::Result<Exit> {
    let entries = queue.rejected(partition, limit).await?;
    if as_json {
        output::print_json(&entries)?;
    } else if entries.is_empty() {
        output::print("Nothing is rejected.\n")?;
    } else {
        output::print(&to_table(&entries, output::width()))?;
    }
    Ok(Exit::Success)
}

async fn settle(queue: &Queue, which: WhichRejected, fate: Fate, as_json: bool) -> anyhow::Result<Exit> {
    // Drawn on standard error, and only on a terminal.
    let bar = if as_json { ProgressBar::hidden() } else { progress() };
    let settled = queue.dispose_rejected(&which, fate, |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    let settled = settled.await;
    bar.finish_and_clear();
    let settled = settled?;
    if as_json {
        output::print_json(&settled)?;
    } else {
        output::print(&to_text(settled))?;
    }
    Ok(Exit::Success)
}

fn to_text(settled: Disposed) -> String {
    let entries = |count| if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
    match settled {
        Disposed::Dropped { dropped } => format!("Dropped {}.\n", entries(dropped)),
        Disposed::Requeued { requeued, stayed: 0 } => format!("Put {} back into the queue.\n", entries(requeued)),
        Disposed::Requeued { requeued, stayed } => format!(
            "Put {} back into the queue. {} stayed rejected: too many fields, or not set aside by a worker.\n",
            entries(requeued),
            entries(stayed)
        ),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "a whole number from 1".to_owned())
}

/// A complete id, `<ms>-<sequence>`: a partial one would match many entries.
fn entry_id(text: &str) -> Result<EntryId, String> {
    let id = EntryId(text.to_owned());
    id.order().map(|_| id).ok_or_else(|| "an id is <ms>-<sequence>, e.g. 1774535520000-0".to_owned())
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}  {per_sec}  {eta} left");
    ProgressBar::no_length().with_style(style.expect("the template is well formed"))
}

fn to_table(entries: &[RejectedEntry], width: Option<u16>) -> String {
    let header = ["ID", "Partition", "Time (UTC)", "Reason", "Entry", "Fields"];
    let row = |entry: &RejectedEntry| {
        [
            clean(&entry.id.0).into_owned(),
            entry.partition.to_string(),
            time(&entry.time),
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

/// The entry's own fields on one line, cut to [`PREVIEW_CHARS`].
fn preview(entry: &RejectedEntry) -> String {
    let mut shown = String::new();
    for (name, value) in &entry.fields {
        if !shown.is_empty() {
            shown.push(' ');
        }
        for part in [&name[..], b"=", value] {
            // A character has at most four bytes. The bound keeps a payload of megabytes from being scanned.
            let head = String::from_utf8_lossy(&part[..part.len().min(4 * PREVIEW_CHARS)]);
            shown += &clean(&head);
        }
        if shown.chars().count() > PREVIEW_CHARS {
            return shown.chars().take(PREVIEW_CHARS - 1).chain(['…']).collect();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&'static [u8], &'static [u8])]) -> RejectedEntry {
        RejectedEntry {
            partition: 3,
            id: EntryId("1774535520045-7".into()),
            time: "2026-03-26T14:32:00.045Z".into(),
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
    fn in_a_narrow_terminal_the_fields_are_below_the_reason() {
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
}
