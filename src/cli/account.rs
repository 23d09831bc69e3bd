//! `lynkhook account`: commands that concern a whole account.

use std::io::{IsTerminal, Write};

use clap::Subcommand;

use super::{Exit, open, output};
use crate::{
    config::Settings,
    domain::account::AccountId,
    webhooks::{Dropped, Webhooks},
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Delete all webhooks of an account, with their logs, held and failed deliveries, and end its portal sessions.
    ///
    /// Deliveries that are still queued, or wait for a retry, are dropped and counted when a worker reaches them.
    /// Rejected entries stay, because their account is not certain: see `lynkhook queue rejected`.
    Purge {
        /// The customer's account.
        #[arg(long, value_name = "ACCOUNT")]
        account: AccountId,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// There is no terminal to ask for confirmation on.
#[derive(Debug, thiserror::Error)]
#[error("a purge cannot be undone, and there is no terminal to confirm it on: add --yes")]
pub(super) struct Unconfirmed;

/// Runs it.
pub(super) async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    let Command::Purge { account, yes, json } = command;
    let somebody_there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !yes && !somebody_there {
        return Err(Unconfirmed.into());
    }
    let (store, vault) = open(settings).await?;
    let webhooks = Webhooks::new(settings, store, vault)?;
    if !yes && !confirmed(&account)? {
        super::output::say(format_args!("Nothing was deleted."));
        return Ok(Exit::Other);
    }
    purge(&webhooks, &account, json).await
}

async fn purge(webhooks: &Webhooks, account: &AccountId, as_json: bool) -> anyhow::Result<Exit> {
    let purged = webhooks.purge(account).await?;
    let Dropped { held, failed } = purged.dropped;
    if as_json {
        output::print_json(&purged)?;
    } else if purged.webhooks.is_empty() {
        output::print(&format!("Account {account} has no webhooks; there was nothing to delete.\n"))?;
    } else {
        let count = match purged.webhooks.len() {
            1 => "1 webhook".to_owned(),
            count => format!("{count} webhooks"),
        };
        output::print(&format!(
            "Deleted {count} of account {account}, with delivery logs, {held} held and {failed} failed deliveries.\n\
             Deliveries that are still queued for it are dropped and counted when a worker reaches them.\n"
        ))?;
    }
    Ok(Exit::Success)
}

fn confirmed(account: &AccountId) -> std::io::Result<bool> {
    eprint!("Delete all webhooks of account {account}, with their logs, held and failed deliveries? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
