//! The members of a JSON object, read one by one, so that all faults are found at once.
//!
//! A value is quoted in no fault, because a secret may have been written to a wrong place.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    problem::{FAULTS_MAX, Fault, Kind, Problem},
    query::position,
};
use crate::domain::text::nearest;

/// The most members of an object that are looked at.
const MEMBERS_MAX: usize = 1000;

/// An object of a body, and the faults that were found in it so far.
pub(super) struct Fields<'a> {
    /// The JSON pointer of the object.
    at: String,
    /// If the value is no object, that is its only fault.
    is_object: bool,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
    /// Further faults are not collected, so that a body cannot cost a multiple of its size.
    faults_max: usize,
}

/// A member: absent, `null`, or a value.
pub(super) enum Member<T> {
    Absent,
    Null,
    Value(T),
}

impl<T> Member<T> {
    /// The value, if there is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl<'a> Fields<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `malformed`, with line and column, if it is not JSON.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, Problem> {
        let body = body.strip_prefix(crate::domain::text::BYTE_ORDER_MARK).unwrap_or(body);
        let malformed = |error: serde_json::Error| {
            Problem::malformed(format!("the body is not JSON (line {}, column {})", error.line(), error.column()))
        };
        let text = std::str::from_utf8(body).map_err(|_| Problem::malformed("the body is not UTF-8"))?;
        let whole: &RawValue = serde_json::from_str(text).map_err(malformed)?;
        Ok(Self::of(whole, String::new()))
    }

    /// Reads a body that may be absent, which is an object without members.
    pub(super) fn of_optional_body(body: &'a [u8]) -> Result<Self, Problem> {
        Self::of_body(if body.is_empty() { b"{}" } else { body })
    }

    /// Reads an object at a JSON pointer.
    pub(super) fn of(value: &'a RawValue, at: String) -> Self {
        let mut fields = Self {
            at,
            is_object: true,
            members: Vec::new(),
            known: Vec::new(),
            faults: Vec::new(),
            faults_max: FAULTS_MAX + 1,
        };
        if let Ok(Members { read, are_too_many }) = serde_json::from_str(value.get()) {
            fields.members = read;
            if are_too_many {
                fields.fault("", format!("has more than {MEMBERS_MAX} members"));
            }
        } else {
            fields.fault("", "must be an object");
            fields.is_object = false;
        }
        fields
    }

    /// The JSON pointer of a member.
    pub(super) fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    /// Adds a fault at a member, or at the object itself if `name` is empty.
    pub(super) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        if !self.is_object || self.faults.len() >= self.faults_max {
            return;
        }
        let pointer = if name.is_empty() { self.at.clone() } else { self.pointer(name) };
        self.faults.push(Fault::at(&pointer, detail));
    }

    /// A member's value as it is written.
    pub(super) fn raw(&mut self, name: &'static str) -> Member<&'a RawValue> {
        self.known.push(name);
        let mut found = self.members.iter().filter(|(member, _)| member == name).map(|(_, value)| *value);
        let Some(value) = found.next() else { return Member::Absent };
        if found.next().is_some() {
            self.fault(name, "occurs more than once");
        }
        if value.get() == "null" { Member::Null } else { Member::Value(value) }
    }

    /// A member of this type. `expected` completes "must be …".
    pub(super) fn read<T: Deserialize<'a>>(&mut self, name: &'static str, expected: &str) -> Member<T> {
        match self.raw(name) {
            Member::Absent => Member::Absent,
            Member::Null => Member::Null,
            Member::Value(value) => {
                if let Ok(value) = serde_json::from_str(value.get()) {
                    return Member::Value(value);
                }
                self.fault(name, format!("must be {expected}"));
                Member::Absent
            }
        }
    }

    /// A text that may be absent; `null` counts as absent.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, "a string").value()
    }

    /// A text that is parsed. Its error's text is the fault.
    pub(super) fn parsed<T: std::str::FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|error: T::Err| self.fault(name, error.to_string())).ok()
    }

    /// The position of a cursor that an earlier answer gave under the same name.
    pub(super) fn position(&mut self, name: &'static str) -> Option<String> {
        let cursor = self.text(name)?;
        let position = position(&cursor);
        if position.is_none() {
            self.fault(name, format!("is not a position: send `{name}` of the answer before unchanged"));
        }
        position
    }

    /// Adds the fault of a member that is absent, unless it has one already.
    pub(super) fn need(&mut self, name: &str, detail: &str) {
        if !self.is_faulty(&self.pointer(name)) {
            self.fault(name, detail);
        }
    }

    /// Whether a fault was found at this member or below it.
    pub(super) fn is_faulty(&self, pointer: &str) -> bool {
        let there = Fault::at(pointer, "");
        self.faults.iter().any(|fault| there.covers(fault))
    }

    /// Collects no more faults than this.
    pub(super) fn collect_at_most(&mut self, faults: usize) {
        self.faults_max = faults;
    }

    /// Adds faults that were found below a member.
    pub(super) fn extend(&mut self, faults: Vec<Fault>) {
        self.faults.extend(faults);
        self.faults.truncate(self.faults_max);
    }

    /// Ends reading.
    ///
    /// # Errors
    /// This kind of problem, if there are faults.
    pub(super) fn end_or(self, kind: &'static Kind) -> Result<(), Problem> {
        let faults = self.end();
        if faults.is_empty() { Ok(()) } else { Err(Problem::of_faults(kind, faults)) }
    }

    /// All faults, including members that nothing asked for.
    pub(super) fn end(mut self) -> Vec<Fault> {
        for (name, _) in std::mem::take(&mut self.members) {
            if self.faults.len() >= self.faults_max {
                break;
            }
            if !self.known.contains(&&*name) {
                let shown: String = name.chars().take(64).collect();
                let pointer = shown.replace('~', "~0").replace('/', "~1");
                let detail = match nearest(&name, self.known.iter().copied()) {
                    Some(nearest) => format!("there is no such member; did you mean `{nearest}`?"),
                    None if self.known.is_empty() => "there is no such member, and no other".to_owned(),
                    None => format!("there is no such member; there are: {}", self.known.join(", ")),
                };
                self.fault(&pointer, detail);
            }
        }
        self.faults
    }
}

