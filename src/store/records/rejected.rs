//! Rejected entries, for operators: listed, put back into the queue, or dropped.

use std::{borrow::Cow, ops::Bound};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use chrono::DateTime;
use redis::Value;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::entry_range::EntryRange;
use crate::{
    domain::log_entry::timestamp,
    store::{BATCH_MAX, BATCH_MAX_BYTES, EntryId, Store, StoreError, steps::pairs},
};

/// The entries of one page: few, because each may hold a whole envelope.
const PAGE: usize = 20;

/// An entry that was set aside because it could not be handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RejectedEntry {
    /// The id that it had in the queue.
    pub entry: String,
    /// Its own fields, in their original order. A name may occur twice, and neither name nor value need be text.
    #[schema(value_type = Vec<Field<'static>>)]
    #[serde(serialize_with = "fields")]
    pub fields: Vec<(Bytes, Bytes)>,
    /// Its id among the rejected entries, `<ms>-<sequence>`: the time at which it was rejected.
    pub id: EntryId,
    /// Its partition.
    pub partition: u16,
    /// The reason.
    pub reason: String,
    /// The time at which it was rejected: RFC 3339, UTC, with milliseconds, by Redis's clock.
    pub time: String,
}

/// The operator's decision about rejected entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Put them back into the queue, with their own fields.
    Requeue,
    /// Drop and count them.
    Drop,
}

/// The result of one batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Entries that left.
    pub moved: u64,
    /// Entries that stayed, because their own fields cannot be restored.
    pub stayed: u64,
    /// The rest of the range; `None` if nothing is left.
    pub rest: Option<EntryRange>,
}

impl Store {
    /// A partition's rejected entries, newest first, up to `newest`; at most `most`, and no more after `most_bytes`.
    pub async fn rejected(
        &self,
        partition: u16,
        newest: Bound<&EntryId>,
        most: usize,
        most_bytes: usize,
    ) -> Result<Vec<RejectedEntry>, StoreError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut newest = match newest {
            Bound::Unbounded => "+".to_owned(),
            Bound::Included(id) => id.0.clone(),
            Bound::Excluded(id) => format!("({}", id.0),
        };
        while entries.len() < most && bytes <= most_bytes {
            let wanted = PAGE.min(most - entries.len());
            let mut page = redis::cmd("XREVRANGE");
            page.arg(self.0.keys.rejected(partition)).arg(&newest).arg("-").arg("COUNT").arg(wanted);
            let page: Vec<(String, Value)> = self.at(partition).run(&page).await?;
            let ended = page.len() < wanted;
            if let Some((id, _)) = page.last() {
                newest = format!("({id}");
            }
            let page = page.into_iter().map(|(id, fields)| RejectedEntry::new(partition, id, pairs(fields)));
            entries.extend(page.inspect(|entry| bytes += entry.bytes()));
            if ended {
                break;
            }
        }
        Ok(entries)
    }

    /// Whether a partition has this rejected entry.
    pub async fn has_rejected(&self, partition: u16, id: &EntryId) -> Result<bool, StoreError> {
        let mut find = redis::cmd("XRANGE");
        find.arg(self.0.keys.rejected(partition)).arg(&id.0).arg(&id.0).arg("COUNT").arg(1);
        let found: Vec<Value> = self.at(partition).run(&find).await?;
        Ok(!found.is_empty())
    }

    /// The range of a partition's rejected entries as they are now, and their number; `None` if there are none. Entries
    /// that are rejected from now on, perhaps for the second time, are not in the range.
    pub async fn rejected_range(&self, partition: u16) -> Result<Option<(EntryRange, u64)>, StoreError> {
        let key = self.0.keys.rejected(partition);
        let mut look = redis::pipe();
        look.cmd("XREVRANGE").arg(&key).arg("+").arg("-").arg("COUNT").arg(1);
        look.cmd("XLEN").arg(&key);
        let (newest, length): (Vec<(String, Value)>, u64) = self.at(partition).run_pipeline(&look).await?;
        let last = newest.into_iter().next().map(|(id, _)| id);
        Ok(last.map(|last| (EntryRange { first: EntryId("-".to_owned()), last: EntryId(last) }, length)))
    }

    /// Requeues or drops the first entries of a range, in one script.
    pub async fn dispose_rejected(&self, partition: u16, range: &EntryRange, fate: Fate) -> Result<Batch, StoreError> {
        let (keys, scripts) = (&self.0.keys, &self.0.scripts);
        let (script, other) = match fate {
            Fate::Requeue => (&scripts.requeue_rejected, keys.queue(partition)),
            Fate::Drop => (&scripts.drop_rejected, keys.counts(partition)),
        };
        let mut script = script.key(keys.rejected(partition));
        script.key(other).arg(&range.first.0).arg(&range.last.0).arg(BATCH_MAX).arg(BATCH_MAX_BYTES);
        let (moved, stayed, next): (u64, u64, String) = self.at(partition).run_script(&script).await?;
        let rest = (!next.is_empty()).then(|| EntryRange { first: EntryId(next), last: range.last.clone() });
        Ok(Batch { moved, stayed, rest })
    }
}

