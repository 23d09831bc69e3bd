//! The command line: one file for each noun. People get tables, scripts get `--json`, and each exit code has one
//! meaning.

mod account;
mod apikey;
mod completions;
mod dev;
mod doctor;
mod egress;
mod enqueue;
mod exit;
mod health;
mod output;
mod queue;
mod secrets;
mod server;
mod signal;
mod webhook;
mod worker;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use secrecy::{ExposeSecret, SecretString};

pub use self::exit::Exit;
use crate::{
    config::{ConfigError, Settings},
    secrets::Vault,
    store::Store,
    telemetry,
};

/// Webhook delivery: a durable job queue over Redis that delivers event envelopes to customers' HTTPS endpoints.
#[derive(Debug, Parser)]
#[command(name = "lynkhook", version, propagate_version = true, disable_help_subcommand = true)]
struct Arguments {
    /// Settings file (TOML). It overrides the defaults; the environment overrides it.
    #[arg(long, global = true, value_name = "FILE", env = "LYNKHOOK_CONFIG")]
    config: Option<PathBuf>,
    /// Address of Redis. For a URL with a password, prefer the environment (`LYNKHOOK_REDIS__URL`).
    #[arg(long, global = true, value_name = "URL", hide_env_values = true)]
    redis_url: Option<SecretString>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Deliver events from the queue until SIGTERM or Ctrl-C.
    Worker,
    /// Serve the HTTP API until SIGTERM or Ctrl-C.
    Server,
    /// Try Lynkhook: starts a private Redis, a worker and an endpoint that fails on demand. Ctrl-C ends it.
    Dev(dev::Flags),
    /// Manage an account's webhooks: add, edit, test, delete, read delivery logs, redeliver.
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Show the queue's figures, and handle rejected entries.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Delete all webhooks of an account.
    #[command(subcommand)]
    Account(account::Command),
    /// Manage the keys of the HTTP API: add, list, revoke, rotate.
    #[command(subcommand, name = "apikey")]
    ApiKey(apikey::Command),
    /// Check Redis and the queue, and say what to fix. Exit code 5 if a check fails.
    Doctor(doctor::Flags),
    /// Ask a worker or server of this machine whether it is healthy. Exit code 1 if not.
    Health(health::Flags),
    /// Check whether a URL, host name, IP address or header is allowed, and if not, why.
    #[command(subcommand)]
    Egress(egress::Command),
    /// Make the key that seals customers' secrets, or replace it.
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Print a completion script for your shell.
    Completions(completions::Arguments),
    /// Put events into an account's queue, from a file or from standard input.
    Enqueue(enqueue::Arguments),
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are reported as errors too, but they are not mistakes.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    // A worker is one thread, so that no work moves from core to core; moving it costs a third of a delivery. To use
    // more cores, run more workers.
    let mut runtime = match arguments.command {
        Command::Worker => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build().expect("threads can be started");
    let result = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            for line in exit::lines(&error) {
                output::say(format_args!("error: {line}"));
            }
            Exit::of(&error).into()
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let redis_url = arguments.redis_url.map(|url| ("redis.url", url.expose_secret().to_owned()));
    let flags: Vec<(&str, String)> = redis_url.into_iter().collect();
    let settings = || -> Result<Settings, ConfigError> {
        Settings::load_with(arguments.config.as_deref(), std::env::vars_os(), &flags)
    };
    match arguments.command {
        Command::Worker => worker::run(&settings()?).await,
        Command::Server => server::run(&settings()?).await,
        Command::Dev(options) => dev::run(&options, arguments.config.as_deref(), &flags).await,
        Command::Webhook(command) => webhook::run(&settings()?, command).await,
        Command::Queue(command) => queue::run(&settings()?, command).await,
        Command::Account(command) => account::run(&settings()?, command).await,
        Command::ApiKey(command) => apikey::run(&settings()?, command).await,
        Command::Doctor(flags) => doctor::run(&settings()?, &flags).await,
        Command::Health(flags) => health::run(&settings()?, &flags).await,
        Command::Egress(command) => egress::run(&settings()?, command).await,
        Command::Secrets(command) => secrets::run(command, settings).await,
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Enqueue(arguments) => enqueue::run(arguments, &settings()?).await,
    }
}

/// Starts logging, and opens the store and the vault, which most commands need.
async fn open(settings: &Settings) -> anyhow::Result<(Store, Vault)> {
    telemetry::init(&settings.log)?;
    let vault = Vault::new(settings.secrets.key.as_ref())?;
    Ok((Store::open(settings).await?, vault))
}

/// Raises the limit of open files to the maximum. Each connection needs a file, and many systems start a process with a
/// limit of 1024 although it may have far more.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, ?current, ?maximum, "cannot raise the limit of open files");
    }
}

/// Logs that secrets cannot be opened, if no key is set.
fn warn_of_no_key(settings: &Settings, consequence: &str) {
    if settings.secrets.key.is_none() {
        tracing::warn!(
            "no key for secrets is set (secrets.key, secrets.key_file), so webhooks with authentication {consequence}"
        );
    }
}

/// Logs what the settings permit besides public addresses and the system's authorities.
fn warn_of_egress(settings: &Settings) {
    if !settings.egress.allow.is_empty() {
        tracing::warn!(
            allow = settings.egress.allow.join(","),
            "egress.allow permits requests to addresses that are not public"
        );
    }
    if let Some(file) = &settings.egress.extra_ca {
        tracing::warn!(file = %file.display(), "egress.extra_ca is trusted in addition to the system's authorities");
    }
}
