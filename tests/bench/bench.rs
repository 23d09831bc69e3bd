//! `make bench`: what Lynkhook costs and how fast it is, as ratios to loops that were measured beside it.
//!
//! Every figure of a machine depends on the machine, and on what else it does at the moment. So the worker is never
//! measured alone: in each round it takes turns with the *bare loop*, the least that can be written for the job (read
//! from a stream, POST, acknowledge; no log, no retry, no lease, no judgement of addresses) on the same HTTP client and
//! allocator, and what counts is the ratio of the two within a round. The medians of the rounds are printed. Throughput is
//! judged by the *minimum*: the bare loop, which also keeps the delivery log that customers are promised.
//!
//! Whatever is measured is a process of its own, so that its CPU can be told from the others': `redis-server`, the
//! program as it ships (`lynkhook worker`), the receiver and the bare loops, which are this very binary under other
//! arguments ([`children`]). All of it stays on the loopback, is bounded, and ends with this process.
//!
//! - the parts: [`receiver`], [`bare`] and the HTTP [`client`]s it compares, [`producer`], [`world`], [`accounting`],
//!   [`turn`] (one contender's turn), [`rounds`] (several's at the same queue);
//! - the scenarios: [`throughput`], [`latency`], [`memory`], [`connections`], [`hosts`], [`idle`], [`partitions`],
//!   [`backlog`], [`scale`], [`profile`], and [`isolation`], [`schedule`], [`growth`] and [`bullmq`], which are asked for by their
//!   own names;
//! - what is told of them: [`figures`], [`report`], [`plot`].

#![allow(unreachable_pub, reason = "`pub` marks what one part offers the others")]

/// As the program itself has it, so that what is compared is the work and not who allocates.
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
    // The children of this process come in by the same door.
    match std::env::args().nth(1).as_deref() {
        Some(receiver::CHILD) => receiver::main(),
        Some(bare::CHILD) => bare::main(),
        _ => arguments::main(),
    }
}
