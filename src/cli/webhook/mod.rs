//! `lynkhook webhook`: manages an account's webhooks from a shell.
//!
//! [`crate::webhooks`] decides what is done and what is refused. This module has the flags (`input.rs`), the tables
//! (`tables/`), the following of a log (`follow.rs`), and held and failed deliveries (`kept.rs`). It never prints a secret, and takes
//! none from a flag.

mod follow;
mod input;
mod kept;
pub(super) mod tables;

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;

pub(super) use self::input::BadInput;
use self::input::{EditFlags, Flags, Look};
use super::{Exit, output};
use crate::{
    config::Settings,
    domain::{
        account::AccountId,
        log_entry::{LOG_LIMIT, Status},
        webhook::WebhookId,
    },
    sender::Sender,
    webhooks::{AuthenticationView, Dropped, Enabled, LogFilter, NewWebhook, View, Webhooks},
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a webhook to an account.
    Add {
        #[command(flatten)]
        account: Account,
        /// URL that receives the events: HTTPS, with a public host name.
        #[arg(long, value_name = "URL")]
        url: String,
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        format: Format,
    },
    /// List an account's webhooks, oldest first.
    List {
        #[command(flatten)]
        account: Account,
        #[command(flatten)]
        format: Format,
    },
    /// Show one webhook.
    Show {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        format: Format,
    },
    /// Change a webhook; settings that you do not name stay the same. Applies from the next attempt.
    Edit {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        flags: EditFlags,
        #[command(flatten)]
        format: Format,
    },
    /// Switch a webhook on; its held deliveries are delivered, oldest first.
    Enable {
        #[command(flatten)]
        target: Target,
        /// Drop the held deliveries instead of delivering them.
        #[arg(long)]
        discard_held: bool,
        #[command(flatten)]
        look: Look,
        #[command(flatten)]
        format: Format,
    },
    /// Switch a webhook off; its deliveries are held until it is switched on.
    Disable {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        look: Look,
        #[command(flatten)]
        format: Format,
    },
    /// Delete a webhook with its log, held and failed deliveries.
    Delete {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        look: Look,
        #[command(flatten)]
        format: Format,
    },
    /// Send the event webhook.test now, even if the webhook is off, and print the result (exit code 6 if it failed).
    Test {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        format: Format,
    },
    /// Show the delivery log: the most recent 50 attempts, newest first.
    Logs {
        #[command(flatten)]
        target: Target,
        /// Print the log, oldest entry first, then each new entry as it is written, until Ctrl-C.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        filter: FilterFlags,
        #[command(flatten)]
        format: Format,
    },
    /// List the deliveries that wait until the webhook is switched on or its endpoint has room, oldest first.
    Held {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        format: Format,
    },
    /// List the deliveries that failed for good and can be redelivered, newest first.
    Failed {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        format: Format,
    },
    /// Redeliver failed deliveries, starting at attempt 1. The receiver sees the same webhook-id.
    Redeliver {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        which: kept::WhichFlags,
        #[command(flatten)]
        format: Format,
    },
}

/// The account.
#[derive(Debug, Args)]
pub(super) struct Account {
    /// The customer's account.
    #[arg(long, value_name = "ACCOUNT")]
    account: AccountId,
}

/// The webhook.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The customer's account.
    #[arg(long, value_name = "ACCOUNT")]
    account: AccountId,
    /// The webhook's id, as shown by `lynkhook webhook list`.
    id: WebhookId,
}

/// The choice of log entries.
#[derive(Debug, Args)]
pub(super) struct FilterFlags {
    /// Only attempts that succeeded or failed.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,
    /// Only attempts of this event type.
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Only attempts of events with this identifier: its value, or name=value.
    #[arg(long, value_name = "VALUE")]
    identifier: Option<String>,
}

impl From<FilterFlags> for LogFilter {
    fn from(FilterFlags { status, event, identifier }: FilterFlags) -> Self {
        Self { status, event, identifier }
    }
}

fn status(text: &str) -> Result<Status, String> {
    match text {
        "success" => Ok(Status::Success),
        "failed" => Ok(Status::Failed),
        _ => Err("success or failed".to_owned()),
    }
}

/// The output format.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Format {
    /// Print JSON (with `logs --follow`, one object per line).
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Add { account, url, flags, format } => {
            let new = flags.into_new(url)?;
            add(&open(settings).await?, &account.account, new, format).await
        }
        Command::List { account, format } => list(&open(settings).await?, &account.account, format).await,
        Command::Show { target, format } => {
            let view = open(settings).await?.show(&target.account, target.id).await?;
            print(&view, "", format)
        }
        Command::Edit { target, flags, format } => {
            let edit = flags.into_edit()?;
            let view = open(settings).await?.edit(&target.account, target.id, edit).await?;
            print(&view, "", format)
        }
        Command::Enable { target, discard_held, look, format } => {
            let (Target { account, id }, revision) = (&target, look.revision);
            let enabled = open(settings).await?.enable(account, *id, discard_held, revision).await?;
            print_enabled(&enabled, format)
        }
        Command::Disable { target, look, format } => {
            let view = open(settings).await?.disable(&target.account, target.id, look.revision).await?;
            print(&view, "\nThe webhook is off: its deliveries are held until you switch it on.\n", format)
        }
        Command::Delete { target, look, format } => delete(&open(settings).await?, &target, look, format).await,
        Command::Test { target, format } => {
            let sender = Sender::new(&settings.delivery, &settings.egress, &settings.dns)?;
            test(&open(settings).await?, &sender, &target, format).await
        }
        Command::Logs { target, follow: true, filter, format } => {
            follow::run(&open(settings).await?, &target, &filter.into(), format.json).await
        }
        Command::Logs { target, follow: false, filter, format } => {
            logs(&open(settings).await?, &target, &filter.into(), format).await
        }
        Command::Held { target, format } => kept::held(&open(settings).await?, &target, format).await,
        Command::Failed { target, format } => kept::failed(&open(settings).await?, &target, format).await,
        Command::Redeliver { target, which, format } => {
            kept::redeliver(&open(settings).await?, &target, which.into(), format).await
        }
    }
}

