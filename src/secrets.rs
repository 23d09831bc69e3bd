//! Customers' secrets at rest. They are sealed by AES-256-GCM-SIV, so that a dump of Redis reveals none.
//!
//! A sealed secret is text: `v1.<key id>.<nonce and ciphertext, base64url>`. Account, webhook and field are its
//! associated data, so it does not open if it is moved to another webhook or field. The key id (the head of a digest of
//! the key) says which key opens it.
//!
//! There may be several keys: the first seals, all open. So a key can be replaced while everything runs. First every
//! process learns the new key, then every process seals with it, then `webhooks::rotate` seals again the secrets under
//! the old key, and only then the old key is removed.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::domain::{
    account::AccountId,
    failure::Failure,
    webhook::{Sealed, WebhookId},
};

const KEY_BYTES: usize = 32;
/// The most keys. A rotation needs two; more than this are a mistake.
const KEYS_MAX: usize = 8;

/// Seals and opens secrets. Without a key, it can do neither. Clones share the keys.
#[derive(Clone)]
pub struct Vault(Arc<[Key]>);

struct Key {
    id: String,
    key: RandomizedNonceKey,
}

/// The place of a secret. The secret opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct SecretSlot<'a> {
    /// The webhook's account.
    pub account: &'a AccountId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The name of the secret: `token` or `value`.
    pub field: &'static str,
}

/// The reason why a secret cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// No key is configured.
    #[error(
        "no key to seal secrets with: make one with `lynkhook secrets new-key > FILE` and set LYNKHOOK_SECRETS__KEY_FILE=FILE, for workers too"
    )]
    NoKey,
    /// The configured key has another form.
    #[error(
        "secrets.key: {} not a key: a key is 32 bytes in base64, as `lynkhook secrets new-key` prints them",
        which(*number, *of)
    )]
    BadKey {
        /// The number of the faulty key, from 1.
        number: usize,
        /// The number of keys that are configured.
        of: usize,
    },
    /// The setting consists only of white space and commas.
    #[error("secrets.key holds no key; make one with `lynkhook secrets new-key`, or leave it empty")]
    Blank,
    /// More than `KEYS_MAX` keys are configured.
    #[error(
        "secrets.key holds {0} keys, but at most {KEYS_MAX} are allowed; remove those that no longer seal anything"
    )]
    TooManyKeys(usize),
    /// The secret was sealed with a key that is not configured.
    #[error("the secret was sealed with the key {sealed_with}, and this process has {present}")]
    OtherKey {
        /// Id of the key that opens it.
        sealed_with: String,
        /// Ids of the keys that are configured.
        present: String,
    },
    /// The secret was not sealed for this place, or it is damaged.
    #[error("the sealed secret does not belong to this webhook, or is damaged")]
    Damaged,
}

impl SecretsError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::BadKey { .. } | Self::Blank | Self::TooManyKeys(_) => Failure::Usage,
            Self::NoKey | Self::OtherKey { .. } | Self::Damaged => Failure::Broken,
        }
    }
}

