//! The records that people read and decide on: webhooks, their logs, failed and rejected entries, API keys, and the
//! portal's links and sessions.

mod accounts;
mod api_keys;
mod entry_range;
mod failed;
mod kept;
mod logs;
mod overview;
mod portal;
mod rejected;
mod webhooks;

pub(in crate::store) use self::webhooks::Field;
pub use self::{
    accounts::{AccountPage, PageStart, SettingsLooked},
    api_keys::{API_KEYS_MAX, ApiKeyRecord, ApiKeyRecords, ApiKeyTable, KeyPut},
    entry_range::EntryRange,
    failed::Redelivered,
    kept::{KeptEntries, KeptEntry, Stock},
    overview::Activity,
    portal::{PORTAL_MAX, PortalLink, PortalRecord},
    rejected::{Batch, Fate, RejectedEntry},
    webhooks::{Deletion, Dropped, Put, WebhookEntry},
};
