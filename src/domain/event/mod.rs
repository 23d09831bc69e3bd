//! Events: the rules for a valid envelope. One function checks all envelopes, from the stream, the API and the command
//! line.
//!
//! An envelope is `{"event": …, "timestamp": …, "data": {…}}` and is delivered byte for byte as it came, so nothing
//! here keeps or rebuilds it: the check borrows the bytes, and returns the few facts that delivering needs.

mod event_type;
mod fault;
mod members;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::members::{Members, identifier};
pub use self::{
    event_type::{DescribedEventType, EventType},
    fault::EnvelopeFault,
};
use super::{identifier::Identifier, text::nearest};

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

    /// The event types as people are told of them, in the order of their names.
    pub fn described(&self) -> impl Iterator<Item = DescribedEventType> {
        self.types.iter().map(|(name, of)| of.described(name))
    }

    /// One event type as people are told of it.
    pub fn describe(&self, event: &str) -> Option<DescribedEventType> {
        self.types.get(event).map(|of| of.described(event))
    }

    /// The JSON Schema (2020-12) of the whole envelope of an event type.
    pub fn schema(&self, event: &str) -> Option<Box<RawValue>> {
        self.types.get(event).map(|of| of.schema(event))
    }

    /// Checks a producer's envelope: its form, its size, and that its event type is in the catalogue.
    pub fn judge(&self, envelope: &[u8]) -> Result<EnvelopeFacts, EnvelopeFault> {
        self.check_size(envelope)?;
        let facts = self.read(envelope)?;
        self.check_event(&facts.event)?;
        Ok(facts)
    }

    /// All faults of a producer's envelope, where [`Catalogue::judge`] names the first; none if it is valid. An unknown
    /// event type comes with the nearest name of the catalogue.
    pub fn faults(&self, envelope: &[u8]) -> Vec<EnvelopeFault> {
        let members = match self.check_size(envelope).and_then(|()| Members::parse(envelope)) {
            Ok(members) => members,
            Err(fault) => return vec![fault],
        };
        let event = members.event().and_then(|event| self.check_event(&event)).map_err(|fault| match fault {
            EnvelopeFault::UnknownEvent { event, .. } => {
                let nearest = nearest(&event, self.names()).map(str::to_owned);
                EnvelopeFault::UnknownEvent { event, nearest }
            }
            other => other,
        });
        [event.err(), members.timestamp().err(), members.data().err()].into_iter().flatten().collect()
    }

    fn check_size(&self, envelope: &[u8]) -> Result<(), EnvelopeFault> {
        let (actual, limit) = (envelope.len(), self.max_bytes);
        if actual > limit { Err(EnvelopeFault::TooLarge { actual, limit }) } else { Ok(()) }
    }

    fn check_event(&self, event: &str) -> Result<(), EnvelopeFault> {
        match event {
            TEST_EVENT => Err(EnvelopeFault::ReservedEvent),
            known if self.contains(known) => Ok(()),
            // Cut here, so that the search for the nearest name is short.
            unknown => Err(EnvelopeFault::UnknownEvent { event: unknown.chars().take(64).collect(), nearest: None }),
        }
    }

    /// Reads an envelope that was accepted before, when it became a delivery. The event type may have left the
    /// catalogue since, or the size limit may be lower now; neither invalidates an accepted event.
    pub fn read(&self, envelope: &[u8]) -> Result<EnvelopeFacts, EnvelopeFault> {
        let members = Members::parse(envelope)?;
        let event = members.event()?;
        members.timestamp()?;
        let data = members.data()?;
        let wanted = self.types.get(event.as_ref()).map(|t| &t.identifiers);
        let identifiers = wanted
            .into_iter()
            .flatten()
            .filter_map(|(name, pointer)| Some((name.clone(), identifier(data, pointer)?)))
            .collect();
        Ok(EnvelopeFacts { event: event.into_owned(), identifiers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        let transcript = EventType {
            description: String::new(),
            identifiers: BTreeMap::from([("messageId".to_owned(), "/messageId".to_owned())]),
            ..EventType::default()
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
    fn all_faults_of_an_envelope_are_named_at_their_places() {
        let faults = |envelope: &str| -> Vec<(&str, String)> {
            let faults = catalogue().faults(envelope.as_bytes());
            faults.iter().map(|fault| (fault.pointer(), fault.to_string())).collect()
        };
        let owned = |faults: &[(&'static str, &str)]| -> Vec<(&str, String)> {
            faults.iter().map(|(pointer, text)| (*pointer, (*text).to_owned())).collect()
        };
        for (envelope, expected) in [
            (
                r#"{"event":"transcript.create","timestamp":"yesterday","data":[]}"#,
                &[
                    (
                        "/event",
                        "the event type `transcript.create` is not in the catalogue; did you mean `transcript.created`?",
                    ),
                    ("/timestamp", "the envelope's `timestamp` is not an RFC 3339 time"),
                    ("/data", "the envelope's `data` is not an object"),
                ][..],
            ),
            (
                r#"{"event":"order.placed","data":{},"data":{}}"#,
                &[
                    ("/event", "the event type `order.placed` is not in the catalogue"),
                    ("/timestamp", "the envelope has no `timestamp`"),
                    ("/data", "the envelope has `data` more than once"),
                ],
            ),
            (
                r#"{"event":"webhook.test","timestamp":"2026-03-26T14:32:00Z","data":{}}"#,
                &[("/event", "the event type `webhook.test` is reserved for the test button")],
            ),
            ("[]", &[("", "the envelope is not a JSON object")]),
            ("{", &[("", "the envelope is not JSON (line 1, column 1)")]),
            (r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z","data":{}}"#, &[]),
        ] {
            assert_eq!(faults(envelope), owned(expected), "{envelope}");
            let first = catalogue().judge(envelope.as_bytes()).err();
            assert_eq!(first.is_some(), !expected.is_empty(), "judge agrees: {envelope}");
        }
        let large = " ".repeat(1025);
        assert_eq!(faults(&large).len(), 1);
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
