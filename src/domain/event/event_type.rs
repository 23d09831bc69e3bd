//! One event type, and its description for the people whose programs receive it: an example, and a JSON Schema.
//!
//! A schema describes and is never used to refuse an event: the queue accepts any `data` that is an object.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::members::steps;

/// The schema of `transcript.created`.
const TRANSCRIPT_SCHEMA: &str = include_str!("../../../config/transcript.created.schema.json");
/// The example of `transcript.created`.
const TRANSCRIPT_EXAMPLE: &str = include_str!("../../../config/transcript.created.example.json");

/// One event type of the catalogue.
#[derive(Debug, Clone, Default)]
pub struct EventType {
    /// A description for people, in one line.
    pub description: String,
    /// For each identifier's name, a JSON pointer (RFC 6901) into `data`.
    pub identifiers: BTreeMap<String, String>,
    /// The JSON Schema (2020-12) of the whole envelope, as its author wrote it; `None`: a general one.
    pub schema: Option<Box<RawValue>>,
    /// An envelope as an example; `None`: a general one.
    pub example: Option<Box<RawValue>>,
}

/// An event type as people are told of it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "program", derive(utoipa::ToSchema))]
pub struct DescribedEventType {
    /// Its name, which is the `event` of its envelopes.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The labels by which delivery logs tell one event from another, and the place of each value in `data`, as a JSON
    /// pointer (RFC 6901).
    pub identifiers: BTreeMap<String, String>,
    /// An envelope as an example.
    #[cfg_attr(feature = "program", schema(value_type = Object))]
    pub example: Box<RawValue>,
}

impl EventType {
    /// The same event type, with the schema and the example of the built-in type of this name unless it has one of its
    /// own.
    #[must_use]
    pub fn or_built_in(self, name: &str) -> Self {
        if name != "transcript.created" || self.schema.is_some() || self.example.is_some() {
            return self;
        }
        let [schema, example] = [TRANSCRIPT_SCHEMA, TRANSCRIPT_EXAMPLE].map(|text| serde_json::from_str(text).ok());
        Self { schema, example, ..self }
    }

    /// Its description under this name.
    pub(super) fn described(&self, name: &str) -> DescribedEventType {
        DescribedEventType {
            name: name.to_owned(),
            description: self.description.clone(),
            identifiers: self.identifiers.clone(),
            example: self.example.clone().unwrap_or_else(|| self.general_example(name)),
        }
    }

    /// The JSON Schema of its envelopes under this name.
    pub(super) fn schema(&self, name: &str) -> Box<RawValue> {
        self.schema.clone().unwrap_or_else(|| self.general_schema(name))
    }

    /// A schema of the members that every envelope has, with the identifiers described at their places. It says nothing
    /// about their types, because an event without a value that can be shown is accepted as well.
    fn general_schema(&self, name: &str) -> Box<RawValue> {
        let mut data = json!({ "description": "The event's own data.", "type": "object" });
        for (label, pointer) in &self.identifiers {
            let place = steps(pointer).flat_map(|step| ["properties".to_owned(), step]);
            let text = format!("The identifier `{label}`, which delivery logs show.");
            put(&mut data, place.chain(["description".to_owned()]), text);
        }
        raw(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            "description": self.description,
            "type": "object",
            "required": ["event", "timestamp", "data"],
            "properties": {
                "event": { "description": "The event type.", "const": name },
                "timestamp": { "description": "The time of the event: RFC 3339.", "type": "string", "format": "date-time" },
                "data": data,
            },
        }))
    }

    fn general_example(&self, name: &str) -> Box<RawValue> {
        let mut data = json!({});
        for (label, pointer) in &self.identifiers {
            put(&mut data, steps(pointer), format!("{label}-1"));
        }
        raw(&json!({ "event": name, "timestamp": "2026-03-26T14:32:00.000Z", "data": data }))
    }
}

