//! Secrets that Lynkhook gives out once and stores only as a hash: the secret part of an API key, portal links and
//! portal sessions.
//!
//! A token has 256 random bits, so nobody can find it from its hash, and a slow hash would protect nothing more.

use std::fmt::Write;

use aws_lc_rs::{constant_time, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// The number of random bytes.
pub const TOKEN_BYTES: usize = 32;
/// The number of characters: base64url without padding.
pub const TOKEN_CHARS: usize = 43;

/// A token: 43 characters of base64url. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct Token(SecretString);

/// The SHA-256 of a token's characters, as 64 lower-case hexadecimal digits: `printf %s TOKEN | sha256sum`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl Token {
    /// The token made of these random bytes.
    pub fn new(random: &[u8; TOKEN_BYTES]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random).into())
    }

    /// Reads a token. Only one spelling of its bytes is accepted. `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TOKEN_CHARS {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == TOKEN_BYTES)?;
        Some(Self(text.into()))
    }

    /// The hash, which is what Redis has.
    pub fn hash(&self) -> TokenHash {
        let digest = digest::digest(&digest::SHA256, self.0.expose_secret().as_bytes());
        TokenHash(digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// The characters, to show them once.
    pub fn into_secret(self) -> SecretString {
        self.0
    }

    /// The characters.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl TokenHash {
    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares two hashes in constant time.
    pub fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_43_characters_that_have_one_spelling() {
        let token = Token::new(&[0xff; TOKEN_BYTES]);
        let text = token.secret().expose_secret();
        assert_eq!(text, &format!("{}8", "_".repeat(42)));
        assert!(Token::parse(text).is_some());
        // The last character has two bits that mean nothing; only zeros are accepted.
        assert!(Token::parse(&format!("{}9", "_".repeat(42))).is_none());
        for bad in ["", "a", &"a".repeat(44), &"é".repeat(43), &format!("{}\0", "a".repeat(42)), &"+".repeat(43)] {
            assert!(Token::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_is_the_sha_256_of_the_characters_and_debug_shows_no_token() {
        let token = Token::new(&[0; TOKEN_BYTES]);
        // printf %s AAAA…A | sha256sum
        let expected = "0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1a";
        let hash = token.hash();
        assert_eq!(hash.as_str(), expected);
        assert!(hash.is(&Token::new(&[0; TOKEN_BYTES]).hash()) && !hash.is(&Token::new(&[1; TOKEN_BYTES]).hash()));
        assert!(!format!("{token:?}").contains("AAA"), "{token:?}");
    }
}
