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

/// What is asked did not answer this time: a disk, a file system of the network.
const FOR_A_WHILE: [Errno; 4] = [Errno::IO, Errno::AGAIN, Errno::TIMEDOUT, Errno::STALE];

/// Whether the same may go well in a while, with nothing changed: nobody will say when.
#[must_use]
pub fn passes(error: &io::Error) -> bool {
    is_ours(error) || FOR_A_WHILE.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The same of an error that has become a part of a sentence: the number is a part of its text.
#[must_use]
pub fn passes_as_told(sentence: &str) -> bool {
    let told = |errno: &Errno| sentence.contains(&format!("(os error {})", errno.raw_os_error()));
    OURS.iter().chain(&FOR_A_WHILE).any(told)
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

    #[test]
    fn what_passes_is_known_as_an_error_and_in_a_sentence() {
        let sentence = |error: &io::Error| format!("`proxy.tls`: /a/key cannot be read: {error}; or so");
        for errno in OURS.into_iter().chain(FOR_A_WHILE) {
            assert!(passes(&of(errno)) && passes_as_told(&sentence(&of(errno))), "{errno:?}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::ISDIR, Errno::PERM, Errno::LOOP] {
            assert!(!passes(&of(errno)) && !passes_as_told(&sentence(&of(errno))), "{errno:?}");
        }
        assert!(!passes_as_told("24 things are wrong"));
    }
}
