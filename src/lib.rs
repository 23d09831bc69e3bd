//! Lynkhook delivers webhook events: a backend pushes an event onto a Redis stream, Lynkhook sends it to each of the
//! account's HTTPS endpoints that asked for it, tries again where that may help, and writes down every attempt.
//!
//! This page explains how it is built. How to run it stands in `README.md`, what it promises the receivers in
//! [`domain::retry`] and [`domain::log_entry`].
//!
//! # For Rust backends
//!
//! [`producer::Producer`] enqueues events, typed ([`domain::transcript::Transcript`]) or as bytes. Any Redis client
//! can do the same with a plain `XADD`.
//!
//! # An event's way
//!
//! ```text
//!  producer ── XADD ──► queue (stream) ──► worker: reader, or claimer if its first worker died
//!                          ▲   ▲                │
//!                          │   │            deliver.rs, one entry from top to bottom:
//!                          │   │              judge     domain::entry        ── no event ──► rejected
//!                          │   │              look up   store::webhooks
//!                          │   │              plan      domain::entry        ── several ───► queue, one each
//!                          │   │                │                            ── off ───────► held
//!                          │   │                │        domain::endpoint    ── busy ──────► held
//!                          │   │                │                            ── held full ─► failed, log
//!                          │   │                │                            ── unreadable ► failed, log
//!                          │   │              attempt   sender
//!                          │   │              decide    domain::retry
//!                          │   │              settle    store::queue         ── delivered ─► log
//!                          │   └─ promote ── retries ◄──────────────────────── again ─────► log
//!                          └─── release ──── held                            ── failed ────► failed, log
//! ```
//!
//! An event that one webhook wants is attempted straight from its queue entry; one that several want becomes one
//! *delivery* entry each. One script adds at most 50 of those and 4 MiB: while webhooks are left, it replaces the event's entry
//! by a new one at the end of the queue, whose field `lynkhook:after` names the last webhook that has its delivery. Whatever an entry's fate,
//! its place in Redis changes in one script, so a delivery is at any
//! time in exactly one of queue, retries and held, until it is delivered, failed, or dropped and counted.
//!
//! # What holds it together
//!
//! **State moves only in Lua** (`store/lua`, one file for each transition), so that a crash falls before or after a
//! step and never inside it. **Policy lives only in [`domain`]**, pure, so that every rule is a function with a table
//! of cases. **An expected result is a value**: a broken endpoint is an [`Outcome`](domain::outcome::Outcome), not an
//! error.
//!
//! **The lease.** A worker holds an entry by Redis's own pending list: consumer and delivery count are the fence that
//! every step checks first. It renews what it holds every 3 s; an entry idle for 20 s is claimed by another worker,
//! which looks every 2 s, and from then on the first one's steps answer `LOST` and change nothing. No request starts on a
//! lease that was last renewed over 8 s ago, and a request takes 10 s at most, so an attempt never outlives its lease. One
//! renewal may fail and nothing waits for it. The worker's table of what it holds is keyed by entry: when the consumer
//! group is lost and recreated, entries come again, and what is under way goes on under the new token. Every step is safe to repeat and is repeated until Redis answers.
//!
//! **A lost answer** is no lost worker. A reader that connects anew first takes back what it read and was not told of
//! (`take_back.lua`), under the same delivery count, and so does a claim after one without an answer. A process that stood still looks at the socket before it gives an answer up.
//!
//! **A suspect.** An entry that was claimed before may have ended its worker. Whoever begins one begins no other for a
//! moment, so that no neighbour is blamed; those of an endpoint that held others up go last (`worker/suspects.rs`). One
//! lost five times is set aside with a final log entry.
//!
//! **Nothing vanishes unseen** (`worker/audit.rs`). The group's bookkeeping and the stream are in the operators' hands. One worker at a
//! time compares them: what was read and is nobody's becomes pending as if its worker had died, and what somebody took out of the
//! queue is counted. Such an entry, if a worker has it in hand, is that worker's alone: it is attempted, settled and logged by what
//! the worker holds, under the delivery count 0.
//!
//! **A panic** in a delivery's task drops all that the task had, so the entry stays pending and is lost once. A panic in one of
//! the worker's loops stops the worker as a signal does, with an error at its end.
//!
//! **Places.** A worker is short of attempts in flight, and an endpoint that does not answer keeps each for 10 s. (An attempt
//! with a large event counts several times, so that memory is shared out as well.) While places are free the schedule holds
//! for everyone; how many of them one endpoint may have follows from how it answers ([`domain::endpoint`] has the rule,
//! `worker/endpoints.rs` the figures). A delivery that finds no place is put off in Redis (`worker/admit.rs`): a due retry goes
//! back to `retries` for a moment and takes the next free place; any other is held, and comes back oldest first when an attempt
//! at its endpoint ends, which rings the releaser. There is no queue in memory to lose, and a backlog of 10,000 costs a script at
//! a time. When `held` is full, new deliveries fail.
//!
//! **Upkeep** (`worker/visit.rs`). What is too old, too much or nobody's is dropped by visits, each webhook's every 30 to 55
//! minutes. They have a sorted set of their own, and a pace: however many are due together, no delivery waits for them.
//!
//! **Partitions.** Each has a reader, for each lies in a hash slot of its own. A reader that waits keeps no place where there are
//! several, so that idle partitions take nothing from busy ones (`worker/reader.rs`).
//!
//! **A busy worker.** Places are not all: attempts take time as well, and those that fail are repeated. While its thread has
//! little time left, a worker starts fewer attempts at endpoints that always fail, and brings held deliveries back more slowly.
//!
//! **What is known** (`store/known.rs`). Redis tells a worker of every change of a webhook, on the connection on which it
//! reads entries: whatever was enqueued after a change was answered is read after the change is known, so that webhooks
//! need not be asked for at each delivery. Who comes to a delivery in another way, or a second time, asks.
//!
//! **One thread.** A worker runs on a single-threaded runtime: to hand a task from core to core costs a third of a
//! delivery. Where there are more cores there are more workers, in other processes or as other threads that share nothing
//! (`worker/threads.rs`). **Together:** looking webhooks up, settling and holding are done for all that ask at the same time
//! (`worker/batch.rs`), so that a script's round trip and Redis's work are shared by up to 50 deliveries. Who only has to be
//! settled or put aside waits a moment for more, as long as there are slots; who is to be attempted never does.
//!
//! **Names** (`sender/resolve`). A name that cannot be looked up is its endpoint's fault only where a name server gave a useful answer
//! before and after it was asked for again. Where none does, no attempt was made: the delivery waits in `retries` (`worker/names.rs`) and
//! keeps neither a slot nor a place, so that hosts whose names are known, or to which a connection is open, are served.
//!
//! **HTTP.** Deliveries do not go through `reqwest`: its header buffer cannot be bounded, so that a connection may keep 408 KiB
//! of what an endpoint sends and 1,000 connections 400 MiB, where 16 KiB each are enough. It does not show whether a connection
//! was reused and whether anything of a request was sent, and on that depends whether an endpoint is to blame. A bare loop over
//! it makes 0.82 of the deliveries a second with 1.36 times the CPU of one over hyper (README, *Measured*).
//!
//! [`sender`] has a pool of its own over hyper's connections, one request at a time on each, over HTTP/1.1 alone: on a connection
//! shared over HTTP/2 a request could wait unsent behind another customer's. What is no delivery is `reqwest`'s job.
//!
//! **The clock** is Redis's, in the scripts and in the log; a worker's own time of day is never asked. When Redis's clock steps,
//! a worker notices it by its monotonic clock (`worker/clock.rs`): it rests what depends on age, and mends the times that the step
//! falsified (`worker/mend.rs`).
//!
//! **Redis alone.** No other store; every value is readable text, every key is made in [`store::keys`] and described
//! in `README.md`. A dropped connection, a restart, a flushed script cache, a destroyed group: the worker goes on.
//!
//! **The model** (`tests/model`): these steps as pure functions on a small state, every history of which is searched,
//! faults included, for one that breaks an invariant. Random histories are replayed on a real Redis, so that the model
//! stays one of these scripts; a script that changes changes both.
//!
//! # The layers
//!
//! Each may use only those above it (`tests/house/layers.rs` holds them to it):
//!
//! | layer | is | never |
//! |---|---|---|
//! | [`domain`] | the words and rules: event, webhook, delivery, retry, log entry, URL, address, header | I/O, clock, randomness, async |
//! | [`config`] | defaults, file, environment, flags → checked settings | |
//! | [`telemetry`] | logs | secrets, payloads |
//! | [`failpoint`] | crashes that tests ask for | anything in a release build |
//! | [`secrets`] | customers' secrets sealed at rest, under several keys while one replaces another | |
//! | [`store`] | Redis: keys, connections, one method for each script | policy |
//! | [`sender`] | one attempt: resolve, judge the addresses, connect to those, send, read a little | redirects, proxies, other addresses |
//! | [`webhooks`] | what people do with webhooks, once for every surface | |
//! | [`producer`] | the library for backends | the worker |
//! | [`worker`] | taking, delivering, promoting, releasing, visiting, renewing | the producer |
//! | [`cli`] | the command line, `lynkhook dev` | |
//!
//! # Deliberately absent
//!
//! A trait over the store (tests use a real Redis), a second queue, ordering between events, delivery exactly once
//! (receivers drop duplicates by `webhook-id`), an in-memory queue of retries, redirects, and any request made at the
//! moment a webhook is saved.

pub mod cli;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod producer;
pub mod secrets;
pub mod sender;
pub mod store;
pub mod telemetry;
pub mod webhooks;
pub mod worker;
