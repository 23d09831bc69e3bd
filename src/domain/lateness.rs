//! Thresholds for lateness.
//!
//! A worker promotes a retry within milliseconds of its time, and reads an entry as soon as it has room for it. A late
//! one indicates a fault, or too much work. Each reader draws a different conclusion, so each has its own threshold:
//!
//! | threshold | reader | because |
//! |---|---|---|
//! | [`RETRY_COUNTED`] | `lynkhook queue status` | a promoter looks at least once a second: an earlier retry may only wait for its turn |
//! | [`RETRY_FAILS_DOCTOR`] | `lynkhook doctor` | a restart of the only worker, or a short outage of Redis, is over by then |
//! | [`RETRY_FAILS_HEALTH`] | `/healthz` | a failed check restarts the worker, so it waits until all else has had its time |
//! | [`ENTRY_OLD`] | `lynkhook doctor` warns | an attempt takes at most 10 s by default, so an older entry waits for a slot |
//! | [`ENTRY_FORGOTTEN`] | `lynkhook doctor` fails, if no worker touched the queue for as long | a worker reads or claims every few seconds, so none runs |

use std::time::Duration;

/// The lateness from which `queue status` counts a retry as late.
pub const RETRY_COUNTED: Duration = Duration::from_secs(1);

/// The lateness from which `doctor` says that no worker promotes retries.
pub const RETRY_FAILS_DOCTOR: Duration = Duration::from_secs(10);

/// The lateness from which a worker's probe says that a retry was forgotten.
pub const RETRY_FAILS_HEALTH: Duration = Duration::from_secs(30);

/// The age from which `doctor` warns about the oldest entry of the queue.
pub const ENTRY_OLD: Duration = Duration::from_secs(15);

/// The age from which `doctor` says that no worker reads an entry. An id that is further ahead than this is from the
/// future.
pub const ENTRY_FORGOTTEN: Duration = Duration::from_mins(1);
