//! Translates the errors of libraries into the texts that customers read.
//!
//! Errors are told apart by their types, not by their text, and their text never reaches the customer, because it may
//! contain the URL. The innermost cause with a meaning decides, because the outer ones only say where it happened.

use std::{error::Error, io};

use rustls::{
    AlertDescription, CertificateError, InvalidMessage, OtherError, PeerIncompatible, pki_types::InvalidDnsNameError,
};

use super::{
    NotMade, chain::ChainFault, progress::Progress, resolve::LookupError, shortage::lacking, stream::TOO_MUCH,
};
use crate::domain::outcome::{NetworkFault, Outcome, Phase};

/// The result of an attempt whose connection ended with `error` before the response headers were complete.
pub(super) fn no_answer(
    error: &(dyn Error + 'static),
    has_begun: bool,
    progress: &Progress,
) -> Result<Outcome, NotMade> {
    match met(error, progress.phase) {
        Ok(Outcome::NetworkError(fault @ (NetworkFault::Closed(_) | NetworkFault::Reset(_))))
            if !has_begun && progress.may_speak_http_2_only() =>
        {
            Ok(Outcome::NetworkError(NetworkFault::PerhapsHttp2(Box::new(fault))))
        }
        met => met,
    }
}

/// The result of an attempt that ended with `error` while it was in `phase`.
pub(super) fn met(error: &(dyn Error + 'static), phase: Phase) -> Result<Outcome, NotMade> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        next = inner(cause);
    }
    causes
        .into_iter()
        .rev()
        .find_map(|cause| classify(cause, phase))
        .unwrap_or_else(|| Ok(Outcome::NetworkError(unexplained(phase))))
}

/// The cause of this error. If an `io::Error` wraps another error, its `source()` skips that one.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The meaning of this one error, if it has one.
fn classify(error: &(dyn Error + 'static), phase: Phase) -> Option<Result<Outcome, NotMade>> {
    let fault = if let Some(lookup) = error.downcast_ref::<LookupError>() {
        return Some(match lookup.clone() {
            LookupError::Refused(why) => Ok(Outcome::Refused(why)),
            LookupError::Failed(fault) => Ok(Outcome::NetworkError(fault)),
            LookupError::Unable(lacking) => Err(NotMade::Lacking(lacking)),
            LookupError::NoServer(why) => Err(NotMade::NoNameServer(why)),
        });
    } else if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        tls_fault(tls)
    } else if error.is::<InvalidDnsNameError>() {
        NetworkFault::Tls("no certificate can name this host".to_owned())
    } else if let Some(io) = error.downcast_ref::<io::Error>() {
        if let Some(lacking) = lacking(io) {
            return Some(Err(NotMade::Lacking(lacking)));
        }
        io_fault(io, phase)?
    } else if let Some(http) = error.downcast_ref::<hyper::Error>() {
        http_fault(http, phase)?
    } else {
        return None;
    };
    Some(Ok(Outcome::NetworkError(fault)))
}

fn io_fault(error: &io::Error, phase: Phase) -> Option<NetworkFault> {
    Some(match error.kind() {
        TOO_MUCH => NetworkFault::InvalidResponse("it exceeds the size limit".to_owned()),
        io::ErrorKind::ConnectionRefused => NetworkFault::ConnectionRefused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => NetworkFault::Reset(phase),
        // A broken pipe: we wrote to a connection that the endpoint had closed.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            NetworkFault::Closed(phase)
        }
        io::ErrorKind::HostUnreachable => NetworkFault::Unreachable("no route to the host".to_owned()),
        io::ErrorKind::NetworkUnreachable => NetworkFault::Unreachable("no route to its network".to_owned()),
        io::ErrorKind::NetworkDown => NetworkFault::Unreachable("network down".to_owned()),
        io::ErrorKind::TimedOut => NetworkFault::Unreachable("TCP timed out".to_owned()),
        // This error only wraps another, or is too vague to name.
        _ if error.raw_os_error().is_none() => return None,
        kind => NetworkFault::Unreachable(kind.to_string()),
    })
}

fn http_fault(error: &hyper::Error, phase: Phase) -> Option<NetworkFault> {
    let invalid = |what: &str| NetworkFault::InvalidResponse(what.to_owned());
    Some(if error.is_parse_too_large() {
        invalid("its headers are too large")
    } else if error.is_parse_status() {
        invalid("its status line is malformed")
    } else if error.is_parse_version_h2() {
        invalid("HTTP/2 on a connection that was negotiated as HTTP/1.1")
    } else if error.is_parse() {
        // The library tells these apart only by their text. If that text changes, the last branch still applies.
        match error.to_string().as_str() {
            "invalid HTTP header parsed" => invalid("its headers are malformed"),
            "invalid content-length parsed" => invalid("its Content-Length header is malformed"),
            "invalid transfer-encoding parsed" | "unexpected transfer-encoding parsed" => {
                invalid("its Transfer-Encoding header is malformed")
            }
            _ => invalid("not HTTP"),
        }
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || error.is_shutdown() {
        NetworkFault::Closed(phase)
    } else {
        return None;
    })
}

/// For an error that no type explains.
fn unexplained(phase: Phase) -> NetworkFault {
    match phase {
        Phase::Handshaking => NetworkFault::Tls("handshake failed".to_owned()),
        Phase::Waiting => NetworkFault::InvalidResponse("unspecified HTTP error".to_owned()),
        Phase::Resolving | Phase::Connecting => NetworkFault::Unreachable("connecting failed".to_owned()),
    }
}

fn tls_fault(error: &rustls::Error) -> NetworkFault {
    match error {
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => NetworkFault::OnlyHttp2,
        _ => NetworkFault::Tls(tls_text(error)),
    }
}

fn tls_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => return certificate_text(error),
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "handshake refused by the endpoint (alert handshake_failure); it may require a client certificate, or have no cipher suite, curve or key type in common with us (CBC suites and RSA key exchange are not supported)"
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the endpoint supports neither TLS 1.2 nor TLS 1.3 (alert protocol_version)"
        }
        rustls::Error::AlertReceived(alert) => {
            return format!("handshake refused by the endpoint (alert {})", alert_name(*alert));
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "the endpoint does not speak TLS"
        }
        rustls::Error::NoCertificatesPresented => "the endpoint presented no certificate",
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => "the endpoint supports neither TLS 1.2 nor TLS 1.3",
        rustls::Error::PeerIncompatible(_) => "the endpoint has no cipher or parameter in common with us",
        rustls::Error::InvalidMessage(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. }
        | rustls::Error::PeerMisbehaved(_)
        | rustls::Error::PeerSentOversizedRecord
        | rustls::Error::DecryptError => "the endpoint violates the TLS protocol",
        _ => "handshake failed",
    }
    .to_owned()
}

