//! Events: the rules for a valid envelope. One function checks all envelopes, from the stream, the API and the command
//! line.
//!
//! An envelope is `{"event": …, "timestamp": …, "data": {…}}` and is delivered byte for byte as it came, so nothing
//! here keeps or rebuilds it: the check borrows the bytes, and returns the few facts that delivering needs.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{identifier::Identifier, text::BYTE_ORDER_MARK};

/// The event type of the test button. It is built in, never in the catalogue, and never accepted from a producer.
pub const TEST_EVENT: &str = "webhook.test";

/// An event's id, sent as `webhook-id`: `[A-Za-z0-9_-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "program", derive(utoipa::ToSchema), schema(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
#[serde(try_from = "String")]
pub struct EventId(String);

/// The error for a text that is not an event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id is 1 to 64 of A-Z a-z 0-9 _ -")]
pub struct NotAnEventId;

impl EventId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of an event whose producer gave none. It consists of the partition, the stream entry, and a digest of
    /// account and envelope, because stream ids repeat across partitions and after a stream was deleted.
    pub fn derive(partition: u16, entry: &str, account: &str, envelope: &[u8]) -> Self {
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        digest.update(account.as_bytes());
        digest.update(b"\n");
        digest.update(envelope);
        let digest = digest.finish();
        let head: [u8; 8] = std::array::from_fn(|i| digest.as_ref()[i]);
        Self(format!("{partition}-{entry}-{:016x}", u64::from_be_bytes(head)))
    }
}

impl std::str::FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(legal);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAnEventId) }
    }
}

impl TryFrom<String> for EventId {
    type Error = NotAnEventId;

    fn try_from(text: String) -> Result<Self, NotAnEventId> {
        text.parse()
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The event types that customers can subscribe to, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    types: BTreeMap<String, EventType>,
    max_bytes: usize,
}

/// One event type of the catalogue.
#[derive(Debug, Clone)]
pub struct EventType {
    /// A description for people, in one line.
    pub description: String,
    /// For each identifier's name, a JSON pointer (RFC 6901) into `data`.
    pub identifiers: BTreeMap<String, String>,
}

/// The facts of an envelope that a delivery needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvelopeFacts {
    /// The event type.
    pub event: String,
    /// The identifiers that the catalogue names for this event type, as far as `data` has them. (No map, which would
    /// take 0.8 KiB until the endpoint answers.)
    pub identifiers: Vec<(String, Identifier)>,
}

/// Related entity ids, by name, to trace a delivery back to its source event.
pub type Identifiers = BTreeMap<String, Identifier>;

/// The reason why bytes are not a valid envelope. The text names the fault and never quotes the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// The envelope is larger than `event.max_bytes`.
    #[error("the envelope has {actual} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its length in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The envelope begins with U+FEFF. It is not removed, because an envelope's bytes are never changed.
    #[error("the envelope begins with a byte order mark (U+FEFF); send it without")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("the envelope is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the envelope is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the envelope is not a JSON object")]
    NotAnObject,
    /// A required member is absent.
    #[error("the envelope has no `{0}`")]
    Missing(&'static str),
    /// A required member occurs more than once.
    #[error("the envelope has `{0}` more than once")]
    Repeated(&'static str),
    /// A required member has another type.
    #[error("the envelope's `{member}` is not {expected}")]
    WrongType {
        /// The member's name.
        member: &'static str,
        /// The type that it should have.
        expected: &'static str,
    },
    /// The event type is not in the catalogue.
    #[error("the event type `{0}` is not in the catalogue")]
    UnknownEvent(String),
    /// Only the test button sends `webhook.test`.
    #[error("the event type `webhook.test` is reserved for the test button")]
    ReservedEvent,
}

impl Catalogue {
    /// A catalogue of these types, for envelopes of at most `max_bytes` bytes.
    pub fn new(types: BTreeMap<String, EventType>, max_bytes: usize) -> Self {
        Self { types, max_bytes }
    }

    /// The event types' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// Whether customers can subscribe to this event type.
    pub fn contains(&self, event: &str) -> bool {
        self.types.contains_key(event)
    }

    /// Checks a producer's envelope: its form, its size, and that its event type is in the catalogue.
    pub fn judge(&self, envelope: &[u8]) -> Result<EnvelopeFacts, EnvelopeFault> {
        if envelope.len() > self.max_bytes {
            return Err(EnvelopeFault::TooLarge { actual: envelope.len(), limit: self.max_bytes });
        }
        let facts = self.read(envelope)?;
        if facts.event == TEST_EVENT {
            return Err(EnvelopeFault::ReservedEvent);
        }
        if !self.contains(&facts.event) {
            return Err(EnvelopeFault::UnknownEvent(facts.event.chars().take(64).collect()));
        }
        Ok(facts)
    }

    /// Reads an envelope that was accepted before, when it became a delivery. The event type may have left the
    /// catalogue since, or the size limit may be lower now; neither invalidates an accepted event.
    pub fn read(&self, envelope: &[u8]) -> Result<EnvelopeFacts, EnvelopeFault> {
        let members = Members::parse(envelope)?;
        let event = members.text("event")?;
        let timestamp = members.text("timestamp")?;
        if chrono::DateTime::parse_from_rfc3339(&timestamp).is_err() {
            return Err(EnvelopeFault::WrongType { member: "timestamp", expected: "an RFC 3339 time" });
        }
        let data = members.raw("data")?;
        if !data.get().starts_with('{') {
            return Err(EnvelopeFault::WrongType { member: "data", expected: "an object" });
        }
        let wanted = self.types.get(event.as_ref()).map(|t| &t.identifiers);
        let identifiers = wanted
            .into_iter()
            .flatten()
            .filter_map(|(name, pointer)| Some((name.clone(), identifier(data, pointer)?)))
            .collect();
        Ok(EnvelopeFacts { event: event.into_owned(), identifiers })
    }
}

/// The members that an envelope must have, unparsed.
struct Members<'a> {
    found: [(&'static str, Option<&'a RawValue>); 3],
}

