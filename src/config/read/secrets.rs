//! `[secrets]`: the sealing key, or several, from a value or a file.

use std::{io, path::Path};

use secrecy::{ExposeSecret, SecretString};

use super::{
    Read,
    placeholder::{placeholder, unfilled},
};
use crate::config::{Secrets, error::ConfigError, layers::read_bounded};

/// A key file is at most this long.
const KEY_FILE_MAX_BYTES: u64 = 4096;

impl Read<'_> {
    /// The sealing key or keys, from the value or the file. Their form is checked when they are used.
    pub(super) fn secrets(&self) -> Result<Secrets, ConfigError> {
        let (key, path) = (self.text("secrets.key")?, self.path("secrets.key_file")?);
        let origin = |key: &str| self.layers.get(key).origin.clone();
        let key = match (key, path) {
            ("", None) => None,
            (key, None) => Some(SecretString::from(key)),
            ("", Some(path)) => Some(self.key_from(&path)?),
            _ => {
                return Err(ConfigError::TwoKeys { key: origin("secrets.key"), key_file: origin("secrets.key_file") });
            }
        };
        Ok(Secrets { key })
    }

    /// The key or keys in the file that `secrets.key_file` names.
    fn key_from(&self, path: &Path) -> Result<SecretString, ConfigError> {
        const KEY: &str = "secrets.key_file";
        let entry = self.layers.get(KEY);
        let origin = entry.origin.clone();
        let key = key_from(path).map_err(|source| ConfigError::KeyFile { origin, source })?;
        match placeholder(key.expose_secret()) {
            Some(found) => Err(unfilled(KEY, entry, found)),
            None => Ok(key),
        }
    }
}

/// The key or keys in a file, without the newline that editors and `echo` add.
fn key_from(path: &Path) -> io::Result<SecretString> {
    let text = read_bounded(path, KEY_FILE_MAX_BYTES)?;
    let key = text.strip_suffix('\n').unwrap_or(&text);
    let key = key.strip_suffix('\r').unwrap_or(key);
    if key.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(SecretString::from(key))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use crate::config::{
        Settings,
        tests::{Scratch, assert_says, from_env},
    };

    #[test]
    fn the_key_file_is_read_without_its_final_newline() {
        for (text, key) in [("k1", "k1"), ("k2\n", "k2"), ("k3\r\n", "k3"), (" k4 \n\n", " k4 \n")] {
            let file = Scratch::new(text);
            let settings = from_env(&[("LYNKHOOK_SECRETS__KEY_FILE", file.name())]).unwrap();
            assert_eq!(settings.secrets.key.unwrap().expose_secret(), key);
        }
    }

    #[test]
    fn a_key_file_that_cannot_be_used_is_refused_without_its_name() {
        let (empty, long) = (Scratch::new("\n"), Scratch::new(&"x".repeat(4097)));
        for (name, word) in [("hunter2", "No such file"), (empty.name(), "it is empty"), (long.name(), "longer than")] {
            let result = from_env(&[("LYNKHOOK_SECRETS__KEY_FILE", name)]);
            assert!(!result.as_ref().unwrap_err().to_string().contains(name));
            assert_says(result, &["(LYNKHOOK_SECRETS__KEY_FILE)", word]);
        }
    }

    #[test]
    fn a_key_and_a_key_file_together_are_refused() {
        let file = Scratch::new("[secrets]\nkey_file = \"/run/key\"");
        let result = Settings::load(Some(&file.0), [("LYNKHOOK_SECRETS__KEY", "hunter2")]);
        assert_says(result, &["(LYNKHOOK_SECRETS__KEY)", "line 2", "keep one"]);
    }
}
