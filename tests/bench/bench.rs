//! `make bench`: the cost and speed of Lynkhook, as ratios to loops that were measured beside it.
//!
//! Every figure depends on the machine, and on its other work at the moment. So the worker is never measured alone: in
//! each round it takes turns with the *bare loop*, the least code that does the job (read from a stream, POST,
//! acknowledge; no log, no retry, no lease, no check of addresses), with the same HTTP client and allocator. Only the
//! ratio of the two within a round counts. The medians of the rounds are printed. Throughput is judged by the
//! *minimum*: the bare loop plus the delivery log that customers are promised.
//!
//! Everything measured is a process of its own, so that its CPU can be told from the others': `redis-server`, the
//! program as it ships (`lynkhook worker`), the receiver and the bare loops, which are this binary with other arguments
//! ([`children`]). All of it stays on the loopback, is bounded, and ends with this process.
//!
//! - the parts: [`receiver`], [`bare`] and the HTTP [`client`]s it compares, [`producer`], [`world`], [`accounting`],
//!   [`turn`] (one contender's turn), [`rounds`] (the turns of several contenders at the same queue);
//! - the scenarios: [`throughput`], [`latency`], [`memory`], [`connections`], [`hosts`], [`idle`], [`partitions`],
//!   [`backlog`], [`scale`], [`profile`], [`recording`], and [`isolation`], [`schedule`], [`growth`] and [`bullmq`], which run only if
//!   you name them;
//! - the output: [`figures`], [`report`], [`plot`].

#![allow(unreachable_pub, reason = "`pub` marks the items that one part offers the others")]

/// The same allocator as the program's, so that the comparison is about the work and not about allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod accounting;
mod arguments;
mod backlog;
mod bare;
mod bullmq;
mod children;
mod client;
mod connections;
mod figures;
mod growth;
mod hosts;
mod idle;
mod isolation;
mod latency;
mod memory;
mod partitions;
mod plot;
mod producer;
mod profile;
mod receiver;
mod recording;
mod report;
mod rounds;
mod scale;
mod schedule;
#[path = "../it/support/mod.rs"]
mod support;
mod throughput;
mod turn;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The children of this process start here as well.
    match std::env::args().nth(1).as_deref() {
        Some(receiver::CHILD) => receiver::main(),
        Some(bare::CHILD) => bare::main(),
        _ => arguments::main(),
    }
}
