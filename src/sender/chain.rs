//! Better reasons for refused certificates. The library verifies certificates. If it refuses one, this module looks in
//! the chain that was sent for a reason that customers can act on: a missing intermediate certificate, or an RSA key
//! that is too short.
//!
//! This module never accepts a certificate that the library refuses.

use std::sync::Arc;

use aws_lc_rs::rsa::PublicEncryptingKey;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use webpki::EndEntityCert;

/// The reason why a certificate is refused, if it says more than the library's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChainFault {
    /// The last certificate of the chain is signed with a certificate that was not sent and is not a known authority's.
    /// It cannot be told whether that is an intermediate certificate or an unknown authority's own.
    #[error("certificate chain is incomplete (an intermediate certificate was not sent), or its authority is unknown")]
    Incomplete,
    /// An RSA key shorter than the shortest accepted one.
    #[error("certificate has an RSA key of less than 2048 bits")]
    ShortKey,
}

/// The library's verifier, with better reasons.
#[derive(Debug)]
pub(super) struct ChainVerifier(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
                if intermediates.iter().any(has_short_key) =>
            {
                because(ChainFault::ShortKey)
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer) if is_incomplete(end_entity, intermediates) => {
                because(ChainFault::Incomplete)
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        explained(self.0.verify_tls12_signature(message, certificate, signature), certificate)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        explained(self.0.verify_tls13_signature(message, certificate, signature), certificate)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn explained<T>(verified: Result<T, Error>, certificate: &CertificateDer<'_>) -> Result<T, Error> {
    verified.map_err(|error| if has_short_key(certificate) { because(ChainFault::ShortKey) } else { error })
}

fn because(fault: ChainFault) -> Error {
    CertificateError::Other(OtherError(Arc::new(fault))).into()
}

/// Whether the chain from the server's certificate ends at a certificate whose issuer was not sent.
fn is_incomplete(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
    let Ok(server) = EndEntityCert::try_from(end_entity) else { return false };
    let sent: Vec<_> = intermediates.iter().filter_map(|der| EndEntityCert::try_from(der).ok()).collect();
    // Bounded, because two authorities may have signed each other.
    let mut highest = &server;
    for _ in 0..=sent.len() {
        if highest.issuer() == highest.subject() {
            return false;
        }
        match sent.iter().find(|certificate| certificate.subject() == highest.issuer()) {
            Some(above) => highest = above,
            None => return true,
        }
    }
    false
}

fn has_short_key(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
    // The library has no type for this reason. If its name changes, the customer reads the library's own reason.
    PublicEncryptingKey::from_der(&certificate.subject_public_key_info())
        .is_err_and(|rejected| rejected.to_string() == "TooSmall")
}
