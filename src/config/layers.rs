//! The layers of settings: `config/default.toml`, a file, the environment, flags. Each overrides the one before.
//!
//! `default.toml` holds every key, so it is also the schema: a name that is not in it is an error in every layer. Only
//! in the catalogue of event types do people choose names. Only `read` knows the rules for each value.

use std::{collections::BTreeMap, ffi::OsString, fs::File, io, io::Read, path::Path};

use toml::{Table, Value, de::DeTable, de::DeValue};

use super::error::{ConfigError, Origin};
use crate::domain::text::{nearest, without_mark};

/// The defaults, and the reference manual.
const DEFAULT: &str = include_str!("../../config/default.toml");
/// The key of the catalogue, a table whose names people choose: event types by name.
pub(super) const CATALOGUE: &str = "event.types";
/// Every variable that is a setting begins with this, and has `__` after the section.
const VARIABLE: &str = "LYNKHOOK_";
/// A settings file is at most this long.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A value, and its source.
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All layers so far: one entry for each key of `default.toml`, and one for each event type. It has neither `Debug` nor
/// `Display`, because it holds secrets.
pub(super) struct Layers {
    entries: BTreeMap<String, Entry>,
    types: BTreeMap<String, Entry>,
    defaults: BTreeMap<String, Value>,
}

