//! One line of the output of `lynkhook doctor`.

use std::fmt;

use serde::Serialize;

/// Fewer partitions than this are listed by number; from this number on they are only counted.
pub(super) const MANY_PARTITIONS: usize = 6;

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Pass,
    /// Worth a look.
    Warn,
    /// Needs action.
    Fail,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The finding, in words.
    pub found: String,
    /// The next step; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

pub(super) fn pass(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Pass, found: found.into(), advice: None }
}

pub(super) fn warn(check: &'static str, found: impl Into<String>, advice: &str) -> Finding {
    Finding { check, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.to_owned()) }
}

pub(super) fn fail(check: &'static str, found: impl Into<String>, advice: &str) -> Finding {
    Finding { verdict: Verdict::Fail, ..warn(check, found, advice) }
}

pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}
