//! Questions that Redis did not answer: a finding with the server's own words, and advice by their cause.

use super::{
    super::redis_advice::{self, FOREIGN},
    finding::{Finding, MANY_PARTITIONS, fail, pass, warn},
};
use crate::store::{Examination, Missing, StoreError, UserRole, for_shell};

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

/// The line about checks that were not made because users of this role may not ask; `None` if all were made.
pub(super) fn of_unasked(facts: &Examination, role: UserRole) -> Option<Finding> {
    let Examination { servers, groups, status, settings, .. } = facts;
    let mut known = servers.iter().filter_map(|server| server.facts.as_ref().ok());
    let checks = [
        ("clock", known.all(|facts| facts.clock.is_none())),
        ("group", groups.is_none()),
        ("queue", status.is_none()),
        ("webhooks", settings.is_none()),
    ];
    let unasked: Vec<&str> = checks.into_iter().filter_map(|(check, is_unasked)| is_unasked.then_some(check)).collect();
    (!unasked.is_empty()).then(|| {
        let (checks, role) = (unasked.join(", "), role.one());
        pass(
            "unseen",
            format!("{role} may not see {checks}: to check these too, run this with the user of an operator"),
        )
    })
}

/// The line about the permissions of a role.
pub(super) fn of_rights(missing: &Missing, role: UserRole) -> Finding {
    const CHECK: &str = "rights";
    let Missing { user, needed, useful, partitions, servers, tried } = missing;
    let (role, give) = (role.one(), |rights: &[String]| format!("ACL SETUSER {user} {}", for_shell(rights)));
    let at = if servers.is_empty() { String::new() } else { format!(" at {}", servers.join(", ")) };
    match () {
        () if !tried => {
            let found = format!("could not try the permissions of {user} as {role}: MULTI was refused");
            let give = give(&["+multi".to_owned()]);
            let advice = format!("{give}, then check again; if this Redis or a proxy has no MULTI, ignore this");
            warn(CHECK, found, &advice)
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
            let found = format!("{user} lacks permissions that {role} needs{at}: {}{of}", needed.join(" "));
            fail(CHECK, found, &give(&all))
        }
        () if !useful.is_empty() => {
            let useful_ones = useful.join(" ");
            let found =
                format!("{user} has all permissions that {role} needs, but not all that help{at}: {useful_ones}");
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
