//! The pages as people see them: a real Chromium against the built program and a real Redis.
//!
//! - [`chromium`] is the browser: it finds what a user finds (by role, label and text), waits until something is seen,
//!   and fails a test for each error on the console, policy report, dialog and failed request that the test did not
//!   announce. [`chromium_works`] proves that it notices them.
//! - [`life`] is the life of a webhook as the requirements tell it, [`states`] are its other states,
//!   [`conflicts`], [`sessions`] and [`comforts`] the rest; [`customer`] has the steps of all.
//! - [`embedded`] has it in a frame of another site.
//! - [`hostile`] fills every field with text that would run, turn or break what is around.
//! - [`keyboard`] uses it by keyboard, without motion, in forced colours and in themes.
//! - [`pages`] looks at every page in every state.
//! - [`world`] is an installation with a server, and [`platform`] a page of another site that embeds the portal.

#![allow(dead_code, reason = "an interface for the tests of all pages; not all of it is in use at every time")]
#![allow(unreachable_pub, reason = "`pub` marks the items that one part offers the others")]

mod chromium;
mod chromium_works;
mod comforts;
mod conflicts;
mod customer;
mod embedded;
mod hostile;
mod keyboard;
mod life;
mod pages;
mod platform;
mod sessions;
mod site;
mod states;
#[path = "../it/support/mod.rs"]
mod support;
mod world;
