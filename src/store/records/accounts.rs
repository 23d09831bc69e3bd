//! Lists all accounts that have webhooks, a page at a time, while everything runs.
//!
//! This is a `SCAN` over all partitions of a node, never `KEYS`, so Redis serves others between the pages. An account
//! that exists from the first page to the last is listed at least once, perhaps more often. One that is added meanwhile
//! may be missing. If the slots of a cluster get other masters meanwhile, the list begins anew. While a slot moves, its
//! keys are at two nodes, and one that is on the way may be missing: list again until nothing new is found.

use std::{collections::HashSet, sync::Arc};

use super::webhooks::entries;
use crate::{
    domain::account::AccountId,
    store::{Store, StoreError, link::Node},
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
    /// Looks at these nodes for settings that cannot be read: a key of a wrong type, or a field whose value is not the
    /// webhook of its name.
    pub(in crate::store) async fn look_at_settings(&self, nodes: &[Arc<Node>]) -> Result<SettingsLooked, StoreError> {
        let mut looked = SettingsLooked { complete: true, ..SettingsLooked::default() };
        let (mut seen, mut pages) = (HashSet::new(), 0);
        for node in nodes {
            let mut cursor = Some(0);
            while let Some(start) = cursor {
                if pages == PAGES_MAX {
                    looked.complete = false;
                    return Ok(looked);
                }
                pages += 1;
                let mut accounts;
                (accounts, cursor) = self.accounts_at(node, start).await?;
                accounts.retain(|account| seen.insert(account.clone()));
                self.look_at_settings_of(&accounts, &mut looked).await?;
            }
        }
        Ok(looked)
    }

    async fn look_at_settings_of(&self, accounts: &[AccountId], looked: &mut SettingsLooked) -> Result<(), StoreError> {
        looked.accounts += accounts.len();
        if accounts.is_empty() {
            return Ok(());
        }
        for (account, fields) in accounts.iter().zip(self.fields_of(accounts).await?) {
            let key = self.0.keys.webhooks(account);
            match fields {
                Ok(fields) => {
                    let errors = entries(&key, &fields).filter_map(|(_, webhook)| webhook.err());
                    looked.unreadable.extend(errors.map(|error| error.to_string()));
                }
                Err(_) => looked.unreadable.push(format!("`{key}` is no hash")),
            }
        }
        Ok(())
    }

    /// A page of the accounts that have webhooks, in no order. `start` is `PageStart::default()`, or the `next` of the
    /// page before.
    pub async fn accounts(&self, start: PageStart) -> Result<AccountPage, StoreError> {
        let (nodes, now) = (self.nodes(), self.epoch());
        let PageStart { epoch, node, cursor } = PageStart { epoch: start.epoch.or(now), ..start };
        let Some(at) = nodes.get(node).filter(|_| epoch == now) else {
            return Ok(AccountPage { accounts: Vec::new(), next: Some(PageStart::default()) });
        };
        let (accounts, next) = self.accounts_at(at, cursor).await?;
        let (node, cursor) = next.map_or((node + 1, 0), |cursor| (node, cursor));
        Ok(AccountPage { accounts, next: (node < nodes.len()).then_some(PageStart { epoch, node, cursor }) })
    }

    /// A page of a node's accounts, and the beginning of its next page.
    async fn accounts_at(&self, node: &Node, cursor: u64) -> Result<(Vec<AccountId>, Option<u64>), StoreError> {
        let keys = &self.0.keys;
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(keys.all_webhooks()).arg("COUNT").arg(PAGE_KEYS);
        let (cursor, found): (u64, Vec<Vec<u8>>) = node.run(&scan).await?;
        let found = found.iter().filter_map(|key| std::str::from_utf8(key).ok());
        let accounts = found.filter_map(|key| keys.parse_webhooks(key)).collect();
        Ok((accounts, Some(cursor).filter(|cursor| *cursor != 0)))
    }
}
