//! `lynkhook webhook held`, `failed` and `redeliver`: lists deliveries that are kept, and queues failed ones again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{super::output, Exit, Format, Target, tables};
use crate::{
    domain::page::KeptPage,
    webhooks::{Webhooks, WebhooksError, Which},
};

/// The number of deliveries that are read at a time.
const PAGE: usize = 50;

/// The choice of failed deliveries: exactly one of these flags.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct WhichFlags {
    /// Only the delivery with this id, as shown by `lynkhook webhook failed`.
    #[arg(long, value_name = "DELIVERY")]
    delivery: Option<String>,
    /// All failed deliveries of the webhook.
    #[arg(long)]
    all: bool,
    /// Deliveries that failed since this time: an RFC 3339 time, or an age such as 2h.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
}

/// A point in time, as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    At(DateTime<Utc>),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Since::At(time.to_utc()));
    }
    if text.contains('M') {
        return Err("\"M\" means months: write \"m\" for minutes, \"d\" for days".to_owned());
    }
    humantime::parse_duration(text)
        .map(Since::Ago)
        .map_err(|_| "give a time such as 2026-03-26T14:00:00Z, or an age such as 30m, 2h or 1d".to_owned())
}

impl From<WhichFlags> for Which {
    fn from(flags: WhichFlags) -> Self {
        match (flags.delivery, flags.since) {
            (Some(delivery), _) => Self::One(delivery),
            (None, Some(Since::At(time))) => Self::Since(time),
            (None, Some(Since::Ago(ago))) => Self::Within(ago),
            (None, None) => Self::All,
        }
    }
}

/// Lists held deliveries.
pub(super) async fn held(webhooks: &Webhooks, target: &Target, format: Format) -> anyhow::Result<Exit> {
    let Target { account, id } = target;
    let page = async |after: Option<String>| webhooks.held(account, *id, after.as_deref(), PAGE).await;
    let deliveries = all(page).await?;
    if format.json {
        output::print_json(&deliveries)?;
    } else if deliveries.is_empty() {
        output::print("No held deliveries.\n")?;
    } else {
        output::print(&tables::held_deliveries(&deliveries, output::width()))?;
    }
    Ok(Exit::Success)
}

/// The items of all pages.
async fn all<T>(page: impl AsyncFn(Option<String>) -> Result<KeptPage<T>, WebhooksError>) -> anyhow::Result<Vec<T>> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let found = page(after).await?;
        items.extend(found.items);
        after = found.next;
        if after.is_none() {
            return Ok(items);
        }
    }
}

/// Lists failed deliveries.
pub(super) async fn failed(webhooks: &Webhooks, target: &Target, format: Format) -> anyhow::Result<Exit> {
    let Target { account, id } = target;
    let page = async |after: Option<String>| webhooks.failed(account, *id, None, after.as_deref(), PAGE).await;
    let deliveries = all(page).await?;
    if format.json {
        output::print_json(&deliveries)?;
    } else if deliveries.is_empty() {
        output::print("No failed deliveries.\n")?;
    } else {
        output::print(&tables::failed_deliveries(&deliveries, output::width()))?;
    }
    Ok(Exit::Success)
}

/// Queues them again, and says how many.
pub(super) async fn redeliver(
    webhooks: &Webhooks,
    target: &Target,
    which: Which,
    format: Format,
) -> anyhow::Result<Exit> {
    let Target { account, id } = target;
    // Drawn on standard error, and only on a terminal.
    let bar = if format.json { ProgressBar::hidden() } else { ProgressBar::no_length() };
    bar.set_style(ProgressStyle::with_template("{pos} queued again")?);
    let redelivered = webhooks.redeliver(account, *id, &which, |progress| {
        if let (Some(of), None) = (progress.of, bar.length()) {
            bar.set_length(of);
            bar.set_style(ProgressStyle::with_template("{wide_bar} {pos} of {len} queued again").expect("a template"));
        }
        bar.set_position(progress.moved);
    });
    let redelivered = redelivered.await;
    bar.finish_and_clear();
    let count = redelivered?;
    if format.json {
        output::print_json(&serde_json::json!({ "id": id, "account": account, "redelivered": count }))?;
    } else {
        let deliveries = match count {
            0 => return output::print("There is nothing to redeliver.\n").map(|()| Exit::Success),
            1 => "1 delivery is".to_owned(),
            count => format!("{count} deliveries are"),
        };
        let next = if webhooks.show(account, *id).await?.active {
            format!("Watch the attempts: lynkhook webhook logs --follow --account {account} {id}")
        } else {
            format!("The webhook is off. To deliver them: lynkhook webhook enable --account {account} {id}")
        };
        output::print(&format!("{deliveries} queued again. {next}\n"))?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_itself_or_as_an_age() {
        assert_eq!(since("2h"), Ok(Since::Ago(Duration::from_secs(7200))));
        assert_eq!(since("1d 30m"), Ok(Since::Ago(Duration::from_secs(88_200))));
        let noon = "2026-03-26T12:00:00Z".parse().unwrap();
        assert_eq!(since("2026-03-26T14:00:00+02:00"), Ok(Since::At(noon)));
        for bad in ["", "2", "2M", "yesterday", "2026-03-26", "-2h"] {
            assert!(since(bad).is_err(), "{bad:?}");
        }
    }
}
