//! Advice after an error of Redis, chosen by its cause.

use rustls::{AlertDescription, CertificateError, Error};

use crate::store::StoreError;

const RIGHTS: &str = "use a Redis user with this permission (to change something: that of a server), or grant it to \
                      this one (ACL SETUSER); `lynkhook doctor --role` lists all missing permissions";
const BEGIN: &str = "start a worker or a server first: nothing is stored under redis.prefix yet, and this user may not \
                     begin it";
const KEYS: &str = "grant the user in redis.url access to all keys that begin with redis.prefix (ACL SETUSER)";
const SELECT: &str =
    "grant the user in redis.url this permission (ACL SETUSER, +select), or name no database in redis.url";
const ANNOUNCED: &str = "let each server of the cluster announce a name that its certificate has \
                         (cluster-announce-hostname, and cluster-preferred-endpoint-type hostname), and use such names \
                         in redis.url";
const FIND_MASTERS: &str = "grant the user in redis.url the permissions to find the masters of a cluster (ACL SETUSER, \
                            '+cluster|info' '+cluster|slots' +asking)";
pub(super) const FOREIGN: &str = "a key under redis.prefix was not written by Lynkhook: find it (redis-cli --scan, \
                                  TYPE) and move it away, or use another redis.prefix";
const PRIMARY: &str = "name the primary in redis.url: a replica accepts no writes";

/// The next step; `None` if the error's own text says it.
pub fn of(error: &StoreError) -> Option<&'static str> {
    if matches!(error, StoreError::Full | StoreError::Unfit(_) | StoreError::NoGroup | StoreError::Corrupt { .. }) {
        return None;
    }
    let Some((code, detail)) = error.answer() else { return of_silence(error) };
    Some(match code.as_str() {
        _ if error.is_of_too_many_clients() => "raise maxclients, or close clients that are not needed (CLIENT LIST)",
        _ if error.is_of_a_needless_password() => {
            "remove the password from redis.url, or set one in Redis (requirepass)"
        }
        "NOAUTH" => "put the password into redis.url, as redis://user:password@host (LYNKHOOK_REDIS__URL)",
        "WRONGPASS" => "correct the user name or the password in redis.url (LYNKHOOK_REDIS__URL)",
        "DENIED" => {
            "set a password in Redis (requirepass, or ACL SETUSER) and put it into redis.url (LYNKHOOK_REDIS__URL)"
        }
        "WRONGTYPE" => FOREIGN,
        "READONLY" | "MASTERDOWN" => PRIMARY,
        "CROSSSLOT" => "this Redis is a node of a cluster: write redis+cluster:// in redis.url",
        "CLUSTERDOWN" => {
            "wait until another master has taken the slots over, or mend the cluster (redis-cli --cluster check); with \
             cluster-require-full-coverage no, the other masters go on meanwhile"
        }
        "NOREPLICAS" => "wait until the replicas of Redis are back, or lower min-replicas-to-write in Redis",
        "LOADING" => "wait until Redis has loaded its data, then try again",
        "MOVED" | "ASK" | "TRYAGAIN" | "BUSY" => "wait, then try again",
        _ if matches!(error, StoreError::Forbidden(_)) => of_right(&detail),
        _ if matches!(error, StoreError::Denied(_)) => {
            "end redis.url (LYNKHOOK_REDIS__URL) with the number of a database that this Redis has"
        }
        _ => "check the log of Redis",
    })
}

/// Advice for a missing permission. The text of Redis says whether a command or a key is refused.
fn of_right(detail: &str) -> &'static str {
    match () {
        () if detail.contains("'select'") => SELECT,
        () if detail.contains("'cluster|") => FIND_MASTERS,
        () if detail.contains("'hsetnx'") => BEGIN,
        () if detail.contains(" access ") => KEYS,
        () => RIGHTS,
    }
}

fn of_silence(error: &StoreError) -> Option<&'static str> {
    if let Some(fault) = error.tls_fault() {
        return Some(match &fault {
            Error::InvalidCertificate(name) if is_of_a_name(name) && error.is_of_a_node() => ANNOUNCED,
            _ => of_tls(&fault),
        });
    }
    match error {
        _ if error.is_of_late_tls() => Some(
            "start Redis, or correct redis.url (LYNKHOOK_REDIS__URL): a server without TLS may not answer at all, and \
             needs redis://",
        ),
        StoreError::Unreachable(_) if error.is_unreadable() => {
            Some("the server is not Redis, or expects TLS: correct redis.url (LYNKHOOK_REDIS__URL)")
        }
        StoreError::Unreachable(_) if error.is_of_a_closed_connection() => Some(
            "Redis, or a proxy in front of it, closed the connection: check its log, maxclients, and whether it \
             requires TLS",
        ),
        StoreError::Unreachable(_) => Some("start Redis, or correct redis.url (LYNKHOOK_REDIS__URL)"),
        StoreError::Denied(_) => Some("correct the user name or the password in redis.url (LYNKHOOK_REDIS__URL)"),
        _ => None,
    }
}

fn is_of_a_name(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
}

fn of_tls(fault: &Error) -> &'static str {
    match fault {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "set redis.ca (LYNKHOOK_REDIS__CA) to the file of the authority that signed the certificate of Redis"
        }
        Error::InvalidCertificate(fault) if is_of_a_name(fault) => {
            "use a name in redis.url that the certificate of Redis has, or give Redis a certificate for this name"
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "give Redis a certificate that is still valid"
        }
        Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity" => {
            "the certificate of Redis is that of an authority: give Redis one signed by it, and name the authority in \
             redis.ca"
        }
        Error::InvalidCertificate(_) => "give Redis another certificate",
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "Redis requires a client certificate: set redis.client_cert and redis.client_key"
        }
        Error::AlertReceived(_) => {
            "if Redis requires a client certificate, set redis.client_cert and redis.client_key to one that its \
             authority signed"
        }
        Error::InvalidMessage(_) => "the server there does not speak TLS: use redis://, or the TLS port, in redis.url",
        _ => "check the log of Redis",
    }
}
