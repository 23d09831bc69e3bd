//! The reasons why a worker could not start, or did not go on.

use std::net::SocketAddr;

use crate::{domain::failure::Failure, sender::SenderError, store::StoreError};

/// The reason why a worker could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Redis is out of reach, refuses, or is unfit.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client could not be set up.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// A thread could not be started.
    #[error("worker.threads: a thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// A thread ended without being told to.
    #[error("a worker's thread ended by a fault of this program")]
    ThreadEnded,
    /// One of its loops panicked. A worker without that loop would do harm.
    #[error("the worker stopped by a fault of this program: one of its loops panicked, and the log says where")]
    Panicked,
    /// The limit on open files leaves too few connections.
    #[error(
        "this process may have {limit} files open: {besides} are for Redis and internal use, which leaves {connections} connections to endpoints, but worker.concurrency needs {needed}; raise the limit (ulimit -n), or lower {settings}"
    )]
    Files {
        /// The limit on open files.
        limit: usize,
        /// The files that are needed for everything but endpoints.
        besides: usize,
        /// The connections to endpoints that the limit leaves.
        connections: usize,
        /// The connections to endpoints that `worker.concurrency` needs.
        needed: usize,
        /// The settings that need most files.
        settings: &'static str,
    },
    /// Redis allows too few clients.
    #[error(
        "this Redis allows {most} clients (maxclients), but a worker needs {needed} connections: each of {threads} threads has one, and one more for each of {partitions} partitions; raise maxclients, or lower worker.threads or queue.partitions"
    )]
    Clients {
        /// Redis's limit on clients.
        most: u64,
        /// The connections that the worker needs.
        needed: usize,
        /// The number of threads.
        threads: usize,
        /// The number of partitions.
        partitions: u16,
    },
    /// The address for health probes cannot be listened on.
    #[error("worker.health_bind: cannot listen on {address}")]
    Health {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
}

impl WorkerError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Store(error) => error.failure(),
            Self::Sender(error) => error.failure(),
            Self::Health { .. } | Self::Files { .. } | Self::Clients { .. } => Failure::Usage,
            Self::Thread(_) | Self::ThreadEnded | Self::Panicked => Failure::Broken,
        }
    }
}
