//! What a worker consists of. None of these parts knows the worker, so each can be read by itself.

pub(crate) mod alarms;
pub(crate) mod batch;
pub(crate) mod bytes_in_hand;
pub(crate) mod clock;
pub(crate) mod endpoints;
pub(crate) mod hosts;
pub(crate) mod in_hand;
pub(crate) mod leases;
pub(crate) mod names;
pub(crate) mod no_room;
pub(crate) mod partition;
pub(crate) mod room;
pub(crate) mod rules;
pub(crate) mod slots;
pub(crate) mod stop;
pub(crate) mod suspects;
pub(crate) mod vitals;
