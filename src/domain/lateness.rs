//! When a retry is late. A worker promotes a retry within milliseconds of its time, so one that stays behind tells of a fault.
//! Three readers ask, and each draws another conclusion, so each has a threshold of its own:
//!
//! | threshold | reader | because |
//! |---|---|---|
//! | [`COUNTED`] | `lynkhook queue status` | a promoter looks at least once a second: an earlier retry may only wait for its turn |
//! | [`FAILS_DOCTOR`] | `lynkhook doctor` | a restart of the only worker, or a short outage of Redis, is over by then |
//! | [`FAILS_HEALTH`] | `/healthz` | a failed check restarts the worker, so it waits until all else has had its time |

use std::time::Duration;

/// `queue status` counts a retry as late.
pub const COUNTED: Duration = Duration::from_secs(1);

/// `doctor` says that nobody promotes retries.
pub const FAILS_DOCTOR: Duration = Duration::from_secs(10);

/// A worker's probe says that a retry was forgotten.
pub const FAILS_HEALTH: Duration = Duration::from_secs(30);