async fn open(settings: &Settings) -> anyhow::Result<Webhooks> {
    let (store, vault) = super::open(settings).await?;
    Ok(Webhooks::new(settings, store, vault)?)
}

async fn add(webhooks: &Webhooks, account: &AccountId, new: NewWebhook, format: Format) -> anyhow::Result<Exit> {
    let view = webhooks.add(account, new).await?;
    print(&view, "", format)?;
    if format.json {
        return Ok(Exit::Success);
    }
    if matches!(view.authentication, AuthenticationView::None) {
        // On standard error, because it is advice and not the requested output.
        output::say(format_args!("\n{}", tables::advice_to_authenticate(&view)));
    }
    output::print(&format!("\nNow test it: lynkhook webhook test --account {account} {}\n", view.id))?;
    Ok(Exit::Success)
}

async fn list(webhooks: &Webhooks, account: &AccountId, format: Format) -> anyhow::Result<Exit> {
    let views = webhooks.list(account).await?;
    if format.json {
        output::print_json(&views)?;
    } else if views.is_empty() {
        output::print(&format!(
            "Account {account} has no webhooks. Add one: lynkhook webhook add --account {account} --url URL\n"
        ))?;
    } else {
        output::print(&tables::webhooks(&views, output::width()))?;
    }
    Ok(Exit::Success)
}

fn print_enabled(enabled: &Enabled, format: Format) -> anyhow::Result<Exit> {
    if format.json {
        output::print_json(enabled)?;
        return Ok(Exit::Success);
    }
    let meaning = match enabled.held_discarded {
        None => "\nThe webhook is on: held deliveries are delivered, oldest first.\n".to_owned(),
        Some(1) => "\nThe webhook is on; 1 held delivery was dropped.\n".to_owned(),
        Some(dropped) => format!("\nThe webhook is on; {dropped} held deliveries were dropped.\n"),
    };
    print(&enabled.view, &meaning, format)
}

async fn delete(webhooks: &Webhooks, target: &Target, look: Look, format: Format) -> anyhow::Result<Exit> {
    let Target { account, id } = target;
    let deleted = webhooks.delete(account, *id, look.revision).await?;
    let Dropped { held, failed } = deleted.dropped;
    if format.json {
        output::print_json(&deleted)?;
    } else {
        output::print(&format!(
            "Deleted {id} of account {account}, with its delivery log, {held} held and {failed} failed deliveries.\n"
        ))?;
    }
    Ok(Exit::Success)
}

async fn test(webhooks: &Webhooks, sender: &Sender, target: &Target, format: Format) -> anyhow::Result<Exit> {
    // Drawn on standard error, and only on a terminal.
    let spinner = if format.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.set_message("waiting for the endpoint");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let tested = webhooks.test(sender, &target.account, target.id).await;
    spinner.finish_and_clear();
    let tested = tested?;
    if format.json {
        output::print_json(&tested)?;
    } else {
        output::print(&tables::tested(&tested.entry))?;
    }
    Ok(match tested.entry.status {
        Status::Success => Exit::Success,
        Status::Failed => Exit::TestFailed,
    })
}

async fn logs(webhooks: &Webhooks, target: &Target, filter: &LogFilter, format: Format) -> anyhow::Result<Exit> {
    let entries = webhooks.logs(&target.account, target.id, filter, None, LOG_LIMIT).await?.items;
    if format.json {
        output::print_json(&entries)?;
    } else if entries.is_empty() && *filter != LogFilter::default() {
        output::print("No entry of the log matches.\n")?;
    } else if entries.is_empty() {
        let Target { account, id } = target;
        output::print(&format!(
            "No deliveries yet. Send a test event: lynkhook webhook test --account {account} {id}\n"
        ))?;
    } else {
        output::print(&tables::log(&entries, output::width()))?;
    }
    Ok(Exit::Success)
}

/// Prints one webhook. In the output for people, `meaning` follows it.
fn print(view: &View, meaning: &str, format: Format) -> anyhow::Result<Exit> {
    if format.json {
        output::print_json(view)?;
    } else {
        output::print(&(tables::webhook(view, output::width()) + meaning))?;
    }
    Ok(Exit::Success)
}
