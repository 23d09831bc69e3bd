//! The loops that the worker is compared with, in processes of their own.
//!
//! - `bare`: reads 64 entries at a time (fewer from each of several queues) on a connection of its own, POSTs each at
//!   once, and settles finished entries with one `XACK` and one `XDEL` in a pipeline, up to 64, without waiting for
//!   more;
//! - `minimum`: the same, and keeps the delivery log that customers are promised. Each delivery gets an entry, and
//!   before the two commands the pipeline has `LPUSH`, `LTRIM` and `EXPIRE` for each webhook whose deliveries it settles.
//!
//! They are the work of a good engineer who cares only about speed: no retry, no lease, no second check of addresses,
//! and a webhook's URL is known without asking Redis.

mod log;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use redis::{Value, aio::MultiplexedConnection};
use tokio::sync::{Semaphore, mpsc};

use self::log::{Begun, Logs};
use crate::{
    children,
    client::{Client, Endpoint, Kind},
    producer::GROUP,
    world::url_of,
};

/// The first argument of a process that is a bare loop.
pub const CHILD: &str = "bare";

/// The most entries that are read or settled at a time.
const BATCH: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Loop {
    Bare,
    Minimum,
}

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    kind: Loop,
    #[arg(long)]
    client: Kind,
    /// Threads of the runtime. 1 means a runtime without work stealing, 0 means one thread per core.
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    concurrency: usize,
    /// The PEM file of the receivers' certificate authority.
    #[arg(long)]
    ca: PathBuf,
    /// The URLs of the accounts: account n uses the n-th of these, in turn, with `{n}` replaced by its number.
    #[arg(long)]
    url: Vec<String>,
    #[arg(long)]
    accounts: usize,
    #[arg(long)]
    redis: String,
    #[arg(long)]
    queue: Vec<String>,
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse_from(std::env::args().skip(1));
    let mut runtime = match arguments.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        0 => tokio::runtime::Builder::new_multi_thread(),
        threads => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads);
            runtime
        }
    };
    runtime.enable_all().build().expect("threads can be started").block_on(run(arguments));
    ExitCode::SUCCESS
}

async fn run(arguments: Arguments) {
    // If one task panics, the process ends; otherwise the other tasks would wait for ever.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(1);
    }));
    let endpoint = |n| Endpoint::parse(&url_of(&arguments.url, n));
    let endpoints: Arc<[Endpoint]> = (0..arguments.accounts).map(endpoint).collect();
    let client = Arc::new(Client::new(arguments.client, &arguments.ca));
    children::say(&());
    // One for all partitions, as in the worker.
    let slots = Arc::new(Semaphore::new(arguments.concurrency));
    // A reader holds a slot for every entry that it may get: at most half of its share, so that others find some.
    let most = (arguments.concurrency / (2 * arguments.queue.len())).clamp(1, BATCH);
    let redis = redis::Client::open(arguments.redis).expect("a URL");
    for queue in arguments.queue {
        let logs = (arguments.kind == Loop::Minimum).then(|| Logs::beside(&queue, arguments.accounts));
        let deliver = Arc::new(Deliver { client: Arc::clone(&client), endpoints: Arc::clone(&endpoints), logs });
        let (finished, to_settle) = mpsc::channel(arguments.concurrency);
        tokio::spawn(settle(connection(&redis).await, queue.clone(), Arc::clone(&deliver), to_settle));
        tokio::spawn(read(connection(&redis).await, queue, deliver, (Arc::clone(&slots), most), finished));
    }
    children::Questions::new().next::<()>().await;
}

async fn connection(redis: &redis::Client) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    redis.get_multiplexed_async_connection_with_config(&config).await.expect("Redis is up")
}

/// The state that deliveries of one queue share.
struct Deliver {
    client: Arc<Client>,
    endpoints: Arc<[Endpoint]>,
    /// Only for the minimum.
    logs: Option<Logs>,
}

/// A delivery that is ready to be settled.
struct Finished {
    id: Bytes,
    account: usize,
    log: Option<String>,
}

