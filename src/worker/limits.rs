//! A worker starts only if it may open enough files for its connections and Redis allows it enough clients.

use rustix::process::{Resource, getrlimit};

use super::WorkerError;
use crate::{config::Settings, store::Store};

/// Files for everything but connections to endpoints, connections to Redis and the threads' own: probes, the standard
/// streams.
const OTHER_FILES: usize = 64;
/// Files that a thread needs apart from its connections: those that wake it.
const THREAD_FILES: usize = 4;

/// The settings, with `egress.max_connections` lowered to the number of files that may be open.
pub(super) fn within_files(settings: &Settings, partitions: u16) -> Result<Settings, WorkerError> {
    let mut settings = settings.clone();
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(settings) };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let besides = OTHER_FILES + settings.redis_connections(partitions) + THREAD_FILES * settings.threads();
    let (connections, needed) = (limit.saturating_sub(besides), settings.connections_needed());
    if connections < needed {
        let settings = if besides > needed {
            "worker.threads or queue.partitions, which need most of them"
        } else {
            "worker.concurrency"
        };
        return Err(WorkerError::Files { limit, besides, connections, needed, settings });
    }
    let most = &mut settings.egress.max_connections;
    *most = connections.min(*most);
    Ok(settings)
}

/// Refuses a Redis that does not allow the clients that this process needs and one more to enqueue. A Redis that does
/// not tell its limit is accepted.
pub(super) async fn within_clients(settings: &Settings, store: &Store) -> Result<(), WorkerError> {
    let (threads, partitions) = (settings.threads(), store.keys().partitions());
    let needed = settings.redis_connections(partitions);
    match store.max_clients().await? {
        Some(most) if needed as u64 >= most => Err(WorkerError::Clients { most, needed, threads, partitions }),
        _ => Ok(()),
    }
}
