//! The parts of a worker. No part knows the worker, so each can be read by itself.

pub(super) mod alarms;
pub(super) mod batch;
pub(super) mod bytes_in_hand;
pub(super) mod clock;
pub(super) mod counters;
pub(super) mod endpoints;
pub(super) mod heartbeat;
pub(super) mod hosts;
pub(super) mod in_hand;
pub(super) mod leases;
pub(super) mod local_exhaustion;
pub(super) mod names;
pub(super) mod no_room;
pub(super) mod partition;
pub(super) mod redis_health;
pub(super) mod room;
pub(super) mod rules;
pub(super) mod slots;
pub(super) mod stop;
pub(super) mod suspects;
pub(super) mod vitals;
