//! The settings screen, as a browser without a script sees it. `tests/browser` looks at it in a real one.

mod entering;
mod support;
