//! `lynkhook completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Exit, output};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell that will read the script.
    shell: Shell,
}

/// Prints the completion script.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    // Into memory first: the generator panics if it cannot write, and a reader may leave early.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "lynkhook", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
