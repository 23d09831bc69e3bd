//! `lynkhook secrets`: keys that seal customers' secrets.

use std::io::IsTerminal;

use clap::Subcommand;

use super::{Exit, output};
use crate::secrets::Vault;

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a new key, for `LYNKHOOK_SECRETS__KEY_FILE`.
    NewKey,
}

/// Runs it. Needs neither settings nor Redis: it comes before both.
pub(super) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::NewKey => {
            let mut line = Vault::new_key();
            line.push('\n');
            output::print(&line)?;
            if std::io::stdout().is_terminal() {
                eprintln!(
                    "hint: keep it in a file that only its owner can read, and name that file to servers and workers:\n  \
                     (umask 077; lynkhook secrets new-key > FILE)   # mode 0600\n  \
                     export LYNKHOOK_SECRETS__KEY_FILE=FILE"
                );
            }
            Ok(Exit::Success)
        }
    }
}