impl Vault {
    /// A vault with these keys, each 32 bytes in base64, with white space or commas between them. The first seals. A
    /// key that occurs twice counts once.
    pub fn new(keys: Option<&SecretString>) -> Result<Self, SecretsError> {
        let Some(text) = keys else { return Ok(Self(Arc::default())) };
        let separates = |c: char| c.is_whitespace() || c == ',';
        let texts: Vec<&str> = text.expose_secret().split(separates).filter(|text| !text.is_empty()).collect();
        match texts.len() {
            0 => return Err(SecretsError::Blank),
            1..=KEYS_MAX => {}
            count => return Err(SecretsError::TooManyKeys(count)),
        }
        let mut keys: Vec<Key> = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let key = Key::parse(text).ok_or(SecretsError::BadKey { number: index + 1, of: texts.len() })?;
            if keys.iter().all(|known| known.id != key.id) {
                keys.push(key);
            }
        }
        Ok(Self(keys.into()))
    }

    /// A new key, as text.
    pub fn new_key() -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut()).expect("the system gives random bytes");
        Zeroizing::new(STANDARD.encode(*bytes))
    }

    /// The id of the key that seals; it tells nothing about the key.
    ///
    /// # Errors
    /// [`SecretsError::NoKey`] if there is none.
    pub fn sealing_key(&self) -> Result<&str, SecretsError> {
        self.sealing().map(|key| key.id.as_str())
    }

    /// Seals a secret for its place, with the first key.
    pub fn seal(&self, place: SecretSlot<'_>, secret: &SecretString) -> Result<Sealed, SecretsError> {
        let Key { id, key } = self.sealing()?;
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(place.associated_data()), &mut text);
        let mut sealed = nonce.expect("sealing a short text does not fail").as_ref().to_vec();
        sealed.extend_from_slice(&text);
        Ok(Sealed(format!("v1.{id}.{}", URL_SAFE_NO_PAD.encode(sealed))))
    }

    /// Opens a secret in its place, with the key that it names.
    pub fn open(&self, place: SecretSlot<'_>, sealed: &Sealed) -> Result<SecretString, SecretsError> {
        self.sealing()?;
        let (sealed_with, text) = parts(sealed)?;
        let Some(Key { key, .. }) = self.0.iter().find(|key| key.id == sealed_with) else {
            let present: Vec<&str> = self.0.iter().map(|key| key.id.as_str()).collect();
            return Err(SecretsError::OtherKey { sealed_with: sealed_with.to_owned(), present: present.join(", ") });
        };
        let mut bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| SecretsError::Damaged)?);
        let (nonce, ciphertext) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(SecretsError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SecretsError::Damaged)?;
        let opened = key.open_in_place(nonce, Aad::from(place.associated_data()), ciphertext);
        let opened = opened.map_err(|_| SecretsError::Damaged)?;
        String::from_utf8(opened.to_vec()).map(SecretString::from).map_err(|_| SecretsError::Damaged)
    }

    /// The secret, sealed again with the first key; `None` if it already is. It is opened in either case, so that a
    /// secret that cannot be opened is found before its key is removed.
    pub fn reseal(&self, place: SecretSlot<'_>, sealed: &Sealed) -> Result<Option<Sealed>, SecretsError> {
        let secret = self.open(place, sealed)?;
        if parts(sealed)?.0 == self.sealing_key()? { Ok(None) } else { self.seal(place, &secret).map(Some) }
    }

    fn sealing(&self) -> Result<&Key, SecretsError> {
        self.0.first().ok_or(SecretsError::NoKey)
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()?);
        if bytes.len() != KEY_BYTES {
            return None;
        }
        let digest = digest::digest(&digest::SHA256, &bytes);
        let head: [u8; 4] = std::array::from_fn(|i| digest.as_ref()[i]);
        let id = format!("{:08x}", u32::from_be_bytes(head));
        Some(Self { id, key: RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok()? })
    }
}

impl fmt::Debug for Vault {
    /// The keys' ids, the sealing one first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.0.iter().map(|key| &key.id).collect::<Vec<_>>()).finish()
    }
}

/// A sealed secret's key id and ciphertext. The id appears in errors, so no other text may pass for an id.
fn parts(sealed: &Sealed) -> Result<(&str, &str), SecretsError> {
    let mut parts = sealed.0.splitn(3, '.');
    let (Some("v1"), Some(id), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(SecretsError::Damaged);
    };
    let is_id = id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_id { Ok((id, text)) } else { Err(SecretsError::Damaged) }
}

fn which(number: usize, of: usize) -> String {
    if of == 1 { "its value is".to_owned() } else { format!("number {number} of its {of} values is") }
}

