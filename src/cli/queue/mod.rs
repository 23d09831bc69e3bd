//! `lynkhook queue`: what operators see of the queue, and what they do with entries that were rejected.

mod rejected;
mod status;

use clap::Subcommand;

use super::{Exit, open, output};
use crate::{config::Settings, queue::Queue};

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what is queued, in flight, waiting, held, failed, rejected and dropped, and which workers are alive.
    Status {
        /// Show it again every 2 s, until Ctrl-C.
        #[arg(long)]
        watch: bool,
        /// Print JSON: one object, or one a line while watching.
        #[arg(long)]
        json: bool,
    },
    /// Look at entries that were no event, put them back into the queue, or drop them.
    #[command(subcommand)]
    Rejected(rejected::Command),
}

/// Runs it.
pub(super) async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    let queue = async || anyhow::Ok(Queue::new(open(settings).await?.0));
    match command {
        Command::Status { watch: true, json } => {
            // Before anything else, so that no Ctrl-C finds the process without an ear.
            let stop = super::signal::on_signal()?;
            status::watch(&queue().await?, &stop, json).await
        }
        Command::Status { watch: false, json } => status::show(&queue().await?, json).await,
        Command::Rejected(command) => rejected::run(&queue().await?, command).await,
    }
}