/// Puts a text at this place, if no other value is in the way.
fn put(mut here: &mut Value, place: impl Iterator<Item = String>, text: String) {
    for step in place {
        if here.is_null() {
            *here = json!({});
        }
        let Some(members) = here.as_object_mut() else { return };
        here = members.entry(step).or_insert(Value::Null);
    }
    if here.is_null() {
        *here = text.into();
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("any value can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::{super::Catalogue, *};
    use crate::domain::transcript::Transcript;

    /// A type with the built-in schema, and one with identifiers alone, some of which are in each other's way.
    fn catalogue() -> Catalogue {
        let pointers = [("order", "/order/id"), ("customer", "/a~1b/~0"), ("outer", "/order"), ("z", "/order/id/deep")];
        let identifiers = pointers.map(|(label, pointer)| (label.to_owned(), pointer.to_owned())).into();
        let general = EventType { description: "An order".to_owned(), identifiers, ..EventType::default() };
        let types = [
            ("transcript.created".to_owned(), EventType::default().or_built_in("transcript.created")),
            ("order.placed".to_owned(), general.or_built_in("order.placed")),
        ];
        Catalogue::new(types.into(), 1 << 20)
    }

    fn value(raw: &RawValue) -> Value {
        serde_json::from_str(raw.get()).unwrap()
    }

    fn transcript_schema() -> jsonschema::Validator {
        jsonschema::draft202012::new(&value(&catalogue().schema("transcript.created").unwrap())).unwrap()
    }

    fn transcript() -> Value {
        serde_json::from_str(TRANSCRIPT_EXAMPLE).unwrap()
    }

    #[test]
    fn each_schema_is_valid_and_each_example_is_an_envelope_that_passes_it() {
        let catalogue = catalogue();
        for described in catalogue.described() {
            let schema = value(&catalogue.schema(&described.name).unwrap());
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
            jsonschema::draft202012::meta::validate(&schema).unwrap();
            jsonschema::draft202012::new(&schema).unwrap().validate(&value(&described.example)).unwrap();
            assert_eq!(catalogue.faults(described.example.get().as_bytes()), []);
            let facts = catalogue.judge(described.example.get().as_bytes()).unwrap();
            assert_eq!(facts.event, described.name);
        }
        assert!(catalogue.schema("order").is_none() && catalogue.describe("order").is_none());
    }

    #[test]
    fn a_general_schema_names_the_event_and_describes_identifiers_at_their_place() {
        let catalogue = catalogue();
        let schema = value(&catalogue.schema("order.placed").unwrap());
        assert_eq!(schema["properties"]["event"]["const"], "order.placed");
        let data = "/properties/data/properties";
        for (place, label) in
            [("/order/properties/id", "order"), ("/a~1b/properties/~0", "customer"), ("/order", "outer")]
        {
            let text = schema.pointer(&format!("{data}{place}/description")).unwrap();
            assert_eq!(text, &format!("The identifier `{label}`, which delivery logs show."));
        }
        let example = value(&catalogue.describe("order.placed").unwrap().example);
        assert_eq!(example["data"], json!({ "a/b": { "~": "customer-1" }, "order": { "id": "order-1" } }));
    }

    #[test]
    fn a_transcript_that_is_written_passes_the_schema_and_each_of_its_members_is_described() {
        let schema = transcript_schema();
        let mut one: Transcript = serde_json::from_value(transcript()["data"].clone()).unwrap();
        for error in [None, Some("no speech".to_owned())] {
            one.error = error;
            let written = one.created("2026-03-26T14:32:00Z".parse().unwrap()).unwrap();
            schema.validate(&serde_json::from_slice(&written.envelope).unwrap()).unwrap();
        }
        let names = |members: &Value| members.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let described = value(&catalogue().schema("transcript.created").unwrap());
        let described = &described["properties"]["data"]["properties"];
        let written = serde_json::to_value(&one).unwrap();
        assert_eq!(names(described), names(&written));
        assert_eq!(names(&described["utterances"]["items"]["properties"]), names(&written["utterances"][0]));
    }

    #[test]
    fn the_schema_and_the_type_agree_on_which_members_may_be_null_or_of_another_type() {
        let schema = transcript_schema();
        let agree = |envelope: &Value, what: &str| {
            let reads = serde_json::from_value::<Transcript>(envelope["data"].clone()).is_ok();
            assert_eq!(schema.is_valid(envelope), reads, "{what}");
            reads
        };
        for member in transcript()["data"].as_object().unwrap().keys() {
            let with = |new: Value| {
                let mut envelope = transcript();
                envelope["data"][member] = new;
                envelope
            };
            assert_eq!(agree(&with(Value::Null), member), member == "error", "{member}: null");
            agree(&with(json!(0.5)), member);
            agree(&with(json!([])), member);
        }
        for member in ["speaker", "text"] {
            let mut envelope = transcript();
            envelope["data"]["utterances"][0][member] = Value::Null;
            assert!(!agree(&envelope, member));
        }
        let mut further = transcript();
        further["data"]["utterances"][0]["startMs"] = 120.into();
        further["data"]["interviewRound"] = 2.into();
        assert!(agree(&further, "further members"));
    }

    #[test]
    fn a_transcript_without_a_member_or_beyond_a_unit_does_not_pass_the_schema() {
        let schema = transcript_schema();
        for member in transcript()["data"].as_object().unwrap().keys() {
            let mut envelope = transcript();
            envelope["data"].as_object_mut().unwrap().remove(member);
            assert!(!schema.is_valid(&envelope), "without {member}");
        }
        for (member, bad) in [("duration", -0.5), ("confidence", 1.01), ("confidence", -0.01)] {
            let mut envelope = transcript();
            envelope["data"][member] = bad.into();
            assert!(!schema.is_valid(&envelope), "{member} {bad}");
        }
    }
}
