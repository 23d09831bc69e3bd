//! `lynkhook doctor`: checks whether Redis is safe for events and whether the queue makes progress. Each check prints
//! one line, with advice if something is wrong.

use clap::Args;

use super::{
    Exit,
    output::{self, clean, flexible, render, table},
};
use crate::{
    config::Settings,
    queue::{Finding, UserRole, Verdict, doctor},
    telemetry,
};

/// Flags.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Role of the user in redis.url: each permission that the role needs is tried, without changing anything.
    #[arg(long, value_enum, default_value_t = For::Worker)]
    role: For,
}

/// The role of a Redis user.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum For {
    /// `lynkhook worker`
    Worker,
    /// `lynkhook enqueue`, and backends that send events
    Producer,
    /// commands that only look, such as `lynkhook queue status`
    Operator,
    /// `lynkhook server`, and commands that change something
    Server,
}

impl From<For> for UserRole {
    fn from(role: For) -> Self {
        match role {
            For::Worker => Self::Worker,
            For::Producer => Self::Producer,
            For::Operator => Self::Operator,
            For::Server => Self::Server,
        }
    }
}

/// Runs it. The exit code is 5 if a check failed.
pub(super) async fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<Exit> {
    telemetry::init(&settings.log)?;
    let findings = doctor::examine(settings, flags.role.into()).await;
    if flags.json {
        output::print_json(&findings)?;
    } else {
        let rows = findings.iter().map(|Finding { check, verdict, found, advice }| {
            let advice = advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
            [verdict.to_string(), (*check).to_owned(), clean(&format!("{found}{advice}")).into_owned()]
        });
        output::print(&render(flexible(table(["", "", ""], rows), [2]), output::width()))?;
    }
    let worst = findings.iter().map(|finding| finding.verdict).max();
    Ok(if worst == Some(Verdict::Fail) { Exit::Redis } else { Exit::Success })
}
