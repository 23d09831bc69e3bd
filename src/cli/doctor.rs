//! `lynkhook doctor`: is this Redis fit for what it is trusted with, and does the queue get on? One line for each check,
//! with what to do.

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
    /// What the user in redis.url is for: each right that this takes is tried, and nothing is changed.
    #[arg(long, value_enum, default_value_t = For::Worker)]
    role: For,
}

/// What a Redis user is for. The HTTP API will be one more.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum For {
    /// `lynkhook worker`
    Worker,
    /// `lynkhook enqueue`, and backends
    Producer,
    /// all other commands
    Operator,
}

impl From<For> for UserRole {
    fn from(role: For) -> Self {
        match role {
            For::Worker => Self::Worker,
            For::Producer => Self::Producer,
            For::Operator => Self::Operator,
        }
    }
}

/// Runs it. The exit code is 5 where a check failed.
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
