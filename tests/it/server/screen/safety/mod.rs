//! Attacks on the screen: forms of other pages, other people's accounts and links, hostile texts, and secrets that must
//! not show.

mod accounts;
mod forms;
mod headers;
mod hostile;
mod html;
mod leaks;
mod strangers;
mod world;
