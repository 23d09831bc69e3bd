//! The members of an envelope, found without parsing their values.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::EnvelopeFault;
use crate::domain::{identifier::Identifier, text::BYTE_ORDER_MARK};

/// The members that an envelope must have, unparsed.
pub(super) struct Members<'a> {
    /// Each with its name, its value, and whether it occurs more than once.
    found: [(&'static str, Option<&'a RawValue>, bool); 3],
}

impl<'a> Members<'a> {
    pub(super) fn parse(envelope: &'a [u8]) -> Result<Self, EnvelopeFault> {
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
        let mut found = [("event", None, false), ("timestamp", None, false), ("data", None, false)];
        for (name, value) in pairs {
            if let Some((_, slot, repeated)) = found.iter_mut().find(|(member, ..)| name == **member) {
                *repeated |= slot.replace(value).is_some();
            }
        }
        Ok(Self { found })
    }

    /// The event type.
    pub(super) fn event(&self) -> Result<Cow<'a, str>, EnvelopeFault> {
        self.text("event")
    }

    /// Checks the time.
    pub(super) fn timestamp(&self) -> Result<(), EnvelopeFault> {
        let wrong = EnvelopeFault::WrongType { member: "timestamp", expected: "an RFC 3339 time" };
        chrono::DateTime::parse_from_rfc3339(&self.text("timestamp")?).map(|_| ()).map_err(|_| wrong)
    }

    /// The data, which is an object.
    pub(super) fn data(&self) -> Result<&'a RawValue, EnvelopeFault> {
        let data = self.raw("data")?;
        let wrong = EnvelopeFault::WrongType { member: "data", expected: "an object" };
        if data.get().starts_with('{') { Ok(data) } else { Err(wrong) }
    }

    fn raw(&self, member: &'static str) -> Result<&'a RawValue, EnvelopeFault> {
        match self.found.iter().find(|(name, ..)| *name == member) {
            Some((_, Some(_), true)) => Err(EnvelopeFault::Repeated(member)),
            Some((_, Some(value), false)) => Ok(value),
            _ => Err(EnvelopeFault::Missing(member)),
        }
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

/// The names along a JSON pointer (RFC 6901).
pub(super) fn steps(pointer: &str) -> impl Iterator<Item = String> {
    let steps = pointer.strip_prefix('/').into_iter().flat_map(|rest| rest.split('/'));
    steps.map(|step| step.replace("~1", "/").replace("~0", "~"))
}

/// The scalar at `pointer` in `data`, found without parsing the rest; `None` if there is none.
pub(super) fn identifier(data: &RawValue, pointer: &str) -> Option<Identifier> {
    let mut here = data;
    for name in steps(pointer) {
        let Pairs(pairs) = serde_json::from_str(here.get()).ok()?;
        here = pairs.into_iter().rev().find(|(member, _)| *member == *name)?.1;
    }
    Identifier::of(here)
}
