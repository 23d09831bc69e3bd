//! Identifiers in log entries: values from an event, unchanged.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// The length in bytes to which identifiers are cut, so that one event cannot swell a log.
const MAX_BYTES: usize = 256;

/// The value of one identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    /// A string's text.
    Text(String),
    /// A number, `true` or `false`, as its original JSON: parsing a number and writing it again may change it.
    Plain(Box<str>),
}

impl Identifier {
    /// This JSON as an identifier; `None` if it is `null`, an array or an object.
    pub(super) fn of(json: &RawValue) -> Option<Self> {
        let text = json.get();
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok().map(|text| Self::Text(cut(text))),
            b'-' | b'0'..=b'9' | b't' | b'f' if text.len() <= MAX_BYTES => Some(Self::Plain(text.into())),
            // A number that is cut would be another number, so it becomes a string.
            b'-' | b'0'..=b'9' => Some(Self::Text(cut(text.to_owned()))),
            _ => None,
        }
    }

    /// The text that people are shown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Plain(json) => json,
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        text.push('…');
    }
    text
}

impl From<&str> for Identifier {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The schema of identifiers by name.
#[cfg(feature = "program")]
pub(crate) fn schema_by_name() -> utoipa::openapi::Object {
    use utoipa::openapi::{ObjectBuilder, Type, schema::SchemaType};
    let value = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Number, Type::Boolean]));
    ObjectBuilder::new().additional_properties(Some(value)).description(Some("Related entity ids.")).build()
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Plain(json) => {
                serde_json::from_str::<&RawValue>(json).map_err(S::Error::custom)?.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Self::of(&json).ok_or_else(|| D::Error::custom("an identifier is a string, a number, true or false"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Option<Identifier> {
        Identifier::of(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_number_keeps_its_text_whatever_its_form_in_the_log_and_out_of_it() {
        for number in [
            "7",
            "12345678901234567890123",
            "-12345678901234567890123",
            "18446744073709551616",
            "1.0",
            "1.10",
            "1e3",
            "1E+3",
            "1e-07",
            "-0",
            "-0.0",
            "0.1000000000000000055511151231257827",
            "1e400",
            "-1e-400",
            "true",
            "false",
        ] {
            let identifier = of(number).unwrap();
            assert_eq!(identifier.as_str(), number);
            let written = serde_json::to_string(&identifier).unwrap();
            assert_eq!(written, number);
            assert_eq!(serde_json::from_str::<Identifier>(&written).unwrap(), identifier);
        }
    }

    #[test]
    fn a_string_is_its_text_and_no_number() {
        for (json, text) in [(r#""m\u0031""#, "m1"), (r#""1e3""#, "1e3"), (r#""""#, ""), (r#""\"\\""#, "\"\\")] {
            assert_eq!(of(json), Some(text.into()), "{json}");
        }
        assert_eq!(serde_json::to_string(&of(r#""1e3""#)).unwrap(), r#""1e3""#);
        for none in ["null", "[]", "{}", r#""\ud800""#] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_long_value_is_cut_at_a_character_and_a_cut_number_is_a_string() {
        let text = |json: String| match of(&json).unwrap() {
            Identifier::Text(text) => text,
            Identifier::Plain(json) => panic!("{json}"),
        };
        assert_eq!(text(format!("\"{}\"", "é".repeat(300))), "é".repeat(128) + "…");
        assert_eq!(text("1".repeat(257)), "1".repeat(256) + "…");
        assert_eq!(of(&"1".repeat(256)), Some(Identifier::Plain("1".repeat(256).into())));
    }
}
