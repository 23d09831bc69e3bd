//! The files in `deploy`, and what platforms ask of the program: a command as a probe, and signs of life.

mod health_command;
mod supervisor;
mod units;
