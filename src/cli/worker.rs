//! `lynkhook worker`.

use super::{Exit, signal::on_signal};
use crate::{config::Settings, worker};

/// Runs a worker until a signal; a second signal ends it at once.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    // Before anything else, so that no signal comes too early.
    let stop = on_signal()?;
    let (store, vault) = super::open(settings).await?;
    raise_file_limit();
    if !settings.egress.allow.is_empty() {
        tracing::warn!(
            allow = settings.egress.allow.join(","),
            "egress.allow permits requests to addresses that are not public"
        );
    }
    if let Some(file) = &settings.egress.extra_ca {
        tracing::warn!(file = %file.display(), "egress.extra_ca is trusted in addition to the system's authorities");
    }
    worker::run(settings, store, vault, stop).await?;
    Ok(Exit::Success)
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
