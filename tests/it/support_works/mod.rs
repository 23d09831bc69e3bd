//! Tests of the support code, so that a fault that does not happen is not mistaken for a program that survives it.

mod cluster;
mod dns;
mod endpoint;
mod process;
mod receiver;
mod redis;
