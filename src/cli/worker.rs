//! `lynkhook worker`.

use super::{Exit, signal::on_signal};
use crate::{config::Settings, store::UserRole, worker};

/// Runs a worker until a signal; a second signal ends it at once.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    // Before anything else, so that no signal comes too early.
    let stop = on_signal()?;
    let (store, vault) = super::open(settings).await?;
    store.require_rights(UserRole::Worker).await?;
    super::raise_file_limit();
    super::warn_of_egress(settings);
    super::warn_of_no_key(settings, "fail");
    worker::run(settings, store, vault, stop).await?;
    Ok(Exit::Success)
}
