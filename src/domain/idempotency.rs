//! Idempotency keys: a producer that got no answer repeats its request under the same key, and the events are enqueued
//! once.
//!
//! A key belongs to one request of one account. A *fingerprint* of the request shows whether a key comes back with
//! another request. Events without an id of their own get an id made from account, key and body, so that a repetition
//! still has the same ids after Redis has forgotten the key, and receivers can drop it.

use super::{account::AccountId, event::EventId};

/// The longest key, in characters.
const MAX: usize = 255;

/// A key as the producer chose it: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// The error for a text that is not an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 255 visible ASCII characters, with or without quotes around them")]
pub struct NotAnIdempotencyKey;

impl IdempotencyKey {
    /// The key's text, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IdempotencyKey {
    type Err = NotAnIdempotencyKey;

    /// Reads the value of the header `Idempotency-Key`. A text in quotes is a string of RFC 8941, in which a backslash
    /// stands before a quote or a backslash. Both forms of a text are the same key.
    fn from_str(text: &str) -> Result<Self, NotAnIdempotencyKey> {
        let key = if text.starts_with('"') { unquoted(text).ok_or(NotAnIdempotencyKey)? } else { text.to_owned() };
        let fits = (1..=MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(key)) } else { Err(NotAnIdempotencyKey) }
    }
}

/// The content of a string in quotes; `None` if it does not end with its only bare quote.
fn unquoted(text: &str) -> Option<String> {
    let mut content = String::new();
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    while let Some(next) = rest.next() {
        match next {
            '"' => return None,
            '\\' => content.push(rest.next().filter(|escaped| "\"\\".contains(*escaped))?),
            plain => content.push(plain),
        }
    }
    Some(content)
}

/// A digest of a request, in 16 hexadecimal digits: of the event's own id and the request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a request with this body. `id` is the id that stands beside the body, in the header
    /// `webhook-id`; a batch has its ids in the body. The two cannot be confused: an id has no line break.
    pub fn of(id: Option<&EventId>, body: &[u8]) -> Self {
        Self(format!("{:016x}", digest(&[id.map_or("", EventId::as_str).as_bytes(), body]) >> 64))
    }

    /// The fingerprint of a batch with this body, of which the events at these places were taken. Another server may take
    /// others, for example while it has another catalogue, and that is another request. The places cannot be confused
    /// with an id, which has no colon.
    pub fn of_batch(taken: &[usize], body: &[u8]) -> Self {
        let taken: Vec<String> = taken.iter().map(usize::to_string).collect();
        let taken = format!("batch:{}", taken.join(","));
        Self(format!("{:016x}", digest(&[taken.as_bytes(), body]) >> 64))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The ids of events that have none of their own: `ik-` and 32 hexadecimal digits of a digest over account, key and
/// body. The body belongs to it, because a key that comes back months later with another event must not make that event
/// look like a duplicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedIds(String);

impl KeyedIds {
    /// The ids of the events in this body.
    pub fn of(account: &AccountId, key: &IdempotencyKey, body: &[u8]) -> Self {
        Self(format!("{:032x}", digest(&[account.as_str().as_bytes(), key.as_str().as_bytes(), body])))
    }

    /// The id of a request's only event.
    pub fn single(&self) -> EventId {
        format!("ik-{}", self.0).parse().expect("it has 35 legal characters")
    }

    /// The id of the event at this place in a batch, from 0.
    pub fn at(&self, index: usize) -> EventId {
        format!("ik-{}-{index}", self.0).parse().expect("it has at most 56 legal characters")
    }
}

/// The first 128 bits of SHA-256 over parts, with a line break after each but the last. None but the last may have one.
fn digest(parts: &[&[u8]]) -> u128 {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for (place, part) in parts.iter().enumerate() {
        digest.update(if place == 0 { b"" } else { b"\n" });
        digest.update(part);
    }
    let digest = digest.finish();
    u128::from_be_bytes(std::array::from_fn(|i| digest.as_ref()[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        for (written, meant) in [
            ("8e03978e-40d5-43dd", "8e03978e-40d5-43dd"),
            (r#""8e03978e-40d5-43dd""#, "8e03978e-40d5-43dd"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#"a"b"#, r#"a"b"#),
            (r"a\b", r"a\b"),
        ] {
            assert_eq!(key(written).as_str(), meant, "{written}");
        }
    }

    #[test]
    fn a_key_is_judged_by_its_length_and_alphabet_without_its_quotes() {
        let (longest, longer) = ("k".repeat(255), "k".repeat(256));
        for good in ["!", "~", &longest, &format!("\"{longest}\"")] {
            assert!(good.parse::<IdempotencyKey>().is_ok(), "{good}");
        }
        for bad in
            ["", "\"\"", "\"", "\"a", r#""a"b""#, r#""a\""#, r#""a\n""#, r#""a";p=1"#, "a b", "a\tb", "ä", &longer]
        {
            assert_eq!(bad.parse::<IdempotencyKey>(), Err(NotAnIdempotencyKey), "{bad:?}");
        }
    }

    #[test]
    fn a_fingerprint_differs_by_id_and_body_and_by_the_place_between_them() {
        let id: EventId = "e1".parse().unwrap();
        let one = Fingerprint::of(Some(&id), b"{}");
        assert_eq!(one, Fingerprint::of(Some(&id), b"{}"));
        assert!(one.as_str().len() == 16 && one.as_str().bytes().all(|digit| digit.is_ascii_hexdigit()), "{one:?}");
        for other in [
            Fingerprint::of(None, b"{}"),
            Fingerprint::of(None, b"e1\n{}"),
            Fingerprint::of(Some(&"e".parse().unwrap()), b"1{}"),
            Fingerprint::of(Some(&id), b"{} "),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn ids_are_valid_and_differ_by_account_key_body_and_place() {
        let (acme, body) = ("acme".parse().unwrap(), b"{}");
        let ids = KeyedIds::of(&acme, &key("k"), body);
        assert_eq!(ids.single().as_str().len(), 35);
        assert_eq!(ids.at(499).as_str(), format!("{}-499", ids.single()));
        assert_eq!(ids, KeyedIds::of(&acme, &key("\"k\""), body));
        for other in [
            KeyedIds::of(&"acm".parse().unwrap(), &key("k"), body),
            KeyedIds::of(&acme, &key("kk"), body),
            KeyedIds::of(&acme, &key("k"), b"{ }"),
        ] {
            assert_ne!(ids, other);
        }
    }

    #[test]
    fn digests_are_those_that_any_program_computes() {
        // printf '\n{}' | sha256sum, and printf 'acme\nk\n{}' | sha256sum
        assert_eq!(Fingerprint::of(None, b"{}").as_str(), "a062dd4952b935e4");
        assert_eq!(
            KeyedIds::of(&"acme".parse().unwrap(), &key("k"), b"{}").single().as_str(),
            "ik-9a8b90325eb1d463061552499ff77443"
        );
    }
}
