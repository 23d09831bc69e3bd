//! `[redis]`: the URL, the certificates, and the prefix of keys.

use std::io;

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use secrecy::SecretString;
use webpki::{EndEntityCert, anchor_from_trusted_cert};

use super::{Read, TIME_LIMIT, is_name};
use crate::config::{
    Redis, RedisTls,
    error::ConfigError,
    layers::read_bounded,
    redis_url::{self, Refusal, Servers},
};

/// A file of certificates is at most this long.
const PEM_FILE_MAX_BYTES: u64 = 1 << 20;

impl Read<'_> {
    /// `[redis]`
    pub(super) fn redis(&self) -> Result<Redis, ConfigError> {
        let Servers { urls, are_of_a_cluster, speak_tls } = self.redis_servers()?;
        Ok(Redis {
            servers: urls,
            is_cluster: are_of_a_cluster,
            tls: self.redis_tls(speak_tls)?,
            prefix: self.prefix()?,
            accept_eviction: self.text("redis.accept_eviction")?.to_owned(),
            connect_timeout: self.duration("redis.connect_timeout", &TIME_LIMIT)?,
            response_timeout: self.duration("redis.response_timeout", &TIME_LIMIT)?,
        })
    }

    fn redis_servers(&self) -> Result<Servers, ConfigError> {
        const KEY: &str = "redis.url";
        let text = self.text(KEY)?;
        redis_url::servers(text).map_err(|refusal| match refusal {
            Refusal::Expected(what) => self.refuse(KEY, format!("{what} (it may hold a password and is not shown)")),
            Refusal::NotYet(scheme) => {
                ConfigError::SchemeNotYet { origin: self.layers.get(KEY).origin.clone(), scheme }
            }
        })
    }

    fn redis_tls(&self, is_used: bool) -> Result<RedisTls, ConfigError> {
        const KEYS: [&str; 3] = ["redis.ca", "redis.client_cert", "redis.client_key"];
        let [ca, certificate, key] = KEYS.map(|key| self.pem(key));
        let (ca, certificate, key) = (ca?, certificate?, key?);
        for (key, file) in KEYS.into_iter().zip([&ca, &certificate, &key]) {
            if file.is_some() && !is_used {
                return Err(
                    self.refuse(key, "\"\", or a redis.url that begins with rediss://, because only that uses TLS")
                );
            }
        }
        let client = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into_bytes(), SecretString::from(key))),
            (_, None) => return Err(self.refuse(KEYS[2], "the file of the key that belongs to redis.client_cert")),
            (None, _) => {
                return Err(self.refuse(KEYS[1], "the file of the certificate that belongs to redis.client_key"));
            }
        };
        Ok(RedisTls { ca: ca.map(String::into_bytes), client })
    }

    /// The text of a file of certificates, or of a key, that a setting names.
    fn pem(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(path) = self.path(key)? else { return Ok(None) };
        let unfit = |source: io::Error| {
            let origin = self.layers.get(key).origin.clone();
            ConfigError::PemFile { key, origin, path: path.clone(), source }
        };
        let text = read_bounded(&path, PEM_FILE_MAX_BYTES).map_err(unfit)?;
        let (holds, wanted) = if key == "redis.client_key" {
            (holds_key(text.as_bytes()), "private key")
        } else {
            (holds_certificates(text.as_bytes(), key == "redis.client_cert"), "certificate")
        };
        if holds {
            return Ok(Some(text));
        }
        Err(unfit(io::Error::new(io::ErrorKind::InvalidData, format!("it holds no usable {wanted} in PEM"))))
    }

    fn prefix(&self) -> Result<String, ConfigError> {
        const KEY: &str = "redis.prefix";
        let text = self.text(KEY)?;
        if !is_name(text, |c| c.is_ascii_alphanumeric() || "._:-".contains(c)) {
            return Err(self.refuse(KEY, "1 to 64 of A-Z a-z 0-9 . _ : - and nothing else, such as \"lynkhook\""));
        }
        Ok(text.to_owned())
    }
}

/// Whether PEM has a private key of a kind that TLS can use.
fn holds_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok_and(|key| any_supported_type(&key).is_ok())
}

/// Whether PEM holds only valid certificates, and at least one: authorities, or with `to_show` first the certificate to
/// present and then its authorities.
fn holds_certificates(pem: &[u8], to_show: bool) -> bool {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let Ok(found) = found else { return false };
    let is_certificate = |(position, der): (usize, &CertificateDer<'_>)| match position {
        0 if to_show => EndEntityCert::try_from(der).is_ok(),
        _ => anchor_from_trusted_cert(der).is_ok(),
    };
    !found.is_empty() && found.iter().enumerate().all(is_certificate)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_says, from_env};

    #[test]
    fn sentinel_is_refused_as_not_supported_yet() {
        let result = from_env(&[("REDIS_URL", "redis+sentinel://:hunter2@a,b/main")]);
        assert_says(result, &["(REDIS_URL)", "does not support redis+sentinel:// yet", "redis://"]);
    }
}
