//! The fields of an event as a table, from its JSON Schema. It shows properties and items with their type and meaning;
//! whatever else a schema says stands in the schema itself.

use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::words::line;

/// The depth to which nested objects are shown. A schema may contain itself.
const DEPTH_MAX: usize = 8;
/// The most fields of a table.
const FIELDS_MAX: usize = 300;

/// One field of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// `data.utterances[].speaker`.
    pub(super) path: String,
    /// `string`, `array`, `string or null`, `string (date-time)`.
    pub(super) kind: String,
    meaning: String,
    pub(super) is_required: bool,
}

impl Field {
    /// Its meaning in parts, each with whether it stands between backticks.
    pub(super) fn meaning(&self) -> Vec<(&str, bool)> {
        let parts: Vec<_> = self.meaning.split('`').collect();
        // A backtick without another one is a plain character.
        if parts.len() % 2 == 0 {
            return vec![(&self.meaning, false)];
        }
        parts.into_iter().enumerate().map(|(place, part)| (part, place % 2 == 1)).collect()
    }
}

/// The part of a schema that the table shows.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Schema {
    description: String,
    #[serde(rename = "type")]
    kind: Option<Box<RawValue>>,
    format: Option<String>,
    #[serde(rename = "const")]
    constant: Option<Box<RawValue>>,
    #[serde(rename = "enum")]
    choices: Vec<Box<RawValue>>,
    required: Vec<String>,
    properties: Properties,
    items: Option<Box<RawValue>>,
    #[serde(rename = "$ref")]
    reference: Option<String>,
}

/// Properties in the order in which the author wrote them.
#[derive(Default)]
struct Properties(Vec<(String, Box<RawValue>)>);

/// The fields of the envelopes that a schema describes, in the author's order.
pub(super) fn fields(schema: &RawValue) -> Vec<Field> {
    let mut table = Table { root: schema, fields: Vec::new() };
    let root = table.read(schema);
    table.add("", root, 0);
    table.fields
}

struct Table<'a> {
    root: &'a RawValue,
    fields: Vec<Field>,
}

impl Table<'_> {
    /// A schema, or the one of the same document to which it refers.
    fn read(&self, schema: &RawValue) -> Schema {
        // A schema may also be `true`, which says nothing.
        let read: Schema = serde_json::from_str(schema.get()).unwrap_or_default();
        let target = read.reference.as_deref().and_then(|reference| reference.strip_prefix('#'));
        let found = target.and_then(|pointer| {
            let root: serde_json::Value = serde_json::from_str(self.root.get()).ok()?;
            serde_json::from_value(root.pointer(pointer)?.clone()).ok()
        });
        match found {
            Some(found) if read.description.is_empty() => found,
            Some(found) => Schema { description: read.description, ..found },
            None => read,
        }
    }

    fn add(&mut self, path: &str, object: Schema, depth: usize) {
        let before = if path.is_empty() { String::new() } else { format!("{path}.") };
        for (name, schema) in object.properties.0 {
            let is_required = object.required.contains(&name);
            self.add_one(&format!("{before}{name}"), &schema, is_required, depth);
        }
    }

    fn add_one(&mut self, path: &str, schema: &RawValue, is_required: bool, depth: usize) {
        if depth > DEPTH_MAX || self.fields.len() == FIELDS_MAX {
            return;
        }
        let mut schema = self.read(schema);
        let (kind, meaning) = (schema.kind(), line(&schema.description));
        self.fields.push(Field { path: line(path), kind, meaning, is_required });
        if let Some(items) = schema.items.take() {
            self.add_one(&format!("{path}[]"), &items, true, depth + 1);
        }
        self.add(path, schema, depth + 1);
    }
}

impl Schema {
    /// Its type, or its values, in words.
    fn kind(&self) -> String {
        if let Some(constant) = &self.constant {
            return line(constant.get());
        }
        if !self.choices.is_empty() {
            let choices: Vec<_> = self.choices.iter().map(|choice| choice.get()).collect();
            return line(&choices.join(" or "));
        }
        let kinds = self.kind.as_ref().map_or("", |kind| kind.get());
        let kinds: Vec<String> = serde_json::from_str(kinds)
            .or_else(|_| serde_json::from_str(kinds).map(|kind| vec![kind]))
            .unwrap_or_default();
        let kind = match kinds.join(" or ") {
            none if none.is_empty() => "any".to_owned(),
            kinds => kinds,
        };
        match &self.format {
            Some(format) => line(&format!("{kind} ({format})")),
            None => line(&kind),
        }
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> de::Visitor<'de> for InOrder {
            type Value = Properties;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("properties")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut properties = Vec::new();
                while let Some(property) = map.next_entry()? {
                    properties.push(property);
                }
                Ok(Properties(properties))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str) -> Vec<Field> {
        fields(&serde_json::from_str::<Box<RawValue>>(schema).unwrap())
    }

    #[test]
    fn nested_objects_and_arrays_are_told_by_their_paths_in_the_authors_order() {
        let fields = table(include_str!("../../../config/transcript.created.schema.json"));
        let told: Vec<_> = fields.iter().map(|field| (&*field.path, &*field.kind)).take(9).collect();
        assert_eq!(
            told,
            [
                ("event", "\"transcript.created\""),
                ("timestamp", "string (date-time)"),
                ("data", "object"),
                ("data.messageId", "string"),
                ("data.status", "string"),
                ("data.utterances", "array"),
                ("data.utterances[]", "object"),
                ("data.utterances[].speaker", "string"),
                ("data.utterances[].text", "string"),
            ]
        );
        let error = fields.iter().find(|field| field.path == "data.error").unwrap();
        assert_eq!((&*error.kind, error.is_required), ("string or null", true));
        let parts = [("The fault of the transcription; ", false), ("null", true), (" if there was none.", false)];
        assert_eq!(error.meaning(), parts);
        assert!(fields.iter().all(|field| !field.meaning.is_empty()), "{fields:?}");
    }

    #[test]
    fn a_schema_that_refers_to_itself_or_says_little_gives_a_bounded_table() {
        let schema = r##"{"properties": {"a": {"$ref": "#/$defs/node"}, "b": true, "c": {"enum": ["x", 1]}, "d": 5},
            "required": ["a"], "$defs": {"node": {"type": "object", "description": "A node.",
            "properties": {"next": {"$ref": "#/$defs/node"}, "all": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}}"##;
        let fields = table(schema);
        assert!(fields.len() <= FIELDS_MAX);
        assert_eq!((&*fields[0].path, &*fields[0].kind, &*fields[0].meaning), ("a", "object", "A node."));
        assert!(fields[0].is_required && !fields[1].is_required);
        for schema in ["true", "{}", "[]", r#"{"properties": 5}"#, r##"{"$ref": "#"}"##] {
            assert_eq!(table(schema), [], "{schema}");
        }
    }
}
