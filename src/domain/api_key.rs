//! API keys: how a key is written, and what it allows.
//!
//! A key is `lynk_<id>_<secret>_<checksum>`, 68 characters:
//!
//! | part | characters | is |
//! |---|---|---|
//! | id | 12 of `a-z0-9` | public: lists and logs name a key by it |
//! | secret | 43 of base64url | 256 random bits ([`Token`]) |
//! | checksum | 6 of `0-9A-Za-z` | CRC-32 (as in zlib) of all before the last `_`, in base 62, highest digit first |
//!
//! The checksum tells a typing error without Redis, and lets a scanner recognise a key in a text. It protects nothing.

use std::{collections::BTreeSet, fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    account::AccountId,
    text::nearest,
    token::{TOKEN_CHARS, Token},
};

/// The beginning of every key.
pub const PREFIX: &str = "lynk_";
/// The number of characters of a key's id.
const ID_CHARS: usize = 12;
/// The number of characters of the checksum: 62⁶ is more than 2³².
const CHECKSUM_CHARS: usize = 6;
/// The digits of the checksum.
const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The characters of an id.
const ID_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// The number of characters of a key.
pub const KEY_CHARS: usize = PREFIX.len() + ID_CHARS + 1 + TOKEN_CHARS + 1 + CHECKSUM_CHARS;
/// The most characters of a key's name.
pub const NAME_MAX: usize = 64;

/// A key's id: 12 of `a-z0-9`. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(example = "k3v9x0q2m7aa", pattern = "^[a-z0-9]{12}$")]
pub struct KeyId(String);

/// The error for a text that is not the id of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key's id is the 12 letters and digits after `lynk_`, e.g. k3v9x0q2m7aa")]
pub struct NotAKeyId;

/// A key as its owner sends it. `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct KeyToken {
    id: KeyId,
    secret: Token,
}

/// The error for a text that is not a key, perhaps because of a typing error. It does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an API key: a key begins with lynk_, has {KEY_CHARS} characters, and its last 6 are a checksum")]
pub struct NotAKey;

/// One thing that a key may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Scope {
    /// Enqueue events.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// List and read webhooks.
    #[serde(rename = "webhooks:read")]
    WebhooksRead,
    /// Add, change, test and delete webhooks, and redeliver.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
    /// Read delivery logs, and the lists of held and failed deliveries.
    #[serde(rename = "logs:read")]
    LogsRead,
    /// Read the envelopes of held and failed deliveries.
    #[serde(rename = "payloads:read")]
    PayloadsRead,
    /// Make portal links; list and end portal sessions.
    #[serde(rename = "portal")]
    Portal,
    /// Read the queue's figures.
    #[serde(rename = "queue:read")]
    QueueRead,
    /// Everything.
    #[serde(rename = "admin")]
    Admin,
}

/// The error for a text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope `{given}`{}; the scopes are {}", did_you_mean(*nearest), all_names())]
pub struct NotAScope {
    /// The text that was given.
    pub given: String,
    /// The scope that was probably meant.
    pub nearest: Option<&'static str>,
}

/// The scopes of a key, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

/// The reason why a key cannot have these scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopesRefusal {
    /// There is no scope.
    #[error("a key needs at least one scope")]
    None,
    /// The scope concerns all accounts, and the key would be for one.
    #[error("the scope `{0}` concerns all accounts, so a key for one account cannot have it")]
    ForAllAccounts(Scope),
}

impl KeyId {
    /// The id made of these random bytes. 36 does not divide 256, so some characters are a little more frequent; that
    /// does not matter, because an id is no secret.
    pub fn new(random: &[u8; ID_CHARS]) -> Self {
        Self(random.iter().map(|byte| char::from(ID_ALPHABET[usize::from(*byte) % ID_ALPHABET.len()])).collect())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let fits = text.len() == ID_CHARS && text.bytes().all(|byte| ID_ALPHABET.contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAKeyId) }
    }
}

impl TryFrom<String> for KeyId {
    type Error = NotAKeyId;

