//! A cache of webhooks, so that a worker need not ask for them at each delivery.
//!
//! Redis reports every change (`CLIENT TRACKING`) on the same connection on which entries are read, and before it
//! answers the client that made the change. So an event that is enqueued after that answer is read after the change is
//! known, and the cache is as good as asking. If no such connection listens, nothing is known, and every look-up asks.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use redis::{PushInfo, PushKind, Value};

use crate::{
    domain::{account::AccountId, webhook::Subscriptions},
    store::{keys::Keys, records::Field},
};

/// The most accounts that are remembered. When there are more, all are forgotten.
const ACCOUNTS_MAX: usize = 4096;

/// The known webhooks of one partition's accounts.
#[derive(Default)]
pub struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether Redis reports changes.
    listening: bool,
    /// The number of changes so far. An answer to a question from before a change may be outdated.
    changes: u64,
    accounts: HashMap<AccountId, Account>,
}

/// An account's webhooks as they were last found, both unparsed and parsed.
struct Account {
    fields: Vec<Field>,
    webhooks: Arc<Subscriptions>,
    /// Whether they certainly have not changed since.
    current: bool,
}

/// The number of changes at the time of a question.
#[derive(Clone, Copy)]
pub(in crate::store) struct AskedAt(u64);

impl Known {
    /// An account's webhooks, if they certainly did not change.
    pub fn get(&self, account: &AccountId) -> Option<Arc<Subscriptions>> {
        let state = self.state();
        let known = state.accounts.get(account).filter(|known| state.listening && known.current)?;
        Some(known.webhooks.clone())
    }

    /// To be called before Redis is asked.
    pub(in crate::store) fn ask(&self) -> AskedAt {
        AskedAt(self.state().changes)
    }

    /// Takes Redis's answer, and returns the webhooks. Parses the answer only if it differs from the one before.
    pub(in crate::store) fn learn(
        &self,
        asked: AskedAt,
        account: &AccountId,
        fields: Vec<Field>,
        parse: impl FnOnce(&[Field]) -> Subscriptions,
    ) -> Arc<Subscriptions> {
        let mut state = self.state();
        let current = state.listening && state.changes == asked.0;
        if let Some(known) = state.accounts.get_mut(account)
            && known.fields == fields
        {
            known.current |= current;
            return known.webhooks.clone();
        }
        if state.accounts.len() >= ACCOUNTS_MAX {
            state.accounts.clear();
        }
        let webhooks = Arc::new(parse(&fields));
        state.accounts.insert(account.clone(), Account { fields, webhooks: webhooks.clone(), current });
        webhooks
    }

    /// Notes that Redis reports changes from now on.
    pub(in crate::store) fn listen(&self) {
        let mut state = self.state();
        state.forget();
        state.listening = true;
    }

    /// Notes that Redis no longer reports changes.
    pub(in crate::store) fn stop_listening(&self) {
        let mut state = self.state();
        state.listening = false;
        state.forget();
    }

    /// Takes a push message of Redis.
    pub(in crate::store) fn told(&self, keys: &Keys, push: PushInfo) {
        match push.kind {
            PushKind::Invalidate => {}
            // The reader may notice the loss of the connection only later, because it may be waiting for a slot.
            PushKind::Disconnection => return self.stop_listening(),
            _ => return,
        }
        let mut state = self.state();
        // After a flush of the database, the message has no list of keys.
        let Some(Value::Array(changed)) = push.data.into_iter().next() else { return state.forget() };
        for key in changed {
            let account = redis::from_redis_value::<String>(key).ok().and_then(|key| keys.parse_webhooks(&key));
            match account {
                Some(account) => {
                    state.changes += 1;
                    if let Some(known) = state.accounts.get_mut(&account) {
                        known.current = false;
                    }
                }
                None => state.forget(),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    /// Marks all accounts as possibly changed.
    fn forget(&mut self) {
        self.changes += 1;
        self.accounts.values_mut().for_each(|known| known.current = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("lynkhook", 1)
    }

    fn account(name: &str) -> AccountId {
        name.parse().unwrap()
    }

    fn told(known: &Known, data: Vec<Value>) {
        known.told(&keys(), PushInfo { kind: PushKind::Invalidate, data });
    }

    fn changed(known: &Known, name: &str) {
        let key = Value::BulkString(keys().webhooks(&account(name)).into_bytes());
        told(known, vec![Value::Array(vec![key])]);
    }

    /// Whether the account's webhooks are known after a look-up. `meanwhile` runs before Redis's answer comes.
    fn known_after(known: &Known, name: &str, meanwhile: impl FnOnce()) -> bool {
        let asked = known.ask();
        meanwhile();
        known.learn(asked, &account(name), vec![(b"id".to_vec(), b"{}".to_vec())], |_| Subscriptions::default());
        known.get(&account(name)).is_some()
    }

    #[test]
    fn webhooks_that_were_looked_up_are_known_until_redis_reports_a_change() {
        let known = Known::default();
        known.listen();
        assert!(known.get(&account("acme")).is_none());
        assert!(known_after(&known, "acme", || {}) && known_after(&known, "other", || {}));
        changed(&known, "acme");
        assert!(known.get(&account("acme")).is_none() && known.get(&account("other")).is_some());
        assert!(known_after(&known, "acme", || {}), "looked up anew, though nothing of it is new");
    }

    #[test]
    fn a_change_that_is_reported_before_the_answer_makes_the_answer_uncertain() {
        let known = Known::default();
        known.listen();
        assert!(!known_after(&known, "acme", || changed(&known, "acme")));
        assert!(known_after(&known, "acme", || {}));
        assert!(!known_after(&known, "other", || known.listen()), "it was asked before anybody listened");
    }

    #[test]
    fn nothing_is_known_without_a_listener_after_a_flush_or_after_an_unknown_message() {
        let known = Known::default();
        assert!(!known_after(&known, "acme", || {}));
        let ends: [fn(&Known); 5] = [
            Known::stop_listening,
            |known| told(known, vec![Value::Nil]),
            |known| told(known, vec![Value::Array(vec![Value::BulkString(b"another:key".to_vec())])]),
            |known| told(known, vec![]),
            |known| known.told(&keys(), PushInfo { kind: PushKind::Disconnection, data: vec![] }),
        ];
        for end in ends {
            known.listen();
            assert!(known_after(&known, "acme", || {}));
            end(&known);
            assert!(known.get(&account("acme")).is_none());
        }
        known.listen();
        assert!(known.get(&account("acme")).is_none(), "a new listener begins with nothing");
    }

    #[test]
    fn an_equal_answer_is_not_parsed_again_and_the_number_of_accounts_is_bounded() {
        let known = Known::default();
        known.listen();
        let learn = |name: &str, parse: fn(&[Field]) -> Subscriptions| {
            known.learn(known.ask(), &account(name), vec![(b"id".to_vec(), b"{}".to_vec())], parse)
        };
        let first = learn("acme", |_| Subscriptions::default());
        assert!(Arc::ptr_eq(&first, &learn("acme", |_| panic!("parsed again"))));
        for number in 0..ACCOUNTS_MAX {
            learn(&format!("a{number}"), |_| Subscriptions::default());
        }
        assert!(known.state().accounts.len() <= ACCOUNTS_MAX && known.get(&account("acme")).is_none());
    }
}
