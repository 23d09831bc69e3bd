//! Questions that Redis did not answer: a finding with the server's own words, and advice by their cause.

use super::{
    super::redis_advice::{self, FOREIGN, KEYS, RIGHTS},
    finding::{Finding, MANY_PARTITIONS, fail, pass, warn},
};
use crate::store::{Missing, StoreError, UserRole, for_shell};

/// The failed check for a connection that gave no answer to the first question.
pub(super) fn of_connection(error: &StoreError) -> Finding {
    fail("connection", error.to_string(), advice(error))
}

/// The failed check for an error after the server has answered the first question.
pub(super) fn of_fact(check: &'static str, error: &StoreError) -> Finding {
    match error {
        // The server's answers could be read before, so a value has an unexpected type.
        _ if error.is_unreadable() => fail(check, format!("an answer cannot be read: {error}"), FOREIGN),
        _ => fail(check, error.to_string(), advice(error)),
    }
}

/// Turns a finding into a warning if the role lacks the permission for the check and does not need it. A producer needs
/// only the keys of the queues; every other role needs all keys.
pub(super) fn of_others_fact(finding: Finding, role: UserRole) -> Finding {
    let is_others = match finding.advice.as_deref() {
        Some(RIGHTS) => true,
        Some(KEYS) => role == UserRole::Producer,
        _ => false,
    };
    if !is_others {
        return finding;
    }
    let advice = format!("{} works without this permission: to check this, use another user", role.one());
    warn(finding.check, finding.found, &advice)
}

/// The line about the permissions of a role.
pub(super) fn of_rights(missing: &Missing, role: UserRole) -> Finding {
    const CHECK: &str = "rights";
    let Missing { user, needed, useful, partitions, tried } = missing;
    let (role, give) = (role.one(), |rights: &[String]| format!("ACL SETUSER {user} {}", for_shell(rights)));
    match () {
        () if !tried => {
            let found = format!("could not try the permissions of {user} as {role}");
            warn(CHECK, found, &format!("{}, then check again", give(&["+multi".to_owned()])))
        }
        () if !needed.is_empty() => {
            let all = [needed.as_slice(), useful].concat();
            let of = match partitions[..] {
                [] => String::new(),
                [_, ..] if partitions.len() < MANY_PARTITIONS => {
                    let named: Vec<String> = partitions.iter().map(u16::to_string).collect();
                    format!(" (keys of partition {})", named.join(", "))
                }
                _ => format!(" (keys of {} partitions)", partitions.len()),
            };
            fail(CHECK, format!("{user} lacks permissions that {role} needs: {}{of}", needed.join(" ")), &give(&all))
        }
        () if !useful.is_empty() => {
            let found =
                format!("{user} has all permissions that {role} needs; with {} it would cost less", useful.join(" "));
            warn(CHECK, found, &give(useful))
        }
        () => pass(CHECK, format!("{user} has all permissions that {role} uses")),
    }
}

fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unfit(_) => "correct redis.url (LYNKHOOK_REDIS__URL)",
        StoreError::Full => "let workers drain the queue, or raise maxmemory",
        StoreError::NoGroup => "a worker creates it when it starts",
        StoreError::Corrupt { .. } => "repair the value or remove it",
        _ => redis_advice::of(error).unwrap_or(FOREIGN),
    }
}
