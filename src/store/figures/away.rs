//! A master that is away, as operators are told of it.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::text::numbers,
    store::{Master, StoreError},
};

/// A master of a cluster that does not answer. Nothing is known of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AwayMaster {
    /// Its host and port.
    pub master: String,
    /// Its partitions, in order.
    pub partitions: Vec<u16>,
    /// The error.
    pub error: String,
}

impl AwayMaster {
    /// The master whose question ended with this error; `None` if it is the only server.
    pub(crate) fn of(Master { address, partitions }: &Master, error: &StoreError) -> Option<Self> {
        Some(Self { master: address.clone()?, partitions: partitions.clone(), error: error.to_string() })
    }
}

/// The error, which names the master, and its partitions.
impl fmt::Display for AwayMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (its partitions: {})", self.error, numbers(&self.partitions))
    }
}