    fn try_from(text: String) -> Result<Self, NotAKeyId> {
        text.parse()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyToken {
    /// The key with this id and secret.
    pub fn new(id: KeyId, secret: Token) -> Self {
        Self { id, secret }
    }

    /// Reads a key. The parts have fixed places, because a secret may contain `_`.
    ///
    /// # Errors
    /// [`NotAKey`] if the length, a character or the checksum is wrong.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        if text.len() != KEY_CHARS || !text.is_ascii() {
            return Err(NotAKey);
        }
        let (body, end) = text.split_at(KEY_CHARS - CHECKSUM_CHARS - 1);
        if end.strip_prefix('_') != Some(&checksum(body)) {
            return Err(NotAKey);
        }
        let (id, secret) = body.strip_prefix(PREFIX).and_then(|rest| rest.split_at_checked(ID_CHARS)).ok_or(NotAKey)?;
        let id = id.parse().map_err(|_| NotAKey)?;
        let secret = secret.strip_prefix('_').and_then(Token::parse).ok_or(NotAKey)?;
        Ok(Self { id, secret })
    }

    /// The id, which is public.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The secret.
    pub fn secret(&self) -> &Token {
        &self.secret
    }

    /// The whole key, to show it once.
    pub fn text(&self) -> SecretString {
        let body = format!("{PREFIX}{}_{}", self.id, self.secret.secret().expose_secret());
        let checksum = checksum(&body);
        format!("{body}_{checksum}").into()
    }
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE_62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

impl Scope {
    /// All scopes, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::EventsWrite,
        Self::WebhooksRead,
        Self::WebhooksWrite,
        Self::LogsRead,
        Self::PayloadsRead,
        Self::Portal,
        Self::QueueRead,
        Self::Admin,
    ];

    /// The scope's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
            Self::LogsRead => "logs:read",
            Self::PayloadsRead => "payloads:read",
            Self::Portal => "portal",
            Self::QueueRead => "queue:read",
            Self::Admin => "admin",
        }
    }

    /// Whether the scope concerns all accounts together, so that a key for one account cannot have it.
    fn is_for_all_accounts(self) -> bool {
        matches!(self, Self::QueueRead | Self::Admin)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let unknown =
            || NotAScope { given: text.to_owned(), nearest: nearest(text, Self::ALL.map(Self::name).into_iter()) };
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(unknown)
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

fn all_names() -> String {
    Scope::ALL.map(Scope::name).join(", ")
}

impl Scopes {
    /// Whether these scopes allow this; `admin` allows everything.
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope) || self.0.contains(&Scope::Admin)
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// Judges the scopes of a key for one account, or for all.
    ///
    /// # Errors
    /// The first reason why no key may have them.
    pub fn judge(&self, account: Option<&AccountId>) -> Result<(), ScopesRefusal> {
        if self.0.is_empty() {
            return Err(ScopesRefusal::None);
        }
        let refused = account.and_then(|_| self.iter().find(|scope| scope.is_for_all_accounts()));
        refused.map_or(Ok(()), |scope| Err(ScopesRefusal::ForAllAccounts(scope)))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl FromStr for Scopes {
    type Err = NotAScope;

    /// Reads names with commas or spaces between them.
    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let names = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty());
        names.map(str::parse).collect()
    }
}

impl fmt::Display for Scopes {
    /// The names, with commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Scope::name).collect::<Vec<_>>().join(", "))
    }
}

