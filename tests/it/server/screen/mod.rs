//! The settings screen, as a browser without a script sees it. `tests/browser` looks at it in a real one.

mod commands;
mod deliveries;
mod edit;
mod entering;
mod logs;
mod rights;
mod safety;
mod support;
