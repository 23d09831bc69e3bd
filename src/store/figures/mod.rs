//! Facts for operators: the queue's figures, those of live workers, and whether a Redis and its user can serve.

mod away;
mod examine;
mod known_keys;
mod rights;
mod servers;
mod status;
mod workers;

pub use self::{
    away::AwayMaster,
    examine::{Examination, Fact, Group},
    known_keys::KnownKeys,
    rights::{Missing, UserRole, for_shell},
    servers::{Clock, Server, ServerFacts},
    status::{Holding, Kept, PartitionFigures, Planned, QueueFigures, Retries, Status, WEBHOOKS_MAX},
    workers::{Limited, LiveWorker, WorkerFigures},
};
