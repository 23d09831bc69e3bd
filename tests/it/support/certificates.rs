//! Throwaway certificates: a valid one, and one for each reason to refuse a certificate.

use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The names of a valid certificate. The address is among them so that `https://127.0.0.1` is refused only for being an
/// address.
const NAMES: [&str; 4] = ["localhost", "hooks.test", "*.hooks.test", "127.0.0.1"];

/// The certificate that a receiver shows to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A valid certificate from [`Authority::shared`].
    Trusted,
    /// From the same authority, for the right names, ended in 2021.
    Expired,
    /// From the same authority, only for `elsewhere.test`.
    WrongName,
    /// Valid except for its authority, which no client knows.
    UnknownAuthority,
    /// Valid except that it has no authority at all.
    SelfSigned,
    /// No certificate and no TLS: speaks plain HTTP.
    PlainTcp,
    /// Accepts the connection and never answers the TLS handshake.
    SilentHandshake,
}

/// A certificate authority that lives as long as the test process.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    /// The authority that signs for all receivers, so that one CA file serves a program that uses several.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        SHARED.get_or_init(|| Self::new("Lynkhook test authority"))
    }

    fn new(name: &str) -> Self {
        let mut params = params_for(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

/// The TLS configuration of a receiver, or `None` if that identity never gets as far as TLS.
pub fn server_config(identity: Identity, alpn: &[&str]) -> Option<Arc<ServerConfig>> {
    let shared = Authority::shared();
    let signed = |params: &CertificateParams, key: &KeyPair, authority: &Authority| {
        params.signed_by(key, &authority.issuer).expect("a certificate")
    };
    let key = KeyPair::generate().expect("a key");
    let mut params = params_for(&NAMES);
    let certificate = match identity {
        Identity::PlainTcp | Identity::SilentHandshake => return None,
        Identity::Trusted => signed(&params, &key, shared),
        Identity::Expired => {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
            signed(&params, &key, shared)
        }
        Identity::WrongName => signed(&params_for(&["elsewhere.test"]), &key, shared),
        Identity::UnknownAuthority => signed(&params, &key, &Authority::new("An authority nobody knows")),
        Identity::SelfSigned => params.self_signed(&key).expect("a certificate"),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS #8");
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the key belongs to the certificate");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Some(Arc::new(config))
}

/// A valid certificate from [`Authority::shared`] and its key, as PEM, for a server that reads them from files.
pub fn trusted_pem() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = params_for(&NAMES).signed_by(&key, &Authority::shared().issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// The same for only these names, from [`Authority::shared`] or from an unknown authority.
pub fn pem_for(names: &[&str], is_known: bool) -> (String, String) {
    let unknown = Authority::new("An authority nobody knows");
    let authority = if is_known { Authority::shared() } else { &unknown };
    let key = KeyPair::generate().expect("a key");
    let certificate = params_for(names).signed_by(&key, &authority.issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// An authority's own certificate for these names and its key, as PEM.
pub fn authority_pem_for(names: &[&str]) -> (String, String) {
    let mut params = params_for(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

fn params_for(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
        .expect("the names are well formed")
}
