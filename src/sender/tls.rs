//! The TLS settings of all attempts, above all the certificate authorities to trust.
//!
//! TLS is 1.2 or newer. Certificates are verified against the system's authorities, or, if the system has none (a bare
//! container), against Mozilla's list from when this program was built. `egress.extra_ca` adds to either.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{SenderError, chain::ChainVerifier};
use crate::domain::text::without_mark;

/// The sessions kept for resumption. The library keeps up to 8 for a host, so this is enough for 512 hosts.
const SESSIONS: usize = 4096;

/// The TLS configuration of all attempts.
pub(super) fn client_config(extra_ca: Option<&Path>) -> Result<ClientConfig, SenderError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(extra_ca)?), provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainVerifier(verifier)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

fn roots(extra_ca: Option<&Path>) -> Result<RootCertStore, SenderError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(system.certs);
    if added == 0 {
        tracing::info!("no certificate authorities on this system: trusting the built-in list");
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    if let Some(path) = extra_ca {
        let (added, _) = roots.add_parsable_certificates(certificates_in(path)?);
        if added == 0 {
            return Err(SenderError::NoExtraCa { path: path.to_owned() });
        }
    }
    Ok(roots)
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, SenderError> {
    let read = || -> io::Result<Vec<_>> {
        let bytes = fs::read(path)?;
        let text = without_mark(&bytes).map_err(|utf16| io::Error::new(io::ErrorKind::InvalidData, utf16))?;
        let certificates: Result<_, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
        certificates.map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))
    };
    read().map_err(|source| SenderError::ExtraCa { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_extra_ca_is_an_error_that_names_the_file() {
        let error = client_config(Some(Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert_eq!(error.to_string(), "egress.extra_ca: cannot read /nonexistent/ca.pem");
    }

    #[test]
    fn an_extra_ca_without_a_certificate_is_an_error() {
        let error = client_config(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")))).unwrap_err();
        assert!(matches!(error, SenderError::NoExtraCa { .. }), "{error}");
    }

    #[test]
    fn an_extra_ca_is_read_behind_a_byte_order_mark_and_refused_as_utf_16() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = key.cert.pem();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("\u{feff}{pem}")).unwrap();
        assert_eq!(certificates_in(file.path()).unwrap(), [key.cert.der().clone()]);
        fs::write(file.path(), pem.bytes().flat_map(|byte| [byte, 0]).collect::<Vec<_>>()).unwrap();
        let Err(SenderError::ExtraCa { source, .. }) = certificates_in(file.path()) else { panic!("UTF-16") };
        assert_eq!(source.to_string(), "it is UTF-16; save it as UTF-8");
    }

    #[test]
    fn there_are_authorities_to_trust_on_any_system() {
        assert!(!roots(None).unwrap().is_empty());
    }
}