impl SecretSlot<'_> {
    fn associated_data(&self) -> String {
        // Neither an account nor an id has a slash, so this is unambiguous.
        format!("{}/{}/{}", self.account, self.webhook, self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::new(Some(&SecretString::from(Vault::new_key().to_string()))).unwrap()
    }

    fn places(account: &AccountId) -> [SecretSlot<'_>; 3] {
        let first = "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap();
        let second = "wh_019a1b2c-0000-7000-8000-000000000002".parse().unwrap();
        [(first, "token"), (second, "token"), (first, "value")].map(|(webhook, field)| SecretSlot {
            account,
            webhook,
            field,
        })
    }

    #[test]
    fn a_secret_opens_in_its_place_and_nowhere_else() {
        let (vault, account) = (vault(), "acme".parse().unwrap());
        let [here, other_webhook, other_field] = places(&account);
        let sealed = vault.seal(here, &"t0ken".into()).unwrap();
        assert!(!sealed.0.contains("t0ken"));
        assert_eq!(vault.open(here, &sealed).unwrap().expose_secret(), "t0ken");
        let stranger = "acme2".parse().unwrap();
        let other_account = SecretSlot { account: &stranger, ..here };
        for elsewhere in [other_account, other_webhook, other_field] {
            assert_eq!(vault.open(elsewhere, &sealed).unwrap_err(), SecretsError::Damaged);
        }
        assert_ne!(vault.seal(here, &"t0ken".into()).unwrap(), sealed, "each sealing has its own nonce");
    }

    #[test]
    fn without_the_right_key_a_secret_stays_shut_and_the_error_says_why() {
        let account = "acme".parse().unwrap();
        let [here, ..] = places(&account);
        let sealed = vault().seal(here, &"t0ken".into()).unwrap();
        assert!(matches!(vault().open(here, &sealed).unwrap_err(), SecretsError::OtherKey { .. }));
        let keyless = Vault::new(None).unwrap();
        assert_eq!(keyless.open(here, &sealed).unwrap_err(), SecretsError::NoKey);
        assert_eq!(keyless.seal(here, &"x".into()).unwrap_err(), SecretsError::NoKey);
        for bad in ["", "v1", "v1.x", "v2.a.b", "v1..", "v1.00000000.!!"] {
            assert!(vault().open(here, &Sealed(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let [old, new] = [0, 1].map(|_| Vault::new_key());
        let vault = |text: String| Vault::new(Some(&text.into())).unwrap();
        let (before, after) = (vault(old.to_string()), vault(new.to_string()));
        let account = "acme".parse().unwrap();
        let [here, elsewhere, _] = places(&account);
        let sealed = before.seal(here, &"t0ken".into()).unwrap();
        for separator in ["\n", " ", ",", ", \r\n", "\t"] {
            let both = vault(format!("{}{separator}{}\n", *new, *old));
            assert_eq!(both.sealing_key(), after.sealing_key());
            assert_eq!(both.open(here, &sealed).unwrap().expose_secret(), "t0ken");
            let anew = both.reseal(here, &sealed).unwrap().expect("it lies under the old key");
            assert_eq!(after.open(here, &anew).unwrap().expose_secret(), "t0ken");
            assert_eq!(both.reseal(here, &anew), Ok(None), "once is enough");
            assert_eq!(both.reseal(elsewhere, &sealed), Err(SecretsError::Damaged), "no other place is given");
            assert_eq!(both.reseal(elsewhere, &anew), Err(SecretsError::Damaged), "although the key is the first");
        }
        let twice = vault(format!("{} {} {}", *old, *new, *old));
        assert_eq!(twice.0.len(), 2, "a key that stands there twice counts once");
    }

    #[test]
    fn an_error_names_keys_by_their_ids_and_a_damaged_secret_passes_for_no_id() {
        let account = "acme".parse().unwrap();
        let [here, ..] = places(&account);
        let (one, other) = (vault(), vault());
        let sealed = one.seal(here, &"t0ken".into()).unwrap();
        let error = other.open(here, &sealed).unwrap_err().to_string();
        for id in [one.sealing_key().unwrap(), other.sealing_key().unwrap()] {
            assert!(error.contains(id), "{error}");
        }
        for bad in ["v1.t0ken-in-clear.x", "v1.ABCDEF01.x", "v1.1234567.x"] {
            assert_eq!(other.open(here, &Sealed(bad.into())).unwrap_err(), SecretsError::Damaged, "{bad}");
        }
    }

    #[test]
    fn only_32_bytes_are_a_key_and_the_error_says_which_is_none() {
        for bad in ["abc", "c2hvcnQ=", &STANDARD.encode([0; 33])] {
            let alone = Vault::new(Some(&bad.into())).unwrap_err();
            assert_eq!(alone, SecretsError::BadKey { number: 1, of: 1 }, "{bad}");
            let second = Vault::new(Some(&format!("{}\n{bad}", *Vault::new_key()).into())).unwrap_err();
            assert_eq!(second, SecretsError::BadKey { number: 2, of: 2 }, "{bad}");
            assert!(!format!("{second} {second:?}").contains(bad), "{second}");
        }
        for blank in ["", "\n", " , "] {
            assert_eq!(Vault::new(Some(&blank.into())).unwrap_err(), SecretsError::Blank);
        }
    }

    #[test]
    fn eight_keys_serve_and_nine_are_refused() {
        let keys =
            |count| SecretString::from((0..count).map(|_| Vault::new_key().to_string() + "\n").collect::<String>());
        assert_eq!(Vault::new(Some(&keys(KEYS_MAX))).unwrap().0.len(), KEYS_MAX);
        assert_eq!(Vault::new(Some(&keys(KEYS_MAX + 1))).unwrap_err(), SecretsError::TooManyKeys(KEYS_MAX + 1));
    }

    #[test]
    fn the_debug_of_a_vault_is_its_key_ids() {
        let key = Vault::new_key();
        let vault = Vault::new(Some(&key.to_string().into())).unwrap();
        assert_eq!(format!("{vault:?}"), format!("Vault([\"{}\"])", vault.sealing_key().unwrap()));
    }
}
