//! Reads new entries, on a connection on which Redis also reports changes to webhooks.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use redis::{Value, aio::MultiplexedConnection};

use super::{
    entry::{Entry, EntryId, pairs},
    known::Known,
};
use crate::{
    failpoint,
    store::{Store, StoreError, link::Node, ms},
};

/// Ensures that the process logs only once that it cannot ask for a connection's id.
static TOLD: Once = Once::new();

/// Reads new entries of one partition.
pub struct Reader {
    store: Store,
    /// The master at which it was opened.
    node: Arc<Node>,
    partition: u16,
    connection: MultiplexedConnection,
    /// The id of the connection; 0 if Redis does not tell it.
    client_id: i64,
    queue: String,
    consumer: String,
    blocking: Duration,
    known: Arc<Known>,
}

/// A reader's connection, for [`ReaderId::unblock`].
#[derive(Clone)]
pub struct ReaderId {
    node: Arc<Node>,
    id: i64,
}

impl ReaderId {
    /// Ends the reader's blocking read early. The read then returns nothing, or the entries that it has just taken. If
    /// the id of the connection is unknown, the read ends by itself.
    pub async fn unblock(&self) -> Result<(), StoreError> {
        if self.id == 0 {
            return Ok(());
        }
        self.node.run::<i64>(redis::cmd("CLIENT").arg("UNBLOCK").arg(self.id)).await.map(drop)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.known.stop_listening();
    }
}

impl Reader {
    /// The address of the master at which it reads; `None` for a single Redis.
    pub fn master(&self) -> Option<&str> {
        self.node.name()
    }

    /// Its connection, to end a read early.
    pub fn id(&self) -> ReaderId {
        ReaderId { node: self.node.clone(), id: self.client_id }
    }

    /// Takes up to `most` new entries, waiting for the first.
    ///
    /// Never use this where a `select!` may drop it: the command goes on without its future, and the entries that it
    /// takes would stay under a lease that no worker knows of until the lease ends. After an error, open another
    /// reader.
    pub async fn read(&mut self, most: usize) -> Result<Vec<Entry>, StoreError> {
        self.take(most, Some(self.blocking)).await
    }

    /// Takes up to `most` new entries without waiting.
    pub async fn read_at_once(&mut self, most: usize) -> Result<Vec<Entry>, StoreError> {
        self.take(most, None).await
    }

    async fn take(&mut self, most: usize, blocking: Option<Duration>) -> Result<Vec<Entry>, StoreError> {
        if !self.store.at(self.partition).is(&self.node) {
            return Err(StoreError::deposed());
        }
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg("workers").arg(&self.consumer).arg("COUNT").arg(most);
        if let Some(blocking) = blocking {
            read.arg("BLOCK").arg(ms(blocking));
        }
        read.arg("STREAMS").arg(&self.queue).arg(">");
        failpoint::before("read", "");
        let limit = self.node.response_timeout() + blocking.unwrap_or_default();
        let answer = self.node.answered(limit, read.query_async(&mut self.connection)).await;
        let answer: Value = answer.inspect_err(|error| self.store.heard(&self.node, error))?;
        failpoint::after("read", "");
        // {queue: [[id, [field, value, …]], …]}, or nothing.
        let streams = match answer {
            Value::Nil => return Ok(Vec::new()),
            Value::Map(streams) => streams,
            _ => return Err(redis::RedisError::from((redis::ErrorKind::Parse, "XREADGROUP answered no map")).into()),
        };
        let Some((_, Value::Array(entries))) = streams.into_iter().next() else { return Ok(Vec::new()) };
        let parsed = entries.into_iter().filter_map(|entry| {
            let Value::Array(entry) = entry else { return None };
            let mut parts = entry.into_iter();
            let id = EntryId(redis::from_redis_value(parts.next()?).ok()?);
            Some(Entry { id, deliveries: 1, fields: pairs(parts.next()?) })
        });
        Ok(parsed.collect())
    }
}

impl Store {
    /// A reader of one partition, on its own connection, whose reads block for up to `blocking`. While it exists, and
    /// if Redis reports changes, the partition's webhooks are `known` without asking.
    pub async fn reader(
        &self,
        partition: u16,
        consumer: &str,
        blocking: Duration,
        known: Arc<Known>,
    ) -> Result<Reader, StoreError> {
        let (heard, keys) = (known.clone(), self.0.keys.clone());
        let node = self.at(partition).node();
        let mut connection = node.dedicated(move |push| heard.told(&keys, push)).await?;
        let ask = redis::cmd("CLIENT").arg("ID").clone();
        let told = node.answered(node.response_timeout(), ask.query_async(&mut connection)).await;
        let id = match told {
            Ok(id) => id,
            Err(StoreError::Refused(error) | StoreError::Forbidden(error)) => {
                TOLD.call_once(|| {
                    tracing::warn!(%error, ?blocking, "reads cannot be ended early, so stopping may take up to `blocking` longer");
                });
                0
            }
            Err(error) => return Err(error),
        };
        if self.track_webhooks(partition, &node, &mut connection).await? {
            known.listen();
        }
        Ok(Reader {
            store: self.clone(),
            node,
            partition,
            connection,
            client_id: id,
            queue: self.0.keys.queue(partition),
            consumer: consumer.to_owned(),
            blocking,
            known,
        })
    }

    /// Has Redis report changes to a partition's webhooks on this connection. Returns `false` if it does not, or if it
    /// may report a change too late.
    async fn track_webhooks(
        &self,
        partition: u16,
        node: &Node,
        connection: &mut MultiplexedConnection,
    ) -> Result<bool, StoreError> {
        let refused = if node.info().await?.tells_before_it_answers() {
            let mut track = redis::cmd("CLIENT");
            track.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(self.0.keys.webhooks_of(partition));
            match node.answered(node.response_timeout(), track.query_async::<()>(connection)).await {
                Ok(()) => return Ok(true),
                Err(StoreError::Refused(error) | StoreError::Forbidden(error)) => error.to_string(),
                Err(error) => return Err(error),
            }
        } else {
            "its I/O threads may answer a change before they report it".to_owned()
        };
        tracing::info!(
            refused,
            partition,
            "Redis does not report changes to webhooks, so each delivery asks for its webhooks"
        );
        Ok(false)
    }
}
