//! Shortages of this machine. They say nothing about the endpoint, and must not be charged to it.

use std::io;

use rustix::io::Errno;

/// The resource that this machine ran out of, if that is the error.
pub(super) fn lacking(error: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => "no file descriptor is left",
        Errno::NOBUFS | Errno::NOMEM => "no memory is left for a connection",
        Errno::ADDRNOTAVAIL => "no local port is left",
        _ => return None,
    })
}