/// The first members of an object in order, with repetitions, their values unread.
struct Members<'a> {
    read: Vec<(Cow<'a, str>, &'a RawValue)>,
    are_too_many: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut read = Vec::new();
                while read.len() < MEMBERS_MAX
                    && let Some((name, value)) = map.next_entry::<Name<'de>, _>()?
                {
                    read.push((name.0, value));
                }
                let mut are_too_many = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    are_too_many = true;
                }
                Ok(Members { read, are_too_many })
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// A member's name, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_found_at_once_and_none_quotes_a_value() {
        let body = br#"{"url": 5, "urls": "s3cret", "active": "s3cret", "events": null, "active": true, "a/b": 1}"#;
        let mut fields = Fields::of_body(body).unwrap();
        assert!(fields.text("url").is_none());
        assert!(matches!(fields.raw("events"), Member::Null));
        assert!(fields.read::<bool>("active", "true or false").value().is_none());
        assert!(fields.is_faulty("/url") && !fields.is_faulty("/ur"));
        let faults = fields.end();
        let all: Vec<_> = faults.iter().map(|fault| (fault.pointer.as_deref().unwrap(), &*fault.detail)).collect();
        assert_eq!(
            all,
            [
                ("#/url", "must be a string"),
                ("#/active", "occurs more than once"),
                ("#/active", "must be true or false"),
                ("#/urls", "there is no such member; did you mean `url`?"),
                ("#/a~1b", "there is no such member; there are: url, events, active"),
            ]
        );
    }

    #[test]
    fn a_body_that_is_not_json_is_named_with_its_place() {
        let Err(problem) = Fields::of_body(b"{\n  \"url\": }") else { panic!("it is read") };
        assert_eq!(problem.kind.name, "malformed");
        let Ok(mut fields) = Fields::of_body(b"[]") else { panic!("it is JSON") };
        fields.fault("url", "is needed");
        let faults: Vec<_> = fields.end().into_iter().map(|fault| fault.detail).collect();
        assert_eq!(faults, ["must be an object"]);
    }
}
