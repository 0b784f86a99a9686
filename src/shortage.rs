//! Errors of the system that say nothing of what was asked for: we lack something ourselves, or it passes.

use std::io;

use rustix::io::Errno;

/// No descriptor, no memory, no port of our own.
const OURS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];

/// Whether it was us who lacked a descriptor, memory or a port: nobody was asked.
#[must_use]
pub fn is_ours(error: &io::Error) -> bool {
    OURS.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn what_we_lack_is_told_from_what_others_do() {
        assert!(OURS.into_iter().all(|errno| is_ours(&of(errno))));
        for other in [Errno::CONNREFUSED, Errno::NOENT, Errno::ACCESS, Errno::TIMEDOUT, Errno::HOSTUNREACH] {
            assert!(!is_ours(&of(other)), "{other:?}");
        }
        assert!(!is_ours(&io::Error::other("an error without a number")));
    }
}
