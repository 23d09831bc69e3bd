//! `[event]`: the largest envelope, and the catalogue of event types.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use toml::Value;

use super::{MESSAGE_BYTES, Read, is_name};
use crate::{
    config::{
        Event, EventType,
        error::ConfigError,
        layers::{CATALOGUE, Entry, kind},
    },
    domain::{event::TEST_EVENT, text::nearest},
};

impl Read<'_> {
    /// `[event]`
    pub(super) fn event(&self) -> Result<Event, ConfigError> {
        Ok(Event { max_bytes: self.bytes("event.max_bytes", &MESSAGE_BYTES)?, types: self.event_types()? })
    }

    fn event_types(&self) -> Result<BTreeMap<String, EventType>, ConfigError> {
        self.layers.types().map(|(name, entry)| Ok((name.clone(), event_type(name, entry)?))).collect()
    }
}

/// One `[event.types."…"]`.
fn event_type(name: &str, entry: &Entry) -> Result<EventType, ConfigError> {
    const KEYS: [&str; 4] = ["description", "identifiers", "schema", "example"];
    let key = format!("{CATALOGUE}.\"{name}\"");
    let wrong = |key: &str, found: &str, expected: &str| ConfigError::Value {
        key: key.to_owned(),
        origin: entry.origin.clone(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    if !is_name(name, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c)) {
        return Err(wrong(
            &key,
            "not a valid name of an event type",
            "1 to 64 of a-z 0-9 _ and dots, such as transcript.deleted",
        ));
    }
    if name == TEST_EVENT {
        return Err(wrong(&key, "built in and cannot be defined", "another name"));
    }
    let table = entry.value.as_table().ok_or_else(|| {
        wrong(&key, kind(&entry.value), "a table, such as { description = \"A transcript has been deleted\" }")
    })?;
    if let Some(unknown) = table.keys().find(|known| !KEYS.contains(&known.as_str())) {
        return Err(ConfigError::UnknownKey {
            key: format!("{key}.{unknown}"),
            origin: entry.origin.clone(),
            nearest: nearest(unknown, KEYS.into_iter()).map(|known| format!("{key}.{known}")),
        });
    }

    let expected = "one line for people, such as \"A transcript has been deleted\"";
    let description = match table.get("description") {
        Some(Value::String(text)) if !text.trim().is_empty() && !text.contains('\n') => text.clone(),
        found => {
            let found = found.map_or_else(|| "missing".to_owned(), ToString::to_string);
            return Err(wrong(&format!("{key}.description"), &found, expected));
        }
    };

    let expected =
        "a table of labels and JSON pointers, which begin with \"/\", such as { messageId = \"/messageId\" }";
    let identifiers = match table.get("identifiers") {
        None => BTreeMap::new(),
        Some(Value::Table(pointers)) => pointers
            .iter()
            .map(|(label, pointer)| match pointer.as_str().filter(|pointer| is_json_pointer(pointer)) {
                Some(pointer) if !label.is_empty() => Ok((label.clone(), pointer.to_owned())),
                _ => Err(wrong(&format!("{key}.identifiers.{label}"), &pointer.to_string(), expected)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong(&format!("{key}.identifiers"), kind(other), expected)),
    };
    let json = |name: &str, expected: &str| match table.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(object)
            .map(Some)
            .ok_or_else(|| wrong(&format!("{key}.{name}"), "not a JSON object in quotes", expected)),
    };
    let schema = json("schema", "a JSON Schema of the whole envelope, such as '{ \"type\": \"object\" }'")?;
    let example = json("example", "an envelope, such as '{ \"event\": \"a.b\", \"timestamp\": \"…\", \"data\": {} }'")?;
    Ok(EventType { description, identifiers, schema, example }.or_built_in(name))
}

/// A JSON object, as it is written.
fn object(text: &str) -> Option<Box<RawValue>> {
    serde_json::from_str::<Box<RawValue>>(text).ok().filter(|value| value.get().starts_with('{'))
}

/// Whether the text is a JSON pointer (RFC 6901) other than the empty one: an identifier is a part of `data`, never all
/// of it.
fn is_json_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_says, from_file};

    #[test]
    fn event_types_are_added_by_name_and_one_of_the_same_name_is_replaced() {
        let types = from_file(
            "[event.types.\"transcript.created\"]\ndescription = \"New\"\n[event.types.\"a_1.b\"]\ndescription = \"Other\"",
        );
        let types = types.unwrap().event.types;
        assert_eq!(types.keys().collect::<Vec<_>>(), ["a_1.b", "transcript.created"]);
        assert_eq!(types["transcript.created"].description, "New");
        assert!(types["transcript.created"].identifiers.is_empty(), "replaced as a whole");
    }

    #[test]
    fn an_event_type_may_bring_its_schema_and_example_and_a_transcript_has_ours() {
        let text = "[event.types.\"a.b\"]\ndescription = \"x\"\nschema = '{ \"type\": \"object\" }'\nexample = '{}'";
        let types = from_file(text).unwrap().event.types;
        assert_eq!(types["a.b"].schema.as_ref().unwrap().get(), "{ \"type\": \"object\" }");
        assert_eq!(types["a.b"].example.as_ref().unwrap().get(), "{}");
        assert!(types["transcript.created"].schema.is_some() && types["transcript.created"].example.is_some());
    }

    #[test]
    fn an_event_type_that_is_not_well_formed_is_refused() {
        let long = "x".repeat(65);
        for (name, body, word) in [
            ("webhook.test", "description = \"x\"", "built in"),
            ("Transcript", "description = \"x\"", "a-z 0-9 _ and dots"),
            ("", "description = \"x\"", "a-z 0-9 _ and dots"),
            (&long, "description = \"x\"", "1 to 64"),
            ("a.b", "", "description` ("),
            ("a.b", "description = 3", "is 3"),
            ("a.b", "description = \" \"", "one line for people"),
            ("a.b", "description = \"x\"\nidentifiers = { i = \"i\" }", "identifiers.i"),
            ("a.b", "description = \"x\"\nidentifiers = { i = \"\" }", "begin with \"/\""),
            ("a.b", "description = \"x\"\nidentifiers = { i = \"/a~2\" }", "JSON pointers"),
            ("a.b", "description = \"x\"\nidentifiers = { \"\" = \"/a\" }", "labels"),
            ("a.b", "description = \"x\"\nidentifiers = [\"/a\"]", "is a list"),
            ("a.b", "description = \"x\"\nschema = '['", "JSON Schema of the whole envelope"),
            ("a.b", "description = \"x\"\nexample = '[]'", "example"),
            ("a.b", "description = \"x\"\nexample = { event = \"a.b\" }", "not a JSON object in quotes"),
        ] {
            assert_says(from_file(&format!("[event.types.\"{name}\"]\n{body}")), &["event.types", "line 1", word]);
        }
    }
}
