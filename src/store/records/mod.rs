//! The records that people read and decide on: webhooks, their logs, and failed and rejected entries.

mod accounts;
mod entry_range;
mod failed;
mod kept;
mod logs;
mod rejected;
mod webhooks;

pub(in crate::store) use self::webhooks::Field;
pub use self::{
    accounts::{AccountPage, PageStart, SettingsLooked},
    entry_range::EntryRange,
    failed::Redelivered,
    kept::{KeptEntries, KeptEntry, Stock},
    rejected::{Batch, Fate, RejectedEntry},
    webhooks::{Deletion, Dropped, Put, WebhookEntry},
};
