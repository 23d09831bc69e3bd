//! Webhooks that a worker knows without asking for them at each delivery.
//!
//! Redis tells of every change (`CLIENT TRACKING`), and on the very connection on which entries are read. It does so before
//! it answers the one who made the change: what somebody enqueues after that answer is read after the change is known, so
//! that to know is as good as to ask. Where no such connection listens nothing is known, and every look-up asks.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use redis::{PushInfo, PushKind, Value};

use crate::{
    domain::{account::AccountId, webhook::Subscriptions},
    store::{keys::Keys, records::Field},
};

/// Accounts that are remembered; when there are more, all are forgotten.
const ACCOUNTS_MAX: usize = 4096;

/// The known webhooks of one partition's accounts.
#[derive(Default)]
pub struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether Redis tells of changes.
    listening: bool,
    /// How often something was not known any more: what was asked for before may be of before.
    changes: u64,
    accounts: HashMap<AccountId, Account>,
}

/// An account's webhooks as they were found last, in Redis's bytes and parsed.
struct Account {
    fields: Vec<Field>,
    webhooks: Arc<Subscriptions>,
    /// Whether they are so still.
    current: bool,
}

/// When something was asked for.
#[derive(Clone, Copy)]
pub(in crate::store) struct AskedAt(u64);

impl Known {
    /// An account's webhooks, where it is certain that they did not change.
    pub fn get(&self, account: &AccountId) -> Option<Arc<Subscriptions>> {
        let state = self.state();
        let known = state.accounts.get(account).filter(|known| state.listening && known.current)?;
        Some(known.webhooks.clone())
    }

    /// To be called before Redis is asked.
    pub(in crate::store) fn ask(&self) -> AskedAt {
        AskedAt(self.state().changes)
    }

    /// Takes note of what Redis answered, which is parsed only where it differs from what was there; and answers what it
    /// says.
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

    /// Redis tells of changes from now on.
    pub(in crate::store) fn listen(&self) {
        let mut state = self.state();
        state.forget();
        state.listening = true;
    }

    /// Redis tells of nothing any more.
    pub(in crate::store) fn stop_listening(&self) {
        let mut state = self.state();
        state.listening = false;
        state.forget();
    }

    /// Takes note of what Redis tells of its own accord.
    pub(in crate::store) fn told(&self, keys: &Keys, push: PushInfo) {
        match push.kind {
            PushKind::Invalidate => {}
            // The reader may notice only later, for it waits for a slot.
            PushKind::Disconnection => return self.stop_listening(),
            _ => return,
        }
        let mut state = self.state();
        // If all of Redis was flushed, there is no list of keys.
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
    /// Nothing is certain any more.
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

    /// Whether the account's webhooks are known once it was looked up, `meanwhile` happening before Redis's answer comes.
    fn known_after(known: &Known, name: &str, meanwhile: impl FnOnce()) -> bool {
        let asked = known.ask();
        meanwhile();
        known.learn(asked, &account(name), vec![(b"id".to_vec(), b"{}".to_vec())], |_| Subscriptions::default());
        known.get(&account(name)).is_some()
    }

    #[test]
    fn what_was_looked_up_is_known_until_redis_tells_of_a_change() {
        let known = Known::default();
        known.listen();
        assert!(known.get(&account("acme")).is_none());
        assert!(known_after(&known, "acme", || {}) && known_after(&known, "other", || {}));
        changed(&known, "acme");
        assert!(known.get(&account("acme")).is_none() && known.get(&account("other")).is_some());
        assert!(known_after(&known, "acme", || {}), "looked up anew, though nothing of it is new");
    }

    #[test]
    fn a_change_that_is_told_of_before_the_answer_makes_the_answer_uncertain() {
        let known = Known::default();
        known.listen();
        assert!(!known_after(&known, "acme", || changed(&known, "acme")));
        assert!(known_after(&known, "acme", || {}));
        assert!(!known_after(&known, "other", || known.listen()), "it was asked before anybody listened");
    }

    #[test]
    fn nothing_is_known_while_nobody_listens_nor_after_a_flush_nor_after_what_nobody_understands() {
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
        assert!(known.get(&account("acme")).is_none(), "who listens anew begins with nothing");
    }

    #[test]
    fn what_is_the_same_is_not_parsed_again_and_there_is_a_bound() {
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
