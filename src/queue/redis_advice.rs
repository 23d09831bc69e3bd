//! The next step after an error of Redis, by its cause.

use rustls::{AlertDescription, CertificateError, Error};

use crate::store::StoreError;

/// Also what tells a check that only needs a right from one that found a fault.
pub(super) const RIGHTS: &str = "give the user in redis.url the right to it (ACL SETUSER); `lynkhook doctor --role` names all \
                                 that are missing";
pub(super) const KEYS: &str = "give the user in redis.url all keys that begin with redis.prefix (ACL SETUSER)";
const SELECT: &str = "give the user in redis.url the right to it (ACL SETUSER, +select), or name no database there";
pub(super) const FOREIGN: &str = "a key under redis.prefix is not what Lynkhook writes: find it (redis-cli --scan, TYPE) and move it \
                                  away, or use another redis.prefix";
const PRIMARY: &str = "name the primary in redis.url: a replica takes no writes";

/// The next step; nothing where the error's own text says it.
pub fn of(error: &StoreError) -> Option<&'static str> {
    if matches!(error, StoreError::Full | StoreError::Unfit(_) | StoreError::NoGroup | StoreError::Corrupt { .. }) {
        return None;
    }
    let Some((code, detail)) = error.answer() else { return of_silence(error) };
    Some(match code.as_str() {
        _ if error.is_of_too_many_clients() => "raise maxclients, or end clients that are not needed (CLIENT LIST)",
        _ if error.is_of_a_needless_password() => {
            "leave the password out of redis.url, or give Redis one (requirepass)"
        }
        "NOAUTH" => "put the password into redis.url, as redis://user:password@host (LYNKHOOK_REDIS__URL)",
        "WRONGPASS" => "mend the user name or the password in redis.url (LYNKHOOK_REDIS__URL)",
        "DENIED" => {
            "give Redis a password (requirepass, or ACL SETUSER) and put it into redis.url (LYNKHOOK_REDIS__URL)"
        }
        "WRONGTYPE" => FOREIGN,
        "READONLY" | "MASTERDOWN" => PRIMARY,
        "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" => {
            "name a single Redis in redis.url: clusters are not served yet"
        }
        "NOREPLICAS" => "wait until its replicas are back, or lower min-replicas-to-write in Redis",
        "LOADING" => "wait until it has loaded its data, then try again",
        "TRYAGAIN" | "BUSY" => "wait, then try again",
        _ if matches!(error, StoreError::Forbidden(_)) => of_right(&detail),
        _ if matches!(error, StoreError::Denied(_)) => {
            "write a database that this Redis has at the end of redis.url (LYNKHOOK_REDIS__URL)"
        }
        _ => "look at Redis's log",
    })
}

/// A missing right by what Redis says of it: that a command may not be run, or a key not accessed.
fn of_right(detail: &str) -> &'static str {
    match () {
        () if detail.contains("'select'") => SELECT,
        () if detail.contains(" access ") => KEYS,
        () => RIGHTS,
    }
}

fn of_silence(error: &StoreError) -> Option<&'static str> {
    if let Some(fault) = error.tls_fault() {
        return Some(of_tls(&fault));
    }
    match error {
        _ if error.is_of_late_tls() => Some(
            "start Redis, or mend redis.url (LYNKHOOK_REDIS__URL): what does not speak TLS may not answer at all, and is redis://",
        ),
        StoreError::Unreachable(_) if error.is_unreadable() => {
            Some("what answers is no Redis, or speaks TLS: mend redis.url (LYNKHOOK_REDIS__URL)")
        }
        StoreError::Unreachable(cause) if cause.is_connection_dropped() && !cause.is_connection_refusal() => Some(
            "Redis, or what stands before it, closed the connection: look at its log, at maxclients, and whether it wants TLS",
        ),
        StoreError::Unreachable(_) => Some("start Redis, or mend redis.url (LYNKHOOK_REDIS__URL)"),
        StoreError::Denied(_) => Some("mend the user name or the password in redis.url (LYNKHOOK_REDIS__URL)"),
        _ => None,
    }
}

fn of_tls(fault: &Error) -> &'static str {
    match fault {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "name the file of the authority that signed the certificate of Redis with redis.ca (LYNKHOOK_REDIS__CA)"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "write a name that the certificate of Redis has into redis.url, or give Redis a certificate for this one",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "give Redis a certificate that is still valid"
        }
        Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity" => {
            "the certificate of Redis is an authority's own: have one signed by it, and name that authority in redis.ca"
        }
        Error::InvalidCertificate(_) => "give Redis another certificate",
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "Redis wants a certificate: set redis.client_cert and redis.client_key"
        }
        Error::AlertReceived(_) => {
            "if Redis wants a certificate, set redis.client_cert and redis.client_key to one that its authority signed"
        }
        Error::InvalidMessage(_) => {
            "what listens there does not speak TLS: write redis://, or the port of TLS, in redis.url"
        }
        _ => "look at Redis's log",
    }
}