impl Deliver {
    /// POSTs an entry. Answers nothing if that fails: these loops do not retry.
    async fn deliver(&self, entry: Entry) -> Option<Finished> {
        let Entry { id, account, event_id, envelope } = entry;
        let logged = self.logs.as_ref().map(|logs| (logs.webhook(account), Begun::now(envelope.clone())));
        match self.client.post(&self.endpoints[account], &event_id, envelope).await {
            Ok(status) if status.is_success() => {
                let log = logged.map(|(webhook, begun)| begun.answered(&event_id, webhook, status));
                Some(Finished { id, account, log })
            }
            other => {
                eprintln!("bare loop: {other:?}");
                None
            }
        }
    }
}

/// Reads with a slot in hand for each entry, and POSTs each entry as soon as it arrives.
async fn read(
    mut redis: MultiplexedConnection,
    queue: String,
    deliver: Arc<Deliver>,
    (slots, most): (Arc<Semaphore>, usize),
    finished: mpsc::Sender<Finished>,
) {
    loop {
        let mut held = Arc::clone(&slots).acquire_owned().await.expect("it stays open");
        let more = slots.available_permits().min(most - 1);
        if let Ok(others) = Arc::clone(&slots).try_acquire_many_owned(u32::try_from(more).expect("at most 63")) {
            held.merge(others);
        }
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("bare").arg("COUNT").arg(held.num_permits());
        read.arg("BLOCK").arg(2000).arg("STREAMS").arg(&queue).arg(">");
        let answer: Value = read.query_async(&mut redis).await.expect("Redis answers");
        for entry in entries(answer) {
            let slot = held.split(1).expect("never more entries than slots");
            let (deliver, finished) = (Arc::clone(&deliver), finished.clone());
            tokio::spawn(async move {
                if let Some(delivered) = deliver.deliver(entry).await {
                    drop(finished.send(delivered).await);
                }
                drop(slot);
            });
        }
    }
}

/// Settles everything that has finished, in one round trip.
async fn settle(
    mut redis: MultiplexedConnection,
    queue: String,
    deliver: Arc<Deliver>,
    mut to_settle: mpsc::Receiver<Finished>,
) {
    let mut batch: Vec<Finished> = Vec::with_capacity(BATCH);
    while to_settle.recv_many(&mut batch, BATCH).await > 0 {
        let mut pipeline = redis::pipe();
        if let Some(logs) = &deliver.logs {
            batch.sort_by_key(|delivered| delivered.account);
            for of_one in batch.chunk_by(|a, b| a.account == b.account) {
                let entries: Vec<&str> = of_one.iter().filter_map(|delivered| delivered.log.as_deref()).collect();
                logs.add(&mut pipeline, of_one[0].account, &entries);
            }
        }
        let ids: Vec<&[u8]> = batch.iter().map(|delivered| &delivered.id[..]).collect();
        pipeline.cmd("XACK").arg(&queue).arg(GROUP).arg(&ids).ignore();
        pipeline.cmd("XDEL").arg(&queue).arg(&ids).ignore();
        let _: () = pipeline.query_async(&mut redis).await.expect("Redis answers");
        batch.clear();
    }
}

struct Entry {
    id: Bytes,
    account: usize,
    event_id: Bytes,
    envelope: Bytes,
}

/// The entries of an answer, without copying their contents: `[[queue, [[id, [field, value, …]], …]]]`, or nothing.
fn entries(answer: Value) -> Vec<Entry> {
    let [_, entries] = items(answer).into_iter().next().map(items).and_then(array).unwrap_or([Value::Nil, Value::Nil]);
    items(entries)
        .into_iter()
        .filter_map(|entry| {
            let [id, fields] = array(items(entry))?;
            // account, envelope, id: as the producer writes them.
            let [_, account, _, envelope, _, event_id] = array(items(fields))?;
            let account = std::str::from_utf8(&bytes(account)).ok()?.strip_prefix('a')?.parse().ok()?;
            Some(Entry { id: bytes(id), account, event_id: bytes(event_id), envelope: bytes(envelope) })
        })
        .collect()
}

fn items(value: Value) -> Vec<Value> {
    if let Value::Array(items) = value { items } else { Vec::new() }
}

fn array<const N: usize>(items: Vec<Value>) -> Option<[Value; N]> {
    items.try_into().ok()
}

fn bytes(value: Value) -> Bytes {
    if let Value::BulkString(bytes) = value { bytes.into() } else { Bytes::new() }
}
