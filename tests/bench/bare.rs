//! The bare loops that the worker is measured against, in processes of their own.
//!
//! - `read-post-settle`: reads 64 entries at a time (fewer of each of several queues) on a connection of its own, POSTs
//!   each at once, and settles what has finished meanwhile with one `XACK` and one `XDEL` in a pipeline, up to 64, never
//!   waiting to fill;
//! - `post-only`: POSTs over and over, without any queue.
//!
//! They are what a good engineer writes who cares for speed and for nothing else: no retry, no log, no lease, no
//! second thought about addresses, and a webhook's URL is known without asking.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use redis::{Value, aio::MultiplexedConnection};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    children,
    client::{Client, Endpoint, Kind},
    producer::{ENVELOPE_BYTES, GROUP, envelope},
    receiver::now_micros,
    world::url_of,
};

/// The first argument of a process that is a bare loop.
pub const CHILD: &str = "bare";

/// As many entries are read, and settled, at a time.
const BATCH: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Loop {
    ReadPostSettle,
    PostOnly,
}

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    kind: Loop,
    #[arg(long)]
    client: Kind,
    /// Threads of the runtime: 1 is one without work stealing; 0 is as many as there are cores.
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    concurrency: usize,
    /// The receivers' authority, PEM.
    #[arg(long)]
    ca: PathBuf,
    /// Where account n's events go: the n-th of these, in turn, `{n}` being its number.
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
    // One task's trouble is all of it: whoever waits for the rest would wait for ever.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(1);
    }));
    let endpoint = |n| Endpoint::parse(&url_of(&arguments.url, n));
    let endpoints: Arc<[Endpoint]> = (0..arguments.accounts).map(endpoint).collect();
    let client = Arc::new(Client::new(arguments.client, &arguments.ca));
    children::say(&());
    match arguments.kind {
        Loop::PostOnly => post_only(&client, &endpoints, arguments.concurrency),
        Loop::ReadPostSettle => {
            // One for all partitions, as a worker's.
            let slots = Arc::new(Semaphore::new(arguments.concurrency));
            // A reader holds the slots of what it may get: no more than leave some for the others.
            let most = (arguments.concurrency / (2 * arguments.queue.len())).clamp(1, BATCH);
            let redis = redis::Client::open(arguments.redis).expect("a URL");
            for queue in arguments.queue {
                let (finished, to_settle) = mpsc::channel(arguments.concurrency);
                tokio::spawn(settle(connection(&redis).await, queue.clone(), to_settle));
                let (slots, endpoints, client) = (Arc::clone(&slots), Arc::clone(&endpoints), Arc::clone(&client));
                tokio::spawn(read(connection(&redis).await, queue, (client, endpoints), (slots, most), finished));
            }
        }
    }
    children::Questions::new().next::<()>().await;
}

async fn connection(redis: &redis::Client) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    redis.get_multiplexed_async_connection_with_config(&config).await.expect("Redis is up")
}

fn post_only(client: &Arc<Client>, endpoints: &Arc<[Endpoint]>, concurrency: usize) {
    let number = Arc::new(AtomicU64::new(0));
    let envelope = Bytes::from(envelope(ENVELOPE_BYTES));
    for _ in 0..concurrency {
        let (client, endpoints, number, envelope) =
            (Arc::clone(client), Arc::clone(endpoints), Arc::clone(&number), envelope.clone());
        tokio::spawn(async move {
            loop {
                let n = number.fetch_add(1, Ordering::Relaxed);
                let endpoint = &endpoints[usize::try_from(n).expect("64 bits") % endpoints.len()];
                let id = format!("{}-{n}", now_micros());
                client.post(endpoint, id.as_bytes(), envelope.clone()).await.expect("the receiver answers");
            }
        });
    }
}

/// Reads with a slot in hand for each entry, and POSTs each as soon as it is there.
async fn read(
    mut redis: MultiplexedConnection,
    queue: String,
    (client, endpoints): (Arc<Client>, Arc<[Endpoint]>),
    (slots, most): (Arc<Semaphore>, usize),
    finished: mpsc::Sender<Bytes>,
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
            let (client, endpoints, finished) = (Arc::clone(&client), Arc::clone(&endpoints), finished.clone());
            tokio::spawn(async move {
                match client.post(&endpoints[entry.account], &entry.event_id, entry.envelope).await {
                    Ok(status) if status.is_success() => drop(finished.send(entry.id).await),
                    other => eprintln!("bare loop: {other:?}"),
                }
                drop(slot);
            });
        }
    }
}

/// Settles whatever has finished, in one round trip.
async fn settle(mut redis: MultiplexedConnection, queue: String, mut finished: mpsc::Receiver<Bytes>) {
    let mut batch: Vec<Bytes> = Vec::with_capacity(BATCH);
    while finished.recv_many(&mut batch, BATCH).await > 0 {
        let ids: Vec<&[u8]> = batch.iter().map(|id| &id[..]).collect();
        let mut both = redis::pipe();
        both.cmd("XACK").arg(&queue).arg(GROUP).arg(&ids).ignore();
        both.cmd("XDEL").arg(&queue).arg(&ids).ignore();
        let _: () = both.query_async(&mut redis).await.expect("Redis answers");
        batch.clear();
    }
}

struct Entry {
    id: Bytes,
    account: usize,
    event_id: Bytes,
    envelope: Bytes,
}

/// The entries of an answer, without copying what they hold: `[[queue, [[id, [field, value, …]], …]]]`, or nothing.
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
