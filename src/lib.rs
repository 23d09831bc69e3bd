//! Lynkhook delivers webhook events: a backend pushes an event onto a Redis stream, Lynkhook sends it to each of the
//! account's HTTPS endpoints that subscribed to it, retries failures that may be temporary, and logs every attempt.
//!
//! This page explains how it is built. How to run it stands in `README.md`, what it promises the receivers in
//! [`domain::retry`] and [`domain::log_entry`].
//!
//! # For Rust backends
//!
//! [`producer::Producer`] enqueues events, typed ([`domain::transcript::Transcript`]) or as bytes. Any Redis client
//! can do the same with a plain `XADD`. The feature `program`, which is on by default, has the rest: a backend depends on this
//! crate without it (`tests/producer` is one).
//!
//! [`Producer::accept`](producer::Producer::accept) takes a request of several events, all or none, and with an idempotency
//! key once, however often it comes. One script (`accept.lua`) compares the key, enqueues and notes the key, so there is no
//! moment in which a request is half done and nothing to wait for. The keys lie in two hashes; when the newer one is 24
//! hours old or has half of `idempotency.max_bytes`, it takes the place of the older one.
//!
//! # An event's way
//!
//! ```text
//!  producer ── XADD ──► queue (stream) ──► worker: roles/read.rs, or roles/claim.rs if its first worker died
//!                          ▲   ▲                │
//!                          │   │            worker/deliver.rs, one entry from top to bottom:
//!                          │   │              judge     domain::entry        ── no event ──► rejected
//!                          │   │              look up   store::Known, or Redis
//!                          │   │              plan      domain::entry        ── several ───► queue, one each
//!                          │   │                │                            ── off ───────► held
//!                          │   │                │                            ── unreadable ► failed, log
//!                          │   │              admit     worker/admit.rs      ── no room ───► held
//!                          │   │                │        domain::endpoint    ── held full ─► failed, log
//!                          │   │              attempt   worker/attempt.rs, sender
//!                          │   │              decide    domain::retry
//!                          │   │              settle    worker/step.rs       ── delivered ─► log
//!                          │   └─ promote ── retries ◄──────────────────────── again ─────► log
//!                          └─── release ──── held                            ── failed ────► failed, log
//! ```
//!
//! An event that one webhook wants is attempted straight from its queue entry. An event that several want becomes one
//! *delivery* entry for each. One script adds at most 50 of those and 4 MiB: while webhooks are left, the script replaces the
//! event's entry by a new one at the end of the queue, whose field `lynkhook:after` names the last webhook that has its
//! delivery. An entry changes its place in Redis in one script, so a delivery is at any time in exactly one of queue, retries
//! and held, until it is delivered, failed, or dropped and counted.
//!
//! **A delivery is put aside for one of three reasons** (`worker/admit.rs` decides, `hold.lua` moves it):
//!
//! | reason | goes to | comes back | an operator sees it in |
//! |---|---|---|---|
//! | its webhook is off | `held` | when the webhook is switched on | `webhook list`, *Active* |
//! | its endpoint has no room: `domain::endpoint::Limit` has the eight limits | `held`; a due retry: `retries` | as attempts at the endpoint end, oldest first, looked at every second; a retry after 0.2 to 2 s | `queue status`, *Why* |
//! | no name server answers | `retries` | after 1 to 60 s | `doctor`, *workers*; `/readyz`; the log |
//!
//! If `held` is full and the webhook is on, new deliveries fail. An entry that was claimed before is never put aside, and a
//! delivery waits in hand if this machine lacks a file, a port or memory for it. While a queue takes no entry at all, the
//! deliveries of a fan-out wait in `retries` (`fan_out.lua`).
//!
//! # What guards against settling twice: the fence
//!
//! Redis's pending list records which worker has an entry, and how often the entry was delivered. These two values are the fence
//! (`store::Fence`): every step on an entry names them, and its script compares them before it changes anything (`owns` and
//! `owner_of` in `lua/prelude/fence.lua`). An entry that another worker claimed has another consumer and another count, so the
//! first worker's step answers `LOST` and changes nothing. A settled entry is no longer pending, so a repeated step answers
//! `LOST` too: every step is safe to repeat, and is repeated until Redis answers.
//!
//! A worker renews its leases every 3 s (`roles/renew.rs`). An entry that is idle for 20 s may be claimed by another worker, and
//! workers look every 2 s. No request starts on a lease that was last renewed over 8 s ago, and a request takes 10 s at most, so
//! an attempt never outlives its lease. If one renewal fails, the lease stays fresh enough to start requests.
//!
//! The worker's table of leases (`parts/leases.rs`) is keyed by entry. If the consumer group is lost and recreated, entries come
//! again: the table starts none twice, and the attempt under way goes on under the new delivery count.
//!
//! # What holds it together
//!
//! **State moves only in Lua** (`store/lua`, one file for each transition; single commands only plan), so that a crash falls
//! before or after a step and never inside it. **Policy lives only in [`domain`]**, pure, so that every rule is a function with a table
//! of cases. **An expected result is a value**: a broken endpoint is an [`Outcome`](domain::outcome::Outcome), not an
//! error.
//!
//! **A lost answer** is no lost worker. A reader that connects anew first takes back the entries that it read and was not told
//! of (`take_back.lua`), under the same delivery count, and so does a claim after one without an answer. A process that stood
//! still looks at the socket before it gives an answer up.
//!
//! **A suspect** is an entry that was claimed twice or more, so that its workers may have died of it. A worker that begins one begins no
//! other for a moment, so that no neighbour is blamed. If attempts at an endpoint take long, its suspects are tried after all
//! others (`parts/suspects.rs`). An entry that was lost five times is set aside with a final log entry.
//!
//! **Nothing vanishes unseen** (`roles/audit.rs`). The group's bookkeeping and the stream are in the operators' hands. One worker
//! at a time compares them: an entry that was read and that nobody holds becomes pending as if its worker had died, and entries
//! that somebody took out of the queue are counted. If a worker is already working on an entry that was taken out, only that
//! worker can finish it: it settles from its own copy, under the delivery count 0. Then the log is the guard against settling
//! twice: the script looks whether the same log entry is there (`LPOS` in `lua/prelude/attempted.lua`).
//!
//! **A panic** in a delivery's task drops all that the task had, so the entry stays pending and is lost once. A panic in one of
//! the worker's loops stops the worker as a signal does, with an error at its end.
//!
//! **Slots and places.** A *slot* is the right to have an entry in hand, a *place* the right to have an attempt in flight; a worker
//! has `worker.concurrency` of each. Places are scarce, for an endpoint that does not answer keeps each for 10 s. While places
//! are free the schedule holds for everyone; how many of them one endpoint may have follows from how it answers
//! ([`domain::endpoint`] has the rule, `parts/endpoints` the figures). A backlog waits in Redis, not in memory, and comes back in
//! batches.
//!
//! **Memory.** Bytes in hand bound a worker's memory, not entries: reading and claiming stop at `worker.max_bytes` (64 MiB;
//! `parts/bytes_in_hand.rs` says by how much it may be passed: one read of 64 entries, or an entry for each partition). A large
//! event occupies several places, so that places share out memory as well. Besides, each open connection to an endpoint takes
//! about 33 KiB, and there are at most `egress.max_connections` more than attempts; settings are cached for 4,096 accounts of each
//! partition, figures for about as many endpoints. `tests/it/bounded.rs` asserts the peak (256 MiB), `make bounds` measures it.
//!
//! **Upkeep** (`roles/visit.rs`). Visits drop what is too old, too much or nobody's, each webhook's every 30 to 55 minutes. They
//! are planned in a sorted set of their own, `visits`, and have a pace: however many are due together, no delivery waits for
//! them. Six scripts write `visits`: `hold.lua`, `settle.lua` and `log.lua` plan a visit, `visit.lua` makes it and plans the next,
//! `mend_times.lua` brings back one that a step of the clock moved away, `delete_webhook.lua` removes it. Two commands besides
//! (`store/steps/due.rs`): one plans a visit anew that Redis refused, one removes a name that is no webhook's.
//!
//! **Partitions.** Each has a reader, for each lies in a hash slot of its own. If there are several, a waiting reader reserves no
//! slot, so that idle partitions take nothing from busy ones (`roles/read.rs`).
//!
//! **Redis Cluster** (`store/link`). A step's keys are in one slot, and it runs at the node that is the slot's master now
//! ([`store::Store::masters`]). All masters are asked for the slots once a second, and at once after an answer that tells of a
//! change; a node that hangs is not waited for. A call that was redirected is sent once more, where the answer says; nothing
//! is sent again after an I/O error or a timeout. When a node is no longer a master, everything that waits for it ends, for
//! what it would still take is lost; so a worker's reader, and with it the cache of settings, begins anew at the new master.
//! All work at several masters (renewing, enqueueing, figures, leaving) is done side by side, so that one that is away costs
//! its own partitions alone: the entries in hand at it keep their slots, and others have what is left. A promoted replica lacks
//! what had not reached it. Leases then are those that it knows: a step of a lease that it does not know answers `LOST`, and
//! an entry that was settled may be pending again, until its lease ends and somebody claims it.
//!
//! **A busy worker** (`domain::busy`). Places are not all: attempts take time as well, and those that fail are repeated. While its
//! thread has little time left, a worker starts fewer attempts at endpoints that always fail, and brings held deliveries back
//! more slowly.
//!
//! **When a lookup of settings may be skipped** (`store/steps/known.rs`). Redis tells a worker of every change of a webhook, on the
//! connection on which it reads entries: an event that was enqueued after a change was answered is read after the change is
//! known. So `worker/deliver.rs` skips the lookup for an entry that came on that connection just now, once. It asks Redis for
//! an entry that was claimed or taken back (both come on another connection), if it looks at an entry again, and if Redis tells
//! nothing: without the right to `CLIENT TRACKING`, beside Redis's I/O threads, and on Valkey 8 and later.
//!
//! **One thread.** A worker runs on a single-threaded runtime: to hand a task from core to core costs a third of a
//! delivery. On more cores there are more workers, in other processes or as other threads that share nothing
//! (`worker/threads.rs`). **Together:** looking webhooks up, settling and holding are done for all that ask at the same time
//! (`roles/together.rs`), so that up to 50 deliveries share a script's round trip and Redis's work. Settling waits up to 1 ms and
//! holding up to 5 ms for company while slots are free; an attempt never waits.
//!
//! **Names** (`sender/resolve`). A name that cannot be looked up is its endpoint's fault only if a name server usefully answered
//! another question both before and after a second try. If none does, no attempt was made: the delivery waits in `retries`
//! (`parts/names.rs`) and keeps neither a slot nor a place, so that hosts whose names are known, or to which a connection is open,
//! are served.
//!
//! **HTTP.** Deliveries do not go through `reqwest`: its header buffer cannot be bounded, so that a connection may keep 408 KiB
//! of what an endpoint sends and 1,000 connections 400 MiB, where 16 KiB each are enough. It does not show whether a connection
//! was reused and whether anything of a request was sent, and on that depends whether an endpoint is to blame. A bare loop over
//! it makes 0.82 of the deliveries a second with 1.36 times the CPU of one over hyper (`tests/bench/README.md`).
//!
//! [`sender`] has a pool of its own over hyper's connections, one request at a time on each, over HTTP/1.1 alone: on a connection
//! shared over HTTP/2 a request could wait unsent behind another customer's. What is no delivery is `reqwest`'s job.
//!
//! **The clock** is Redis's, in the scripts and in the log, one for each partition; a worker's own time of day is never asked. When
//! Redis's clock steps, a worker notices it by its monotonic clock (`parts/clock.rs`): it rests what depends on age, and mends the
//! times that the step falsified (`roles/mend.rs`).
//!
//! **Redis alone.** No other store; every value is readable text, every key is made in [`store::keys`] and described
//! in `README.md`. A dropped connection, a restart, a flushed script cache, a destroyed group: the worker goes on.
//!
//! **The model** (`tests/model`): these steps as pure functions on a small state, every history of which is searched,
//! faults included, for one that breaks an invariant. Random histories are replayed on a real Redis, so that the model
//! stays one of these scripts; a script that changes changes both.
//!
//! **Over HTTP** (`server`). Every request passes the same way: a bounded port, an id, limits of its head and its time, the
//! router, its key with scope and rate, a handler. The OpenAPI document is made from the handlers, and the scope that it states
//! for a route is the one that is enforced. A repetition of an event is recognised in the script that enqueues it
//! (`accept.lua`), so there is no moment at which an event is enqueued and its idempotency key is not known.
//!
//! **Under a platform** (`deploy`). Probes and signs of life say the same: `/healthz` holds while the loops run and is what
//! Kubernetes asks over HTTP, what the image asks with `lynkhook health`, and what systemd hears ([`supervisor`]). Whether
//! Redis answers is left out of it, so that an outage restarts nothing. The image is one static program: glibc, linked in,
//! finds Redis by its name, and hickory the customers' hosts.
//!
//! **Watched** (`telemetry/metrics`, [`scrape`]). Worker and server count what they do. The queue's figures are Redis's: a
//! scrape asks for them, at most every five seconds and with one script for each partition, and while Redis does not answer
//! there are none, so that old ones do not pass for present. No label names a customer.
//!
//! **The settings screen** (`server/screen`) is for customers, inside the platform's own application. The platform's backend
//! makes a link (`access`), which a form exchanges for a session, once. The account stands in every path, and its session is
//! looked up under it, so that no session opens another account's page. Every page is complete HTML of the server; the script
//! improves it. A form has to come from a page of this server and brings a token of its session. A strict policy forbids
//! scripts and styles in the pages, so that a text that was not escaped would still run nothing (`SECURITY.md`).
//!
//! # The layers
//!
//! Each may use only those above it (`tests/house/layers.rs` holds them to it):
//!
//! | layer | is | never |
//! |---|---|---|
//! | [`domain`] | the words and rules: event, webhook, delivery, retry, log entry, URL, address, header | I/O, clock, randomness, async |
//! | [`config`] | defaults, file, environment, flags → checked settings | |
//! | [`telemetry`] | logs and metrics: every name, once | secrets, payloads, labels without a bound |
//! | [`failpoint`] | crashes that tests ask for | anything in a release build |
//! | [`secrets`] | customers' secrets sealed at rest, under several keys while one replaces another | |
//! | [`supervisor`] | what the service manager is told: started, alive, stopping | |
//! | [`listen`] | one bounded HTTP server, for every port that is opened | what is asked and answered |
//! | [`store`] | Redis: keys, connections, one method for each script | policy |
//! | [`scrape`] | the answer to Prometheus: what this process counts, and what the queue says | |
//! | [`sender`] | one attempt: resolve, judge the addresses, connect to those, send, read a little | redirects, proxies, other addresses |
//! | [`webhooks`] | what people do with webhooks, once for every surface | |
//! | [`queue`] | what operators do with the queue, once for every surface | the webhooks |
//! | [`access`] | API keys and portal sessions: who may do what | the webhooks, the queue |
//! | [`producer`] | the library for backends | the worker |
//! | [`worker`] | taking, delivering, promoting, releasing, visiting, renewing | the producer, [`webhooks`], [`queue`], [`access`] |
//! | [`server`] | the HTTP API and the settings screen: parses, calls the layers above, answers | rules of its own, the worker |
//! | [`cli`] | the command line, `lynkhook dev` | |
//!
//! # Deliberately absent
//!
//! A trait over the store (tests use a real Redis), a second queue, ordering between events, delivery exactly once
//! (receivers drop duplicates by `webhook-id`), an in-memory queue of retries, redirects, and any request made at the
//! moment a webhook is saved.

pub mod config;
pub mod domain;
pub mod failpoint;
pub mod producer;
#[cfg_attr(not(feature = "program"), expect(dead_code, unused_imports, reason = "a producer only enqueues"))]
pub mod store;

#[cfg(feature = "program")]
pub mod access;
#[cfg(feature = "program")]
pub mod cli;
#[cfg(feature = "program")]
pub mod listen;
#[cfg(feature = "program")]
pub mod queue;
#[cfg(feature = "program")]
pub mod scrape;
#[cfg(feature = "program")]
pub mod secrets;
#[cfg(feature = "program")]
pub mod sender;
#[cfg(feature = "program")]
pub mod server;
#[cfg(feature = "program")]
pub mod supervisor;
#[cfg(feature = "program")]
pub mod telemetry;
#[cfg(feature = "program")]
pub mod webhooks;
#[cfg(feature = "program")]
pub mod worker;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
