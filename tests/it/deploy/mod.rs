//! The files in `deploy`, each used as its reader would, and what platforms ask of the program: a command as a probe, and
//! signs of life.

mod beyond;
pub(crate) mod deployed;
mod files;
mod grace;
mod health_command;
mod keda;
mod named;
mod network;
mod pods;
mod redis;
mod rights;
mod roles;
mod secrets;
mod supervisor;
mod traced;
mod units;
