//! Placeholders, which the files in `deploy` have where an operator has to decide: `REPLACE-WITH-YOUR-HOST`. A value with
//! one is refused, because it may be valid otherwise, such as a password that everybody knows.

use toml::Value;

use super::Read;
use crate::config::{error::ConfigError, layers::Entry};

const BEGINS: &str = "REPLACE-WITH-";

/// The first placeholder in a text.
pub(super) fn placeholder(text: &str) -> Option<&str> {
    let found = &text[text.find(BEGINS)?..];
    let end = found.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-'));
    Some(found[..end.unwrap_or(found.len())].trim_end_matches('-'))
}

fn in_value(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => placeholder(text),
        Value::Array(values) => values.iter().find_map(in_value),
        Value::Table(table) => table.iter().find_map(|(name, value)| placeholder(name).or_else(|| in_value(value))),
        _ => None,
    }
}

impl Read<'_> {
    /// Refuses a value that still holds a placeholder.
    pub(super) fn no_placeholder(&self) -> Result<(), ConfigError> {
        self.layers.all().try_for_each(|(key, entry)| match in_value(&entry.value) {
            Some(found) => Err(unfilled(key, entry, found)),
            None => Ok(()),
        })
    }
}

/// The error for a placeholder in the value of `key`, or in the file that it names.
pub(super) fn unfilled(key: &str, entry: &Entry, placeholder: &str) -> ConfigError {
    ConfigError::Placeholder { key: key.to_owned(), origin: entry.origin.clone(), placeholder: placeholder.to_owned() }
}

#[cfg(test)]
mod tests {
    use crate::config::{
        Settings,
        tests::{Scratch, assert_says, from_env},
    };

    #[test]
    fn a_value_with_a_placeholder_is_refused_by_the_name_of_both_and_without_the_rest() {
        for (name, value, says) in [
            ("LYNKHOOK_REDIS__URL", "redis://worker:REPLACE-WITH-PASSWORD@redis/", "REPLACE-WITH-PASSWORD;"),
            ("REDIS_URL", "redis://worker:hunter2@REPLACE-WITH-YOUR-HOST/", "REPLACE-WITH-YOUR-HOST;"),
            ("LYNKHOOK_SERVER__PUBLIC_URL", "https://REPLACE-WITH-YOUR-HOST.example", "REPLACE-WITH-YOUR-HOST;"),
            ("LYNKHOOK_PORTAL__EMBED_ORIGINS", "https://a.example, https://REPLACE-WITH-A2", "REPLACE-WITH-A2;"),
            ("LYNKHOOK_SECRETS__KEY", "REPLACE-WITH-KEY", "REPLACE-WITH-KEY;"),
            ("LYNKHOOK_EVENT__TYPES", "{ a = { description = \"REPLACE-WITH-WORDS\" } }", "REPLACE-WITH-WORDS;"),
        ] {
            let result = from_env(&[(name, value)]);
            assert!(!result.as_ref().unwrap_err().to_string().contains("hunter2"));
            assert_says(result, &[&format!("({name})"), "placeholder", says, "your own value"]);
        }
        let result = from_env(&[("LYNKHOOK_REDIS__URL", "redis://worker:replace-with-it@redis/")]);
        assert!(result.is_ok(), "not a placeholder: {:?}", result.err());
    }

    #[test]
    fn a_placeholder_in_a_file_is_refused_by_its_line() {
        let file = Scratch::new("[redis]\nurl = \"redis://REPLACE-WITH-HOST:6379\"");
        assert_says(Settings::load(Some(&file.0), [("", "")]), &["redis.url", "line 2", "REPLACE-WITH-HOST;"]);
        let key = Scratch::new("REPLACE-WITH-THE-OUTPUT-OF-NEW-KEY\n");
        let result = from_env(&[("LYNKHOOK_SECRETS__KEY_FILE", key.name())]);
        assert_says(result, &["secrets.key_file", "REPLACE-WITH-THE-OUTPUT-OF-NEW-KEY;"]);
    }
}