fn certificate_text(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate not yet valid",
        CertificateError::UnknownIssuer => "certificate is not signed by a known authority",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate is not for this host name"
        }
        CertificateError::Revoked => "certificate is revoked",
        CertificateError::BadSignature => "certificate has a wrong signature",
        CertificateError::BadEncoding => "certificate is malformed",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for servers"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "certificate is signed by an unsupported algorithm"
        }
        CertificateError::Other(OtherError(other)) if let Some(fault) = other.downcast_ref::<ChainFault>() => {
            return fault.to_string();
        }
        // The type belongs to a library that this program does not name as a dependency. If the type's name changes,
        // the branch below applies.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "certificate is self-signed, or belongs to a certificate authority instead of a server"
        }
        // Rare defects, named as the library names them.
        CertificateError::Other(other) => return format!("certificate is not acceptable ({other})"),
        _ => "certificate is not acceptable",
    }
    .to_owned()
}

/// The name of an alert as RFC 8446 spells it, such as `handshake_failure`; its number if it has no name.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => return "unknown_ca".to_owned(),
        AlertDescription::UnrecognisedName => return "unrecognized_name".to_owned(),
        AlertDescription::UnknownPSKIdentity => return "unknown_psk_identity".to_owned(),
        AlertDescription::Unknown(number) => return number.to_string(),
        _ => {}
    }
    let mut name = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network_error(error: impl Error + 'static) -> String {
        match met(&error, Phase::Handshaking) {
            Ok(Outcome::NetworkError(fault)) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cause_is_found_through_wrapped_io_errors() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(network_error(wrapped), "TLS: certificate is not signed by a known authority");
    }

    #[test]
    fn the_kind_decides_if_the_inner_error_has_no_meaning() {
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"));
        assert_eq!(network_error(wrapped), "connection closed while negotiating TLS");
    }

    #[test]
    fn an_error_without_a_known_type_shows_nothing_of_its_text() {
        let secret = io::Error::other("https://example.com/path?token=secret");
        assert_eq!(network_error(secret), "TLS: handshake failed");
    }

    #[test]
    fn a_certificates_fault_is_named_in_plain_words() {
        let table = [
            (CertificateError::Expired, "TLS: certificate expired"),
            (CertificateError::NotValidYet, "TLS: certificate not yet valid"),
            (CertificateError::NotValidForName, "TLS: certificate is not for this host name"),
            (CertificateError::InvalidPurpose, "TLS: certificate is not for servers"),
            (CertificateError::UnhandledCriticalExtension, "TLS: certificate is not acceptable"),
        ];
        for (error, text) in table {
            assert_eq!(network_error(rustls::Error::InvalidCertificate(error)), text);
        }
    }

    #[test]
    fn alerts_are_spelt_as_in_the_rfc() {
        let refused = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert!(
            network_error(refused).starts_with("TLS: handshake refused by the endpoint (alert handshake_failure); ")
        );
        for (number, name) in [
            (48, "unknown_ca"),
            (112, "unrecognized_name"),
            (115, "unknown_psk_identity"),
            (116, "certificate_required"),
            (86, "inappropriate_fallback"),
            (109, "missing_extension"),
            (113, "bad_certificate_status_response"),
            (90, "user_canceled"),
            (71, "insufficient_security"),
            (80, "internal_error"),
            (200, "200"),
        ] {
            let refused = rustls::Error::AlertReceived(AlertDescription::from(number));
            assert_eq!(network_error(refused), format!("TLS: handshake refused by the endpoint (alert {name})"));
        }
    }

    #[test]
    fn a_system_error_is_named_by_its_kind() {
        let table = [
            (io::ErrorKind::ConnectionRefused, "connection refused"),
            (io::ErrorKind::ConnectionReset, "connection reset while negotiating TLS"),
            (io::ErrorKind::BrokenPipe, "connection closed while negotiating TLS"),
            (io::ErrorKind::HostUnreachable, "endpoint unreachable (no route to the host)"),
            (io::ErrorKind::NetworkUnreachable, "endpoint unreachable (no route to its network)"),
        ];
        for (kind, text) in table {
            assert_eq!(network_error(io::Error::from(kind)), text);
        }
    }
}
