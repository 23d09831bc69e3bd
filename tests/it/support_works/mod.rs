//! The support proves itself here, so that a fault which does not happen is not mistaken for a program that survives it.

mod dns;
mod endpoint;
mod process;
mod receiver;
mod redis;
