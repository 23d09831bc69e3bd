//! The files in `deploy`, each used as its reader would, and what platforms ask of the program: a command as a probe, and
//! signs of life. Tests whose names begin with `tools_` need tools that `make check-deploy` and `make check-image` install.

mod beyond;
mod check;
mod compose;
pub(crate) mod deployed;
mod dockerfile;
pub(crate) mod files;
mod grace;
mod health_command;
mod image;
mod keda;
mod memory;
mod named;
mod network;
mod pods;
mod redis;
mod rights;
mod roles;
mod secrets;
mod supervisor;
mod traced;
mod trying;
mod units;
mod walkthrough;
