//! `lynkhook queue`: shows operators the queue's figures, and lets them handle rejected entries.

mod rejected;
mod status;

use clap::Subcommand;

use super::{Exit, open, output};
use crate::{config::Settings, queue::Queue};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show how much is queued, in flight, waiting, held, failed, rejected and dropped, and which workers are alive.
    Status {
        /// Refresh every 2 s, until Ctrl-C.
        #[arg(long)]
        watch: bool,
        /// Print JSON (with --watch, one object per line).
        #[arg(long)]
        json: bool,
    },
    /// List rejected entries (queue entries that are not valid events), put them back into the queue, or drop them.
    #[command(subcommand)]
    Rejected(rejected::Command),
}

/// Runs it.
pub(super) async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    let queue = async || anyhow::Ok(Queue::new(open(settings).await?.0));
    match command {
        Command::Status { watch: true, json } => {
            // Before anything else, so that no Ctrl-C comes before the process listens for it.
            let stop = super::signal::on_signal()?;
            status::watch(&queue().await?, &stop, json).await
        }
        Command::Status { watch: false, json } => status::show(&queue().await?, json).await,
        Command::Rejected(command) => rejected::run(&queue().await?, command).await,
    }
}