impl Layers {
    /// The first layer.
    pub(super) fn defaults() -> Self {
        let table: Table = DEFAULT.parse().expect("config/default.toml is TOML");
        let defaults: BTreeMap<_, _> = table
            .into_iter()
            .flat_map(|(section, keys)| match keys {
                Value::Table(keys) => {
                    keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)).collect::<Vec<_>>()
                }
                other => vec![(section, other)],
            })
            .collect();
        let mut layers = Self { entries: BTreeMap::new(), types: BTreeMap::new(), defaults: defaults.clone() };
        for (key, value) in defaults {
            layers.put(key, value, &|_| Origin::Default).expect("config/default.toml has the schema's form");
        }
        layers
    }

    /// Adds a file as the next layer.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text =
            read_bounded(path, FILE_MAX_BYTES).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let syntax = |error: &toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_at(&text, error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        };
        let mut lines = BTreeMap::new();
        collect_lines(&text, "", DeTable::parse(&text).map_err(|e| syntax(&e))?.get_ref(), &mut lines);
        let table: Table = text.parse().map_err(|e| syntax(&e))?;

        let origin =
            |key: &str| Origin::File { path: path.to_owned(), line: lines.get(key).copied().unwrap_or_default() };
        for (section, keys) in table {
            if !self.is_section(&section) {
                let nearest = self.nearest_section(&section).or_else(|| self.key_by_its_last_part(&section));
                return Err(ConfigError::UnknownKey { origin: origin(&section), key: section, nearest });
            }
            let Value::Table(keys) = keys else {
                return Err(ConfigError::Value {
                    origin: origin(&section),
                    found: kind(&keys).to_owned(),
                    expected: format!("a section: a line [{section}], with its keys on separate lines below"),
                    key: section,
                });
            };
            for (name, value) in keys {
                let key = format!("{section}.{name}");
                if !self.defaults.contains_key(&key) {
                    let nearest = self.nearest_key(&section, &name);
                    return Err(ConfigError::UnknownKey { origin: origin(&key), key, nearest });
                }
                self.put(key, value, &origin)?;
            }
        }
        Ok(())
    }

    /// Adds the environment as the next layer. `REDIS_URL` is used if `LYNKHOOK_REDIS__URL` is absent.
    pub(super) fn environment<K, V>(&mut self, env: impl IntoIterator<Item = (K, V)>) -> Result<(), ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        // Sorted, so that the same mistake is reported every time if there are two.
        let env: BTreeMap<String, OsString> = env
            .into_iter()
            .map(|(name, value)| (name.into().to_string_lossy().into_owned(), value.into()))
            .filter(|(name, value)| match name.as_str() {
                // Some platforms pass an unset variable as an empty one.
                "REDIS_URL" => !value.is_empty(),
                _ => name.starts_with(VARIABLE) && name.contains("__"),
            })
            .collect();
        let own_url = variable("redis.url");
        for (name, value) in &env {
            let key = match name.strip_prefix(VARIABLE) {
                None if env.contains_key(&own_url) => continue,
                None => "redis.url".to_owned(),
                Some(rest) => self.key_of_variable(name, rest)?,
            };
            let text = value.to_str().ok_or_else(|| ConfigError::NotUtf8 { name: name.clone() })?;
            let value = self.typed(&key, text);
            self.put(key, value, &|_| Origin::Variable(name.clone()))?;
        }
        Ok(())
    }

    /// Adds flags as the last layer: keys such as `redis.url`, values in the form of the environment.
    pub(super) fn overrides(&mut self, overrides: &[(&str, String)]) -> Result<(), ConfigError> {
        for (key, text) in overrides {
            if !self.defaults.contains_key(*key) {
                let (section, name) = key.split_once('.').unwrap_or(("", key));
                let nearest = self.nearest_key(section, name);
                return Err(ConfigError::UnknownKey { key: (*key).to_owned(), origin: Origin::CommandLine, nearest });
            }
            let value = self.typed(key, text);
            self.put((*key).to_owned(), value, &|_| Origin::CommandLine)?;
        }
        Ok(())
    }

    /// The effective value. `key` must be a key of `default.toml`.
    pub(super) fn get(&self, key: &str) -> &Entry {
        self.entries.get(key).unwrap_or_else(|| panic!("config/default.toml has no {key}"))
    }

    /// The value in `default.toml`.
    pub(super) fn default(&self, key: &str) -> &Value {
        &self.defaults[key]
    }

    /// Every value, by its key.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let types = self.types.iter();
        self.entries.iter().chain(types).map(|(key, entry)| (key.as_str(), entry))
    }

    /// Every event type. Each value should be a table.
    pub(super) fn types(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.types.iter()
    }

    /// Every key.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.defaults.keys()
    }

    /// Sets one value. In the catalogue, each event type is set by its name.
    fn put(&mut self, key: String, value: Value, origin: &dyn Fn(&str) -> Origin) -> Result<(), ConfigError> {
        if key != CATALOGUE {
            let origin = origin(&key);
            self.entries.insert(key, Entry { value, origin });
            return Ok(());
        }
        let Value::Table(types) = value else {
            return Err(ConfigError::Value {
                origin: origin(&key),
                key,
                found: kind(&value).to_owned(),
                expected: "a table of event types, such as { \"transcript.deleted\" = { description = \"A transcript \
                           has been deleted\" } }"
                    .to_owned(),
            });
        };
        for (name, value) in types {
            let origin = origin(&format!("{CATALOGUE}.{name}"));
            self.types.insert(name, Entry { value, origin });
        }
        Ok(())
    }

    /// Converts text from a variable or flag to the type of the key's default. Text that does not fit stays text, and
    /// `read` refuses it with the right message.
    fn typed(&self, key: &str, text: &str) -> Value {
        let as_text = || Value::String(text.to_owned());
        match self.default(key) {
            Value::Integer(_) => text.trim().parse().map_or_else(|_| as_text(), Value::Integer),
            Value::Boolean(_) => text.trim().parse().map_or_else(|_| as_text(), Value::Boolean),
            Value::Array(_) if text.trim().is_empty() => Value::Array(Vec::new()),
            Value::Array(_) => {
                Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
            }
            Value::Table(_) => match format!("it = {text}").parse::<Table>() {
                Ok(mut table) if table.len() == 1 => table.remove("it").unwrap_or_else(as_text),
                _ => as_text(),
            },
            _ => as_text(),
        }
    }

    fn is_section(&self, section: &str) -> bool {
        self.sections().any(|known| known == section)
    }

    fn sections(&self) -> impl Iterator<Item = &str> {
        self.defaults.keys().filter_map(|key| key.split_once('.')).map(|(section, _)| section)
    }

    /// The key that a variable sets. `rest` is its name after the prefix.
    fn key_of_variable(&self, name: &str, rest: &str) -> Result<String, ConfigError> {
        if let Some(key) = self.defaults.keys().find(|key| variable(key) == *name) {
            return Ok(key.clone());
        }
        let rest = rest.to_lowercase();
        let (section, key) = rest.split_once("__").unwrap_or(("", &rest));
        let nearest = self.nearest_key(section, key).map(|key| variable(&key));
        Err(ConfigError::UnknownVariable { name: name.to_owned(), nearest })
    }

    /// The setting that was probably meant by `section.name`.
    fn nearest_key(&self, section: &str, name: &str) -> Option<String> {
        let meant = if self.is_section(section) { Some(section.to_owned()) } else { self.nearest_section(section) };
        let siblings = self.defaults.keys().filter_map(|key| key.split_once('.'));
        let sibling = meant.and_then(|meant| {
            let names = siblings.filter(|(section, _)| *section == meant).map(|(_, name)| name);
            nearest(name, names).map(|name| format!("{meant}.{name}"))
        });
        sibling.or_else(|| self.key_by_its_last_part(name))
    }

    fn nearest_section(&self, section: &str) -> Option<String> {
        nearest(section, self.sections()).map(str::to_owned)
    }

    /// The key that has this name in any section, if there is only one.
    fn key_by_its_last_part(&self, name: &str) -> Option<String> {
        let mut keys = self.defaults.keys().filter(|key| key.split_once('.').is_some_and(|(_, last)| last == name));
        keys.next().filter(|_| keys.next().is_none()).cloned()
    }
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE}{}", key.to_uppercase().replace('.', "__"))
}

/// The kind of a value, without the value.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// A text file's content, without a byte order mark. A file of more than `max_bytes` is an error, so that a wrong path
/// (a device, a dump) does no harm.
pub(super) fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {max_bytes} bytes")));
    }
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
    let text = without_mark(&bytes).map_err(|utf16| invalid(&utf16.to_string()))?;
    str::from_utf8(text).map(str::to_owned).map_err(|_| invalid("it is not UTF-8 text"))
}

/// Collects the line of each key, by its path.
fn collect_lines(text: &str, path: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        if let DeValue::Table(inner) = value.get_ref() {
            collect_lines(text, &path, inner, lines);
        }
        lines.insert(path, line_at(text, key.span().start));
    }
}

/// The line number of a byte offset in the text, counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
