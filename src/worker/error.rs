//! Why a worker could not start, or did not go on.

use std::net::SocketAddr;

use crate::{domain::failure::Failure, sender::SenderError, store::StoreError};

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Redis.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client for requests.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// A thread could not be started.
    #[error("worker.threads: a thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// A thread ended although nobody told it to.
    #[error("a worker's thread ended by a fault of this program")]
    ThreadEnded,
    /// One of its loops panicked, and without that loop it would do harm.
    #[error("the worker stopped by a fault of this program: one of its loops panicked, and the log says where")]
    Panicked,
    /// The limit of open files leaves too few connections.
    #[error(
        "this process may have {limit} files open; {besides} are for connections to Redis and the like, {connections} are left for connections to endpoints, and worker.concurrency needs {needed} of those: raise the limit (ulimit -n) or lower {settings}"
    )]
    Files {
        /// The limit.
        limit: usize,
        /// Files for everything but endpoints.
        besides: usize,
        /// What it leaves.
        connections: usize,
        /// What is needed.
        needed: usize,
        /// The settings that need most.
        settings: &'static str,
    },
    /// Redis allows too few clients.
    #[error(
        "this Redis allows {most} clients (maxclients), and a worker needs {needed} connections to it: each of {threads} threads has one and another for each of {partitions} partitions; raise maxclients, or lower worker.threads or queue.partitions"
    )]
    Clients {
        /// The limit.
        most: u64,
        /// The connections that it needs.
        needed: usize,
        /// Threads.
        threads: usize,
        /// Partitions.
        partitions: u16,
    },
    /// The address for health probes cannot be listened on.
    #[error("worker.health_bind: cannot listen on {address}")]
    Health {
        /// The address.
        address: SocketAddr,
        /// Why not.
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
