//! Accounts, and the partition that each belongs to.

use serde::{Deserialize, Serialize};

/// A customer's account: `[A-Za-z0-9._:-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "program", derive(utoipa::ToSchema), schema(pattern = "^[A-Za-z0-9._:-]{1,128}$"))]
#[serde(try_from = "String")]
pub struct AccountId(String);

/// The error for a text that is not an account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an account is 1 to 128 of A-Z a-z 0-9 . _ : -")]
pub struct NotAnAccount;

impl AccountId {
    /// The account's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition that holds everything of this account: CRC-32 (as in zlib) of its bytes, modulo `partitions`. A
    /// producer in any language can compute it.
    ///
    /// ```
    /// let acme: lynkhook::domain::account::AccountId = "acme".parse().unwrap();
    /// assert_eq!(acme.partition(1), 0);
    /// assert_eq!(acme.partition(16), 14); // zlib.crc32(b"acme") == 0x05c4ba3e
    /// ```
    pub fn partition(&self, partitions: u16) -> u16 {
        let remainder = crc32fast::hash(self.0.as_bytes()) % u32::from(partitions.max(1));
        u16::try_from(remainder).unwrap_or_default()
    }
}

impl std::str::FromStr for AccountId {
    type Err = NotAnAccount;

    fn from_str(text: &str) -> Result<Self, NotAnAccount> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(legal);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAnAccount) }
    }
}

impl TryFrom<String> for AccountId {
    type Error = NotAnAccount;

    fn try_from(text: String) -> Result<Self, NotAnAccount> {
        text.parse()
    }
}

impl std::fmt::Display for AccountId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_judged_by_its_alphabet_and_length() {
        let longest = "a".repeat(128);
        for good in ["a", "acme", "A.b_c:d-9", &longest] {
            assert!(good.parse::<AccountId>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(129);
        for bad in ["", "a b", "a/b", "a{0}", "ä", "a\n", &too_long] {
            assert_eq!(bad.parse::<AccountId>(), Err(NotAnAccount), "{bad:?}");
        }
    }

    #[test]
    fn the_partition_is_zlibs_crc32_modulo_the_partitions() {
        // From Python: zlib.crc32(b"acme") % n, zlib.crc32(b"123456789") == 0xcbf43926.
        let digits: AccountId = "123456789".parse().unwrap();
        assert_eq!(u32::from(digits.partition(1000)), 0xcbf4_3926 % 1000);
        assert_eq!(digits.partition(1), 0);
    }
}
