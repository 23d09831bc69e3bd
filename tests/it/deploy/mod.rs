//! The files in `deploy`, and what platforms ask of the program: a command as a probe, and signs of life.

mod files;
mod grace;
mod health_command;
mod keda;
mod network;
mod pods;
mod supervisor;
mod traced;
mod units;
