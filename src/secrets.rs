//! Customers' secrets at rest: sealed by AES-256-GCM-SIV, so that a dump of Redis holds none.
//!
//! A sealed secret is text: `v1.<key id>.<nonce and ciphertext, base64url>`. Account, webhook and field are its
//! associated data: moved to another webhook or field, it does not open. The key id (the head of a digest of the key)
//! says which key opens it.

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
    webhook::{Sealed, WebhookId},
};

const KEY_BYTES: usize = 32;

/// Seals and opens secrets. Without a key it can do neither.
pub struct Vault(Option<Key>);

struct Key {
    id: String,
    key: RandomizedNonceKey,
}

/// Where a secret belongs; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The webhook's account.
    pub account: &'a AccountId,
    /// The webhook.
    pub webhook: WebhookId,
    /// Which of its secrets: `token` or `value`.
    pub field: &'static str,
}

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// No key is configured.
    #[error(
        "no key to seal secrets with: make one with `lynkhook secrets new-key > FILE` and set LYNKHOOK_SECRETS__KEY_FILE=FILE, for workers too"
    )]
    NoKey,
    /// The configured key has another form.
    #[error("secrets.key is not a key: it must be 32 bytes in base64, as `lynkhook secrets new-key` prints them")]
    BadKey,
    /// It was sealed under a key that is not configured.
    #[error("the secret was sealed with the key {sealed_with}, and this process has {present}")]
    OtherKey {
        /// Id of the key that opens it.
        sealed_with: String,
        /// Id of the key that is configured.
        present: String,
    },
    /// It was not sealed for this place, or it is damaged.
    #[error("the sealed secret does not belong to this webhook, or is damaged")]
    Damaged,
}

impl Vault {
    /// A vault with this key: 32 bytes in base64.
    pub fn new(key: Option<&SecretString>) -> Result<Self, SecretsError> {
        key.map(|text| {
            let text = text.expose_secret().trim();
            let bytes = Zeroizing::new(
                STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).map_err(|_| SecretsError::BadKey)?,
            );
            if bytes.len() != KEY_BYTES {
                return Err(SecretsError::BadKey);
            }
            let digest = digest::digest(&digest::SHA256, &bytes);
            let head: [u8; 4] = std::array::from_fn(|i| digest.as_ref()[i]);
            let id = format!("{:08x}", u32::from_be_bytes(head));
            let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).map_err(|_| SecretsError::BadKey)?;
            Ok(Key { id, key })
        })
        .transpose()
        .map(Self)
    }

    /// A new key, as text.
    pub fn new_key() -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut()).expect("the system gives random bytes");
        Zeroizing::new(STANDARD.encode(*bytes))
    }

    /// Seals a secret for its place.
    pub fn seal(&self, place: Place<'_>, secret: &SecretString) -> Result<Sealed, SecretsError> {
        let Key { id, key } = self.0.as_ref().ok_or(SecretsError::NoKey)?;
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(place.associated_data()), &mut text);
        let mut sealed = nonce.expect("sealing a short text does not fail").as_ref().to_vec();
        sealed.extend_from_slice(&text);
        Ok(Sealed(format!("v1.{id}.{}", URL_SAFE_NO_PAD.encode(sealed))))
    }

    /// Opens a secret in its place.
    pub fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<SecretString, SecretsError> {
        let Key { id, key } = self.0.as_ref().ok_or(SecretsError::NoKey)?;
        let mut parts = sealed.0.splitn(3, '.');
        let (Some("v1"), Some(sealed_with), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SecretsError::Damaged);
        };
        if sealed_with != id {
            return Err(SecretsError::OtherKey { sealed_with: sealed_with.to_owned(), present: id.clone() });
        }
        let mut bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| SecretsError::Damaged)?);
        let (nonce, ciphertext) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(SecretsError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SecretsError::Damaged)?;
        let opened = key.open_in_place(nonce, Aad::from(place.associated_data()), ciphertext);
        let opened = opened.map_err(|_| SecretsError::Damaged)?;
        String::from_utf8(opened.to_vec()).map(SecretString::from).map_err(|_| SecretsError::Damaged)
    }
}

impl Place<'_> {
    fn associated_data(&self) -> String {
        // No account has a slash, no id has one: this reads one way only.
        format!("{}/{}/{}", self.account, self.webhook, self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::new(Some(&SecretString::from(Vault::new_key().to_string()))).unwrap()
    }

    fn places(account: &AccountId) -> [Place<'_>; 3] {
        let first = "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap();
        let second = "wh_019a1b2c-0000-7000-8000-000000000002".parse().unwrap();
        [(first, "token"), (second, "token"), (first, "value")].map(|(webhook, field)| Place {
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
        for elsewhere in [other_webhook, other_field] {
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
    fn only_32_bytes_are_a_key() {
        for bad in ["", "abc", "c2hvcnQ=", &STANDARD.encode([0; 33])] {
            assert_eq!(Vault::new(Some(&bad.into())).err(), Some(SecretsError::BadKey), "{bad}");
        }
    }
}
