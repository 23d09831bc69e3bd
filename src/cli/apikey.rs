//! `lynkhook apikey`: the keys with which backends use the HTTP API.

use std::time::Duration;

use clap::Subcommand;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{
    Exit,
    output::{self, clean, flexible, render, table},
};
use crate::{
    access::{Added, ApiKeys, KeyView, NewKey},
    config::Settings,
    domain::{
        account::AccountId,
        api_key::{KeyId, Scopes},
    },
    store::Store,
    telemetry,
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a key, and print it. It is shown only now: Redis has its hash alone.
    ///
    /// A key works at once. Its scopes are: events:write, webhooks:read, webhooks:write (includes testing and
    /// redelivering), logs:read, payloads:read, portal, queue:read, admin (everything). A key for one account cannot
    /// have queue:read or admin.
    Add {
        /// Name for people, such as the service that uses the key.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Scope of the key; several with commas or spaces between them.
        #[arg(long = "scope", value_name = "SCOPE", required = true, num_args = 1..)]
        scopes: Vec<Scopes>,
        /// The only account that the key may touch.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<AccountId>,
        /// Time after which the key ends, such as 90d.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List all keys, without their secrets, each with the day of its last use.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key. Every server refuses it within 5 seconds.
    Revoke {
        /// The key's id: the 12 characters after `lynk_`.
        #[arg(value_name = "ID")]
        id: KeyId,
    },
    /// Replace a key: print a new one with the same name, scopes and account, and let the old one end.
    ///
    /// If the old key was to end, the new one lives as long from now.
    Rotate {
        /// The id of the key to replace.
        #[arg(value_name = "ID")]
        id: KeyId,
        /// Time for which the old key still works, such as 24h; 0s: not at all.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        overlap: Duration,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub(super) async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    telemetry::init(&settings.log)?;
    let keys = ApiKeys::new(Store::open(settings).await?);
    match command {
        Command::Add { name, scopes, account, expires, json } => {
            let scopes = scopes.iter().flat_map(Scopes::iter).collect();
            show(&keys.add(NewKey { name, scopes, account, expires }).await?, json)?;
        }
        Command::List { json } => list(&keys.list().await?, json)?,
        Command::Revoke { id } => {
            keys.revoke(&id).await?;
            output::print(&format!("Revoked the key {id}. Every server refuses it within 5 seconds.\n"))?;
        }
        Command::Rotate { id, overlap, json } => {
            show(&keys.rotate(&id, overlap).await?, json)?;
            if !json {
                let until = if overlap.is_zero() { "no longer works".to_owned() } else { works_for(overlap) };
                output::print(&format!("The old key {id} {until}.\n"))?;
            }
        }
    }
    Ok(Exit::Success)
}

fn works_for(overlap: Duration) -> String {
    format!("works for {} more", humantime::format_duration(overlap))
}

/// Prints a new key. This is the only place that prints one.
fn show(added: &Added, as_json: bool) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Shown<'a> {
        key: &'a str,
        #[serde(flatten)]
        view: &'a KeyView,
    }
    let (key, view) = (added.key.expose_secret(), &added.view);
    if as_json {
        return output::print_json(&Shown { key, view });
    }
    let account = view.account.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
    let expires = view.expires_at.as_deref().map_or_else(|| "never".to_owned(), output::time);
    let rows = [
        ["ID", view.id.as_str()],
        ["Name", &clean(&view.name)],
        ["Scopes", &view.scopes.to_string()],
        ["Account", &account],
        ["Expires", &expires],
    ];
    let rows = rows.map(|row| row.map(str::to_owned));
    output::print(&format!(
        "{}\nThis is the key. It is shown only now, so put it where its user finds it:\n\n{key}\n",
        render(flexible(table(["", ""], rows), [1]), output::width())
    ))
}

fn list(keys: &[KeyView], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::print_json(&keys);
    }
    if keys.is_empty() {
        return output::print("There are no API keys. Add one: lynkhook apikey add --name NAME --scope SCOPE\n");
    }
    let rows = keys.iter().map(|key| {
        let expires = match &key.expires_at {
            None => "never".to_owned(),
            Some(time) if key.expired => format!("{} (expired)", output::time(time)),
            Some(time) => output::time(time),
        };
        [
            key.id.to_string(),
            clean(&key.name).into_owned(),
            key.scopes.to_string(),
            key.account.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
            expires,
            key.last_used.as_deref().map_or_else(|| "never".to_owned(), |day| clean(day).into_owned()),
        ]
    });
    let header = ["ID", "Name", "Scopes", "Account", "Expires", "Last used"];
    output::print(&render(flexible(table(header, rows), [1, 2]), output::width()))
}

fn duration(text: &str) -> Result<Duration, String> {
    if text.contains('M') {
        return Err("\"M\" means months: write \"m\" for minutes, \"d\" for days".to_owned());
    }
    humantime::parse_duration(text).map_err(|_| "it is a number with a unit, such as 24h or 90d".to_owned())
}
