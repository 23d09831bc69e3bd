//! `lynkhook server`.

use super::{Exit, signal::on_signal};
use crate::{config::Settings, server::Server, store::UserRole};

/// Serves the API until a signal; a second signal ends it at once.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    // Before anything else, so that no signal comes too early.
    let stop = on_signal()?;
    let (store, vault) = super::open(settings).await?;
    store.require_rights(UserRole::Server).await?;
    super::raise_file_limit();
    super::warn_of_egress(settings);
    super::warn_of_no_key(settings, "are refused");
    let server = Server::open(settings, store, vault, stop).await?;
    tracing::info!(address = %server.address()?, "the API is served; its documentation is at /docs");
    server.serve().await;
    Ok(Exit::Success)
}
