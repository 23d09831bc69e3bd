//! Questions that were not answered: the server's own words, and what to do by their cause.

use super::{
    super::redis_advice::{self, FOREIGN, KEYS, RIGHTS},
    finding::{Finding, MANY_PARTITIONS, fail, pass, warn},
};
use crate::store::{Missing, StoreError, UserRole, for_shell};

/// The failed check that no answer to the first question is.
pub(super) fn of_connection(error: &StoreError) -> Finding {
    fail("connection", error.to_string(), advice(error))
}

/// The failed check that an error is, once the server has said what it is.
pub(super) fn of_fact(check: &'static str, error: &StoreError) -> Finding {
    match error {
        // A server that was understood before has a value of another kind.
        _ if error.is_unreadable() => fail(check, format!("an answer cannot be read: {error}"), FOREIGN),
        _ => fail(check, error.to_string(), advice(error)),
    }
}

/// A fact that the role has no right to ask for, and no need to know. A producer uses the queues alone; to any other role no
/// key is of no use.
pub(super) fn of_others_fact(finding: Finding, role: UserRole) -> Finding {
    let is_others = match finding.advice.as_deref() {
        Some(RIGHTS) => true,
        Some(KEYS) => role == UserRole::Producer,
        _ => false,
    };
    if !is_others {
        return finding;
    }
    let advice = format!("{} works without the right to it: look with another user", role.one());
    warn(finding.check, finding.found, &advice)
}

/// The line about the rights of a role.
pub(super) fn of_rights(missing: &Missing, role: UserRole) -> Finding {
    const CHECK: &str = "rights";
    let Missing { user, needed, useful, partitions, tried } = missing;
    let (role, give) = (role.one(), |rights: &[String]| format!("ACL SETUSER {user} {}", for_shell(rights)));
    match () {
        () if !tried => {
            let found = format!("those of {user} as {role} could not be tried");
            warn(CHECK, found, &format!("{}, then look again", give(&["+multi".to_owned()])))
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
            fail(CHECK, format!("{user} lacks what {role} needs: {}{of}", needed.join(" ")), &give(&all))
        }
        () if !useful.is_empty() => {
            let found = format!("{user} may do what {role} needs; with {} it would cost less", useful.join(" "));
            warn(CHECK, found, &give(useful))
        }
        () => pass(CHECK, format!("{user} may do all that {role} does")),
    }
}

fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unfit(_) => "mend redis.url (LYNKHOOK_REDIS__URL)",
        StoreError::Full => "let workers drain the queue, or raise maxmemory",
        StoreError::NoGroup => "a worker makes it when it starts",
        StoreError::Corrupt { .. } => "mend the value or remove it",
        _ => redis_advice::of(error).unwrap_or(FOREIGN),
    }
}