impl<'a> Members<'a> {
    fn parse(envelope: &'a [u8]) -> Result<Self, EnvelopeFault> {
        if envelope.starts_with(BYTE_ORDER_MARK) {
            return Err(EnvelopeFault::ByteOrderMark);
        }
        let text = std::str::from_utf8(envelope).map_err(|_| EnvelopeFault::NotUtf8)?;
        let not_json = |e: serde_json::Error| EnvelopeFault::NotJson { line: e.line(), column: e.column() };
        let Pairs(pairs) = serde_json::from_str(text).or_else(|_| {
            // It is not JSON, or it is JSON but not an object. Only parsing again tells which.
            let whole: &RawValue = serde_json::from_str(text).map_err(not_json)?;
            if whole.get().starts_with('{') {
                serde_json::from_str(whole.get()).map_err(not_json)
            } else {
                Err(EnvelopeFault::NotAnObject)
            }
        })?;
        let mut found = [("event", None), ("timestamp", None), ("data", None)];
        for (name, value) in pairs {
            if let Some((member, slot)) = found.iter_mut().find(|(member, _)| name == **member)
                && slot.replace(value).is_some()
            {
                return Err(EnvelopeFault::Repeated(member));
            }
        }
        Ok(Self { found })
    }

    fn raw(&self, member: &'static str) -> Result<&'a RawValue, EnvelopeFault> {
        let found = self.found.iter().find(|(name, _)| *name == member).and_then(|(_, value)| *value);
        found.ok_or(EnvelopeFault::Missing(member))
    }

    fn text(&self, member: &'static str) -> Result<Cow<'a, str>, EnvelopeFault> {
        let wrong = EnvelopeFault::WrongType { member, expected: "a string" };
        serde_json::from_str::<Text<'a>>(self.raw(member)?.get()).map(|t| t.0).map_err(|_| wrong)
    }
}

/// A string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object, in order and with repetitions, their values unread.
struct Pairs<'a>(Vec<(Name<'a>, &'a RawValue)>);

/// A member's name, as bytes: a lone surrogate (`\ud800`) is legal JSON but no valid text, and does not matter here.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Cow<'de, [u8]>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(name))
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
                Ok(Cow::Owned(name.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Visitor).map(Name)
    }
}

impl PartialEq<str> for Name<'_> {
    fn eq(&self, text: &str) -> bool {
        *self.0 == *text.as_bytes()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<(Name<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Visitor).map(Pairs)
    }
}

