//! The kinds of failure that callers tell apart: by an exit code on the command line, by a status over HTTP.
//!
//! Each error type has a method `failure` that gives the kind of each variant. The text of an error is for people, its
//! kind for programs.

/// The kind of a failure, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The command line, a parameter or the settings are wrong: mend them.
    Usage,
    /// The thing that was named does not exist.
    NotFound,
    /// A rule or a limit forbids it.
    Refused,
    /// Somebody else changed it in the meantime: look at it again.
    Conflict,
    /// Redis is out of reach, full or unfit: the same call may succeed once that is mended.
    Unavailable,
    /// Anything else, such as a value that Lynkhook did not write or a fault of the program or its machine.
    Broken,
}