/// Whether a text can be the name of a key: 1 to 64 characters, none of them a control character.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(id: u8, secret: u8) -> KeyToken {
        KeyToken::new(KeyId::new(&[id; 12]), Token::new(&[secret; 32]))
    }

    fn text(token: &KeyToken) -> String {
        token.text().expose_secret().to_owned()
    }

    #[test]
    fn a_key_has_68_characters_and_reads_as_what_it_was() {
        let key = token(0, 0);
        let text = text(&key);
        // From Python: zlib.crc32(b"lynk_aaaaaaaaaaaa_" + b"A" * 43) in base 62.
        assert_eq!(text, format!("lynk_aaaaaaaaaaaa_{}_34p3Kl", "A".repeat(43)));
        assert_eq!(text.len(), KEY_CHARS);
        let read = KeyToken::parse(&text).unwrap();
        assert_eq!((read.id(), read.secret().hash()), (key.id(), key.secret().hash()));
        assert!(!format!("{read:?}").contains("AAA"), "{read:?}");
    }

    #[test]
    fn a_secret_may_have_underscores_anywhere() {
        assert!(KeyToken::parse(&text(&token(7, 0xff))).is_ok());
    }

    #[test]
    fn each_changed_missing_or_swapped_character_is_told() {
        let good = text(&token(3, 0x5a));
        for at in 0..good.len() {
            let (before, after) = good.split_at(at);
            let (own, rest) = after.split_at(1);
            let other = if own == "x" { "y" } else { "x" };
            assert!(KeyToken::parse(&format!("{before}{other}{rest}")).is_err(), "character {at}");
            assert!(KeyToken::parse(&format!("{before}{rest}")).is_err(), "without character {at}");
            if let Some((next, rest)) = rest.split_at_checked(1)
                && next != own
            {
                assert!(KeyToken::parse(&format!("{before}{next}{own}{rest}")).is_err(), "swapped at {at}");
            }
        }
        for bad in ["", "lynk_", " ", "\0", &"x".repeat(10_240), &good.to_uppercase(), &format!("{good} ")] {
            assert_eq!(KeyToken::parse(bad).unwrap_err(), NotAKey);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in ".{0,80}", id in any::<[u8; 12]>(), secret in any::<[u8; 32]>()) {
            prop_assert!(KeyToken::parse(&text).is_err());
            let key = KeyToken::new(KeyId::new(&id), Token::new(&secret));
            prop_assert!(KeyToken::parse(key.text().expose_secret()).is_ok());
        }
    }

    #[test]
    fn scopes_have_the_same_name_in_text_and_in_json_and_a_misspelt_one_is_told_with_the_nearest() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        for (given, meant) in
            [("events:wirte", "`events:write`"), ("Admin", "`admin`"), ("webhook:read", "`webhooks:read`")]
        {
            let error = given.parse::<Scope>().unwrap_err().to_string();
            assert!(error.contains(&format!("did you mean {meant}?")), "{error}");
        }
        assert!(!"everything".parse::<Scope>().unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn several_scopes_have_commas_or_spaces_between_them() {
        let both: Scopes = [Scope::LogsRead, Scope::EventsWrite].into_iter().collect();
        for text in ["events:write,logs:read", "logs:read events:write", " events:write, logs:read,\n"] {
            assert_eq!(text.parse(), Ok(both.clone()), "{text:?}");
        }
        assert_eq!("".parse(), Ok(Scopes::default()));
        assert_eq!("logs:read,portl".parse::<Scopes>().unwrap_err().given, "portl");
    }

    #[test]
    fn admin_allows_everything_and_each_other_scope_only_itself() {
        for own in Scope::ALL {
            let scopes: Scopes = [own].into_iter().collect();
            for asked in Scope::ALL {
                assert_eq!(scopes.allow(asked), own == asked || own == Scope::Admin, "{own} for {asked}");
            }
        }
        assert!(Scope::ALL.iter().all(|scope| !Scopes::default().allow(*scope)));
    }

    #[test]
    fn a_key_for_one_account_has_no_scope_that_concerns_all() {
        let acme = "acme".parse().unwrap();
        for scope in Scope::ALL {
            let scopes: Scopes = [Scope::EventsWrite, scope].into_iter().collect();
            assert_eq!(scopes.judge(None), Ok(()), "{scope}");
            let expected = match scope {
                Scope::Admin | Scope::QueueRead => Err(ScopesRefusal::ForAllAccounts(scope)),
                _ => Ok(()),
            };
            assert_eq!(scopes.judge(Some(&acme)), expected, "{scope}");
        }
        assert_eq!(Scopes::default().judge(None), Err(ScopesRefusal::None));
    }

    #[test]
    fn a_name_has_1_to_64_characters_and_none_that_steers_a_terminal() {
        for good in ["b", "Backend in Köln, live", &"ü".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", &"x".repeat(65), "a\nb", "\u{1b}[2J", "\0"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