/// The scalar at `pointer` in `data`, found without parsing the rest; `None` if there is none.
fn identifier(data: &RawValue, pointer: &str) -> Option<Identifier> {
    let mut here = data;
    for step in pointer.strip_prefix('/')?.split('/') {
        let name = step.replace("~1", "/").replace("~0", "~");
        let Pairs(pairs) = serde_json::from_str(here.get()).ok()?;
        here = pairs.into_iter().rev().find(|(member, _)| *member == *name)?.1;
    }
    Identifier::of(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        let transcript = EventType {
            description: String::new(),
            identifiers: BTreeMap::from([("messageId".to_owned(), "/messageId".to_owned())]),
        };
        Catalogue::new(BTreeMap::from([("transcript.created".to_owned(), transcript)]), 1024)
    }

    #[test]
    fn a_valid_envelope_gives_its_event_and_identifiers_however_it_is_written() {
        for text in [
            r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00.000Z","data":{"messageId":"m1"}}"#,
            "{ \"data\" : {\"x\":1e400, \"messageId\" : \"m\\u0031\" } ,\n\"extra\":[], \"timestamp\":\"2026-03-26T14:32:00+02:00\",\"event\":\"transcript.created\"}\n",
        ] {
            let facts = catalogue().judge(text.as_bytes()).unwrap();
            assert_eq!(facts.event, "transcript.created");
            assert_eq!(facts.identifiers, [("messageId".to_owned(), "m1".into())]);
        }
        // A lone surrogate is no valid text, and does no harm in a member that is not used.
        let surrogates = r#"{"event":"transcript.created","\ud800":"\udc00","timestamp":"2026-03-26T14:32:00Z","data":{"a\ud800":"\ud800","messageId":"m1"}}"#;
        assert_eq!(
            catalogue().judge(surrogates.as_bytes()).unwrap().identifiers,
            [("messageId".to_owned(), "m1".into())]
        );
        let huge = r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z","data":{"messageId": 12345678901234567890123 }}"#;
        let facts = catalogue().judge(huge.as_bytes()).unwrap();
        assert_eq!(facts.identifiers, [("messageId".to_owned(), Identifier::Plain("12345678901234567890123".into()))]);
        let without = br#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z","data":{}}"#;
        assert!(catalogue().judge(without).unwrap().identifiers.is_empty());
    }

    #[test]
    fn an_invalid_envelope_is_refused_with_the_fault_named() {
        let ok = r#""timestamp":"2026-03-26T14:32:00Z","data":{}"#;
        for (bytes, fault) in [
            (String::new(), "the envelope is not JSON (line 1, column 0)"),
            (
                format!("\u{feff}{{\"event\":\"transcript.created\",{ok}}}"),
                "the envelope begins with a byte order mark (U+FEFF); send it without",
            ),
            ("[]".into(), "the envelope is not a JSON object"),
            ("{} x".into(), "the envelope is not JSON (line 1, column 4)"),
            (format!("{{{ok}}}"), "the envelope has no `event`"),
            (format!(r#"{{"event":1,{ok}}}"#), "the envelope's `event` is not a string"),
            (format!(r#"{{"event":null,{ok}}}"#), "the envelope's `event` is not a string"),
            (format!(r#"{{"event":"x","event":"y",{ok}}}"#), "the envelope has `event` more than once"),
            (format!(r#"{{"event":"x.y",{ok}}}"#), "the event type `x.y` is not in the catalogue"),
            (
                format!(r#"{{"event":"webhook.test",{ok}}}"#),
                "the event type `webhook.test` is reserved for the test button",
            ),
            (
                r#"{"event":"transcript.created","timestamp":"yesterday","data":{}}"#.into(),
                "the envelope's `timestamp` is not an RFC 3339 time",
            ),
            (
                r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z","data":[]}"#.into(),
                "the envelope's `data` is not an object",
            ),
            (" ".repeat(1025), "the envelope has 1025 bytes, more than the 1024 allowed"),
        ] {
            assert_eq!(catalogue().judge(bytes.as_bytes()).unwrap_err().to_string(), fault, "{bytes}");
        }
        assert_eq!(catalogue().judge(b"{\"event\":\"\xff\"}"), Err(EnvelopeFault::NotUtf8));
    }

    #[test]
    fn a_derived_id_fits_and_differs_by_partition_entry_account_and_envelope() {
        let id = EventId::derive(1023, "18446744073709551615-99999", "acme", b"{}");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for other in [
            EventId::derive(0, "18446744073709551615-99999", "acme", b"{}"),
            EventId::derive(1023, "18446744073709551615-9999", "acme", b"{}"),
            EventId::derive(1023, "18446744073709551615-99999", "acm", b"{}"),
            EventId::derive(1023, "18446744073709551615-99999", "acme", b"{ }"),
        ] {
            assert_ne!(id, other);
        }
    }
}
