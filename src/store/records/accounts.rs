//! Lists all accounts that have webhooks, a page at a time, while everything runs.
//!
//! This is a `SCAN` over all partitions of a node, never `KEYS`, so Redis serves others between the pages. An account
//! that exists from the first page to the last is listed at least once, perhaps more often. One that is added meanwhile
//! may be missing. If the slots of a cluster get other masters meanwhile, the list begins anew. While a slot moves, its
//! keys are at two nodes, and one that is on the way may be missing: list again until nothing new is found.

use std::collections::HashSet;

use super::webhooks::entries;
use crate::{
    domain::account::AccountId,
    store::{Store, StoreError},
};

/// The keys that Redis looks at for a page. A thousand take well under a millisecond.
const PAGE_KEYS: usize = 1000;
/// The most pages in a search for settings that cannot be read. They take seconds.
const PAGES_MAX: usize = 10_000;

/// Some of the accounts that have webhooks.
#[derive(Debug)]
pub struct AccountPage {
    /// The accounts of this page; often none, if the Redis holds much other data.
    pub accounts: Vec<AccountId>,
    /// The beginning of the next page; `None` after the last.
    pub next: Option<PageStart>,
}

/// The beginning of a page; nodes are listed one after the other. It is valid only for the server that gave it, and
/// while that server runs. After an error, begin again.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageStart {
    /// The cluster's epoch at the first page.
    epoch: Option<u64>,
    node: usize,
    cursor: u64,
}

/// The result of a look at all accounts' settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsLooked {
    /// Accounts that were looked at.
    pub accounts: usize,
    /// Whether all accounts were looked at: the look ends after ten million keys.
    pub complete: bool,
    /// The keys, or fields of keys, that cannot be read, each with the reason.
    pub unreadable: Vec<String>,
}

impl Store {
    /// Looks for settings that cannot be read: a key of a wrong type, or a field whose value is not the webhook of its
    /// name.
    pub async fn look_at_settings(&self) -> Result<SettingsLooked, StoreError> {
        let (mut looked, mut page) = (SettingsLooked::default(), Some(PageStart::default()));
        let mut seen = HashSet::new();
        for _ in 0..PAGES_MAX {
            let Some(start) = page else { break };
            let AccountPage { mut accounts, next } = self.accounts(start).await?;
            page = next;
            accounts.retain(|account| seen.insert(account.clone()));
            looked.accounts += accounts.len();
            if accounts.is_empty() {
                continue;
            }
            for (account, fields) in accounts.iter().zip(self.fields_of(&accounts).await?) {
                let key = self.0.keys.webhooks(account);
                match fields {
                    Ok(fields) => {
                        let errors = entries(&key, &fields).filter_map(|(_, webhook)| webhook.err());
                        looked.unreadable.extend(errors.map(|error| error.to_string()));
                    }
                    Err(_) => looked.unreadable.push(format!("`{key}` is no hash")),
                }
            }
        }
        looked.complete = page.is_none();
        Ok(looked)
    }

    /// A page of the accounts that have webhooks, in no order. `start` is `PageStart::default()`, or the `next` of the
    /// page before.
    pub async fn accounts(&self, start: PageStart) -> Result<AccountPage, StoreError> {
        let keys = &self.0.keys;
        let (nodes, now) = (self.nodes(), self.epoch());
        let PageStart { epoch, node, cursor } = PageStart { epoch: start.epoch.or(now), ..start };
        let Some(at) = nodes.get(node).filter(|_| epoch == now) else {
            return Ok(AccountPage { accounts: Vec::new(), next: Some(PageStart::default()) });
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(keys.all_webhooks()).arg("COUNT").arg(PAGE_KEYS);
        let (cursor, found): (u64, Vec<Vec<u8>>) = at.run(&scan).await?;
        let found = found.iter().filter_map(|key| std::str::from_utf8(key).ok());
        let accounts = found.filter_map(|key| keys.parse_webhooks(key)).collect();
        let node = if cursor == 0 { node + 1 } else { node };
        Ok(AccountPage { accounts, next: (node < nodes.len()).then_some(PageStart { epoch, node, cursor }) })
    }
}
