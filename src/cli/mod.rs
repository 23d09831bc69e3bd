//! The command line: one file for each noun. Tables for people, `--json` for scripts, and exit codes that mean one
//! thing each.

mod account;
mod completions;
mod dev;
mod doctor;
mod egress;
mod enqueue;
mod exit;
mod output;
mod queue;
mod secrets;
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
    /// Settings file in TOML, over the defaults and under the environment.
    #[arg(long, global = true, value_name = "FILE", env = "LYNKHOOK_CONFIG")]
    config: Option<PathBuf>,
    /// Where Redis is; the environment (`LYNKHOOK_REDIS__URL`) is the better place for one with a password.
    #[arg(long, global = true, value_name = "URL", hide_env_values = true)]
    redis_url: Option<SecretString>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take events from the queue and deliver them, until SIGTERM or Ctrl-C.
    Worker,
    /// Try it: a Redis of its own, a worker and an endpoint that fails as told, all in one process, until Ctrl-C.
    Dev(dev::Flags),
    /// Add, look at, edit, switch, test and delete an account's webhooks, and read their delivery logs.
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Look at the queue, and at what was rejected.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Delete all that belongs to an account.
    #[command(subcommand)]
    Account(account::Command),
    /// Is this Redis fit, and does the queue get on? Says what to do; exit code 5 where something fails.
    Doctor(doctor::Flags),
    /// Would this URL, host name, address or header be allowed, and why not.
    #[command(subcommand)]
    Egress(egress::Command),
    /// Make keys that seal customers' secrets, and seal secrets anew.
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Print the completion script of a shell.
    Completions(completions::Arguments),
    /// Put events into the queue: one envelope, or one a line.
    Enqueue(enqueue::Arguments),
}

/// Runs the program and answers its exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too, and are no mistake.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    // A worker is one thread: nothing it does is handed from core to core, which costs a third of a delivery. There are
    // more workers where there are more cores.
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
        Command::Dev(options) => dev::run(&options, arguments.config.as_deref(), &flags).await,
        Command::Webhook(command) => webhook::run(&settings()?, command).await,
        Command::Queue(command) => queue::run(&settings()?, command).await,
        Command::Account(command) => account::run(&settings()?, command).await,
        Command::Doctor(flags) => doctor::run(&settings()?, &flags).await,
        Command::Egress(command) => egress::run(&settings()?, command).await,
        Command::Secrets(command) => secrets::run(command, settings).await,
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Enqueue(arguments) => enqueue::run(arguments, &settings()?).await,
    }
}

/// What most commands stand on: logging, the store, the vault.
async fn open(settings: &Settings) -> anyhow::Result<(Store, Vault)> {
    telemetry::init(&settings.log)?;
    let vault = Vault::new(settings.secrets.key.as_ref())?;
    Ok((Store::open(settings).await?, vault))
}
