//! Reading new entries, on a connection on which Redis tells of changed webhooks besides.

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
    store::{Store, StoreError, link::answered, ms},
};

/// It is told once that a connection's id cannot be asked for.
static TOLD: Once = Once::new();

/// Reads new entries of one partition.
pub struct Reader {
    connection: MultiplexedConnection,
    client_id: ClientId,
    queue: String,
    consumer: String,
    blocking: Duration,
    response_timeout: Duration,
    known: Arc<Known>,
}

/// A reader's connection, as the node of its partition calls it.
#[derive(Debug, Clone, Copy)]
pub struct ClientId {
    partition: u16,
    /// 0 where Redis does not tell it.
    id: i64,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.known.stop_listening();
    }
}

impl Reader {
    /// Its connection, for [`Store::unblock`].
    pub fn client_id(&self) -> ClientId {
        self.client_id
    }

    /// Takes up to `most` new entries, waiting for the first.
    ///
    /// Never put this where a `select!` may drop it: the command goes on without its future, and what it takes would
    /// stay under a lease that nobody knows of until that ends. After an error the reader is of no use; open another.
    pub async fn read(&mut self, most: usize) -> Result<Vec<Entry>, StoreError> {
        self.take(most, Some(self.blocking)).await
    }

    /// The same without waiting: takes what is there.
    pub async fn read_at_once(&mut self, most: usize) -> Result<Vec<Entry>, StoreError> {
        self.take(most, None).await
    }

    async fn take(&mut self, most: usize, blocking: Option<Duration>) -> Result<Vec<Entry>, StoreError> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg("workers").arg(&self.consumer).arg("COUNT").arg(most);
        if let Some(blocking) = blocking {
            read.arg("BLOCK").arg(ms(blocking));
        }
        read.arg("STREAMS").arg(&self.queue).arg(">");
        failpoint::before("read", "");
        let limit = self.response_timeout + blocking.unwrap_or_default();
        let answer: Value = answered(limit, read.query_async(&mut self.connection)).await?;
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
    /// A reader of one partition, on a connection of its own, whose reads block for up to `blocking`. As long as it
    /// lives, and where Redis is willing, the partition's webhooks are `known` without asking.
    pub async fn reader(
        &self,
        partition: u16,
        consumer: &str,
        blocking: Duration,
        known: Arc<Known>,
    ) -> Result<Reader, StoreError> {
        let (heard, keys) = (known.clone(), self.0.keys.clone());
        let node = self.at(partition);
        let response_timeout = node.response_timeout();
        let mut connection = node.dedicated(move |push| heard.told(&keys, push)).await?;
        let ask = redis::cmd("CLIENT").arg("ID").clone();
        let told = answered(response_timeout, ask.query_async(&mut connection)).await;
        let id = match told.map_err(StoreError::from) {
            Ok(id) => id,
            Err(StoreError::Refused(error) | StoreError::Forbidden(error)) => {
                TOLD.call_once(|| {
                    tracing::warn!(%error, ?blocking, "reads cannot be ended early, so stopping may take up to `blocking` longer");
                });
                0
            }
            Err(error) => return Err(error),
        };
        if self.track_webhooks(partition, &mut connection).await? {
            known.listen();
        }
        Ok(Reader {
            connection,
            client_id: ClientId { partition, id },
            queue: self.0.keys.queue(partition),
            consumer: consumer.to_owned(),
            blocking,
            response_timeout,
            known,
        })
    }

    /// Has Redis tell of changes of a partition's webhooks on this connection; `false` where it does not, or not in
    /// time.
    async fn track_webhooks(&self, partition: u16, connection: &mut MultiplexedConnection) -> Result<bool, StoreError> {
        let refused = if self.at(partition).info().await?.tells_before_it_answers() {
            let mut track = redis::cmd("CLIENT");
            track.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(self.0.keys.webhooks_of(partition));
            let tracked = answered(self.at(partition).response_timeout(), track.query_async::<()>(connection)).await;
            match tracked.map_err(StoreError::from) {
                Ok(()) => return Ok(true),
                Err(StoreError::Refused(error) | StoreError::Forbidden(error)) => error.to_string(),
                Err(error) => return Err(error),
            }
        } else {
            "its threads for clients may answer a change before it is told of".to_owned()
        };
        tracing::info!(
            refused,
            partition,
            "Redis does not report changes to webhooks, so each delivery asks for its webhooks"
        );
        Ok(false)
    }

    /// Ends a reader's blocking read early: it answers with nothing, or with what it took just before. The read of a
    /// connection whose id is not known ends by itself.
    pub async fn unblock(&self, ClientId { partition, id }: ClientId) -> Result<(), StoreError> {
        if id == 0 {
            return Ok(());
        }
        self.at(partition).run::<i64>(redis::cmd("CLIENT").arg("UNBLOCK").arg(id)).await.map(drop)
    }
}