impl RejectedEntry {
    /// The bytes of its own fields.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn new(partition: u16, id: String, mut fields: Vec<(Bytes, Bytes)>) -> Self {
        let mut own = |name: &str| {
            let found = fields.first().is_some_and(|(first, _)| first == name.as_bytes());
            if found { String::from_utf8_lossy(&fields.remove(0).1).into_owned() } else { String::new() }
        };
        let (reason, entry) = (own("reason"), own("entry"));
        let id = EntryId(id);
        let ms = id.order().and_then(|(ms, _)| i64::try_from(ms).ok());
        let time = ms.and_then(DateTime::from_timestamp_millis).map(timestamp).unwrap_or_default();
        Self { entry, fields, id, partition, reason, time }
    }
}

/// One field of an entry, as text.
#[derive(Serialize, ToSchema)]
#[schema(as = RejectedField)]
#[serde(rename_all = "camelCase")]
struct Field<'a> {
    /// The value in Base64, if it is no valid text.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// The name.
    #[schema(value_type = String)]
    name: Cow<'a, str>,
    /// The name in Base64, if it is no valid text.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    /// The value.
    #[schema(value_type = String)]
    value: Cow<'a, str>,
}

/// Writes each field as text. A name or value that is no valid text is also written in Base64.
fn fields<S: Serializer>(fields: &[(Bytes, Bytes)], serializer: S) -> Result<S::Ok, S::Error> {
    let encoded = |bytes| str::from_utf8(bytes).is_err().then(|| BASE64_STANDARD.encode(bytes));
    serializer.collect_seq(fields.iter().map(|(name, value)| Field {
        base64: encoded(value),
        name: String::from_utf8_lossy(name),
        name_base64: encoded(name),
        value: String::from_utf8_lossy(value),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_fields_in_order_and_binary_values_also_in_base64() {
        let own: [(&[u8], &[u8]); 5] = [
            (b"reason", b"the entry has no field `account`"),
            (b"entry", b"1774535520001-0"),
            (b"account", b"acme"),
            (b"account", b"\xff\x00"),
            (b"\xfe", b"x"),
        ];
        let own = own.map(|(name, value)| (name.into(), value.into()));
        let entry = RejectedEntry::new(3, "1774535520045-7".to_owned(), own.into());
        let expected = serde_json::json!({
            "entry": "1774535520001-0",
            "fields": [
                { "name": "account", "value": "acme" },
                { "base64": "/wA=", "name": "account", "value": "\u{fffd}\u{0}" },
                { "name": "\u{fffd}", "nameBase64": "/g==", "value": "x" },
            ],
            "id": "1774535520045-7", "partition": 3,
            "reason": "the entry has no field `account`", "time": "2026-03-26T14:32:00.045Z",
        });
        assert_eq!(serde_json::to_value(&entry).unwrap(), expected);
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(json, expected.to_string(), "members come in the order of their names");
    }
}
