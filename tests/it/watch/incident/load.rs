//! A producer that goes on while Redis is away.

use std::{collections::BTreeMap, time::Duration};

use redis::aio::MultiplexedConnection;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::support::*;

/// Events are added this often.
const EVERY: Duration = Duration::from_millis(100);

/// A load that runs until it is stopped.
pub(super) struct Load {
    stop: oneshot::Sender<()>,
    adding: JoinHandle<BTreeMap<&'static str, usize>>,
}

impl Load {
    /// Adds ten events a second to the queue of a Redis, for these accounts in turn.
    pub(super) fn start(redis: &RedisServer, queue: String, accounts: &'static [&'static str]) -> Self {
        let (client, (stop, mut stopped)) = (redis::Client::open(redis.url()).unwrap(), oneshot::channel());
        let adding = tokio::spawn(async move {
            let (mut accepted, mut connection) = (BTreeMap::new(), None);
            for account in accounts.iter().cycle() {
                let added =
                    tokio::time::timeout(Duration::from_secs(1), add(&client, &mut connection, &queue, account)).await;
                match added {
                    Ok(Ok(())) => *accepted.entry(*account).or_default() += 1,
                    _ => connection = None,
                }
                if tokio::time::timeout(EVERY, &mut stopped).await.is_ok() {
                    break;
                }
            }
            accepted
        });
        Self { stop, adding }
    }

    /// Stops, and answers how many events of each account Redis accepted.
    pub(super) async fn stop(self) -> BTreeMap<&'static str, usize> {
        self.stop.send(()).unwrap();
        self.adding.await.unwrap()
    }
}

async fn add(
    client: &redis::Client,
    connection: &mut Option<MultiplexedConnection>,
    queue: &str,
    account: &str,
) -> redis::RedisResult<()> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(client.get_multiplexed_async_connection().await?),
    };
    redis::cmd("XADD")
        .arg(queue)
        .arg("*")
        .arg("account")
        .arg(account)
        .arg("envelope")
        .arg(TRANSCRIPT)
        .query_async(open)
        .await
}
