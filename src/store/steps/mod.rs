//! The steps that workers take in Redis, one method for each.

mod audit;
mod batches;
mod due;
mod entry;
mod held;
mod known;
mod lease;
mod reader;
mod settle;
mod upkeep;

pub(in crate::store) use self::entry::pairs;
pub use self::{
    audit::Audit,
    due::{KnownClock, Leap, Promoted, Times},
    entry::{BATCH_MAX, BATCH_MAX_BYTES, Entry, EntryId, Fence, StepAnswer, fan_out_max},
    held::{Reason, Released, ToHold},
    known::Known,
    lease::{Claimed, MayTake, Untold},
    reader::{Reader, ReaderId},
    settle::Attempted,
    upkeep::{Longest, Mended, Visited},
};
