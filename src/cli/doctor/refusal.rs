//! What was not answered: the server's own words, and what to do by their cause.

use super::{Finding, fail, pass, warn};
use crate::store::{Missing, Role, StoreError, for_shell};

const RIGHTS: &str = "give the user in redis.url the right to it (ACL SETUSER)";
const FOREIGN: &str = "a key under redis.prefix is not what Lynkhook writes: find it (redis-cli --scan, TYPE) and move it \
                       away, or use another redis.prefix";
const PRIMARY: &str = "name the primary in redis.url: a replica takes no writes";

/// The failed check that no answer to the first question is.
pub(super) fn of_connection(error: &StoreError) -> Finding {
    fail("connection", words(error), advice(error))
}

/// The failed check that an error is, once the server has said what it is.
pub(super) fn of_fact(check: &'static str, error: &StoreError) -> Finding {
    match error {
        // A server that was understood before has a value of another kind.
        _ if error.is_unreadable() => fail(check, format!("an answer cannot be read: {error}"), FOREIGN),
        _ => fail(check, words(error), advice(error)),
    }
}

/// A fact that the role has no right to ask for, and no need to know.
pub(super) fn of_others_fact(finding: Finding, role: Role) -> Finding {
    if finding.advice.as_deref() != Some(RIGHTS) {
        return finding;
    }
    let advice = format!("a {} works without the right to it: look with another user", role.name());
    warn(finding.check, finding.found, &advice)
}

/// The line about the rights of a role.
pub(super) fn of_rights(missing: &Missing, role: Role) -> Finding {
    const CHECK: &str = "rights";
    let Missing { user, needed, useful, tried } = missing;
    let (role, give) = (role.name(), |rights: &[String]| format!("ACL SETUSER {user} {}", for_shell(rights)));
    match () {
        () if !tried => {
            let found = format!("those of {user} as a {role} could not be tried");
            warn(CHECK, found, &format!("{}, then look again", give(&["+multi".to_owned()])))
        }
        () if !needed.is_empty() => {
            let all = [needed.as_slice(), useful].concat();
            fail(CHECK, format!("{user} lacks what a {role} needs: {}", needed.join(" ")), &give(&all))
        }
        () if !useful.is_empty() => {
            let found = format!("{user} may do what a {role} needs; with {} it would cost less", useful.join(" "));
            warn(CHECK, found, &give(useful))
        }
        () => pass(CHECK, format!("{user} may do all that a {role} does")),
    }
}

fn words(error: &StoreError) -> String {
    match error {
        // It was reached, for it answered.
        StoreError::Unreachable(answer) if answer.code().is_some() => format!("Redis refused: {answer}"),
        _ => error.to_string(),
    }
}

fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unreachable(answer) | StoreError::Refused(answer) => match answer.code() {
            Some("WRONGTYPE") => FOREIGN,
            Some("READONLY" | "MASTERDOWN") => PRIMARY,
            Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => {
                "name a single Redis in redis.url: clusters are not served yet"
            }
            Some("LOADING" | "TRYAGAIN" | "BUSY") => "wait, then look again",
            // So Redis 7.0 says within a script what is NOPERM outside; later ones say NOPERM there, too.
            Some(_) if answer.detail().is_some_and(|detail| detail.contains("user executing the script")) => RIGHTS,
            Some(_) => "look at Redis's log",
            None if matches!(error, StoreError::Unreachable(_)) => {
                "start Redis, or mend redis.url (LYNKHOOK_REDIS__URL)"
            }
            None => FOREIGN,
        },
        StoreError::Forbidden(_) => RIGHTS,
        StoreError::Unfit(_) => "mend the user name, password or database in redis.url (LYNKHOOK_REDIS__URL)",
        StoreError::Full => "let workers drain the queue, or raise maxmemory",
        StoreError::NoGroup => "a worker makes it when it starts",
        StoreError::Corrupt { .. } => "mend the value or remove it",
    }
}
