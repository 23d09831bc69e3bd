//! `lynkhook secrets`: makes keys that seal customers' secrets, and replaces a key while everything runs.

use std::io::IsTerminal;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    Exit, open,
    output::{self, clean, flexible, render, table},
};
use crate::{
    config::{ConfigError, Settings},
    secrets::Vault,
    webhooks::{NotResealed, Rotation, Webhooks},
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a new key. Store it in a file, and name that file in `LYNKHOOK_SECRETS__KEY_FILE`.
    NewKey,
    /// Re-seal with the first key every secret that another key sealed. Safe while everything runs, and safe to repeat.
    ///
    /// To replace a key: 1. add the new key after the old one for all processes, and restart them; 2. put it first for
    /// all processes, and restart them; 3. run this command; 4. when it says that nothing is sealed with another key,
    /// remove the old one and restart all processes. Exit code 1 if a secret could not be re-sealed.
    Rotate {
        /// Change nothing: say which secrets would be re-sealed and which cannot be opened.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs it. Making a key needs neither settings nor Redis, because a key is made before both exist.
pub(super) async fn run(
    command: Command,
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
) -> anyhow::Result<Exit> {
    match command {
        Command::NewKey => new_key(),
        Command::Rotate { dry_run, json } => rotate(&settings()?, dry_run, json).await,
    }
}

fn new_key() -> anyhow::Result<Exit> {
    let mut line = Vault::new_key();
    line.push('\n');
    output::print(&line)?;
    if std::io::stdout().is_terminal() {
        super::output::say(format_args!(
            "hint: keep the key in a file that only its owner can read, and give all processes the file's name:\n  \
             (umask 077; lynkhook secrets new-key > FILE)   # mode 0600\n  \
             export LYNKHOOK_SECRETS__KEY_FILE=FILE"
        ));
    }
    Ok(Exit::Success)
}

async fn rotate(settings: &Settings, dry_run: bool, as_json: bool) -> anyhow::Result<Exit> {
    let (store, vault) = open(settings).await?;
    let webhooks = Webhooks::new(settings, store, vault)?;
    // Drawn on standard error, and only on a terminal. The total is not shown, because nothing counts the webhooks.
    let bar = if as_json { ProgressBar::hidden() } else { ProgressBar::no_length() };
    bar.set_style(ProgressStyle::with_template("{spinner} webhooks checked: {human_pos}")?);
    let rotated = webhooks.rotate(dry_run, |rotation| bar.set_position(rotation.webhooks())).await;
    bar.finish_and_clear();
    let rotation = rotated?;
    if as_json {
        output::print_json(&rotation)?;
    } else {
        output::print(&to_text(&rotation, output::width()))?;
    }
    Ok(if rotation.not_resealed == 0 { Exit::Success } else { Exit::Other })
}

fn to_text(rotation: &Rotation, width: Option<u16>) -> String {
    let Rotation { already, dry_run, failures, key, not_resealed, resealed, without_secret } = rotation;
    let did = if *dry_run { "Would re-seal" } else { "Re-sealed" };
    let mut text = format!(
        "{did} {} with the key {key}; {already} already sealed with it, {} without a secret.\n",
        counted(*resealed, "secret"),
        counted(*without_secret, "webhook"),
    );
    if *not_resealed == 0 {
        let nothing = !*dry_run || *resealed == 0;
        text += if nothing { "Nothing is sealed with another key.\n" } else { "" };
        return text;
    }
    let row = |failure: &NotResealed| {
        let key = failure.why.missing_key().unwrap_or("-").to_owned();
        [failure.account.to_string(), webhook(failure), key, clean(&failure.why.to_string()).into_owned()]
    };
    let header = ["Account", "Webhook", "Missing key", "Why"];
    let named = render(flexible(table(header, failures.iter().map(row)), [3]), width);
    let more = match not_resealed - failures.len() as u64 {
        0 => String::new(),
        unnamed => format!("… and {unnamed} more\n"),
    };
    format!(
        "{text}\nThese could not be re-sealed and stay as they are ({not_resealed}):\n\n{named}{more}\n\
         Give this process the missing keys too, or set the authentication of those webhooks again. Until then, keep \
         every key that is in use.\n"
    )
}

fn webhook(failure: &NotResealed) -> String {
    failure.webhook.as_deref().map_or_else(|| "-".to_owned(), |id| clean(id).into_owned())
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{secrets::SecretsError, webhooks::WhyNot};

    #[test]
    fn a_rotation_says_when_nothing_is_sealed_with_another_key_and_only_then() {
        let mut done =
            Rotation { key: "0a1b2c3d".into(), resealed: 1, already: 2, without_secret: 1, ..Rotation::default() };
        assert_eq!(
            to_text(&done, None),
            "Re-sealed 1 secret with the key 0a1b2c3d; 2 already sealed with it, 1 webhook without a secret.\n\
             Nothing is sealed with another key.\n"
        );
        done.dry_run = true;
        assert!(!to_text(&done, None).contains("Nothing is sealed"), "one would be re-sealed");
        assert!(to_text(&Rotation { dry_run: true, ..Rotation::default() }, None).contains("Nothing is sealed"));
        let error = SecretsError::OtherKey { sealed_with: "deadbeef".into(), present: "0a1b2c3d".into() };
        let why = WhyNot::Secret(error);
        let failure = NotResealed { account: "acme".parse().unwrap(), webhook: Some("wh_1".into()), why };
        let stuck = Rotation { dry_run: false, not_resealed: 2, failures: vec![failure], ..done };
        let text = to_text(&stuck, Some(80));
        for words in ["wh_1", "deadbeef", "acme", "… and 1 more", "stay as they are (2)"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("Nothing is sealed"), "{text}");
        assert_eq!(
            serde_json::to_string(&stuck).unwrap(),
            r#"{"already":2,"dryRun":false,"failures":[{"account":"acme","missingKey":"deadbeef","reason":"the secret was sealed with the key deadbeef, and this process has 0a1b2c3d","webhook":"wh_1"}],"key":"0a1b2c3d","notResealed":2,"resealed":1,"withoutSecret":1}"#
        );
    }
}
