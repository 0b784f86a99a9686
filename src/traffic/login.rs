use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What the traffic says about the app's login: the better witness than any file.
///
/// 429 and 529 say nothing against a login and are not told here.
#[derive(Debug, Default)]
pub struct Login {
    /// Unix milliseconds of the last answer that only a working login can bring; 0: never.
    accepted_at: AtomicU64,
    /// Unix milliseconds of the last answer that says "not logged in"; 0: never.
    rejected_at: AtomicU64,
}

/// The last thing that the traffic said about the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the login worked.
    pub accepted: bool,
    /// When, since 1970.
    pub at: Duration,
}

impl Login {
    /// A served model answer.
    pub fn accepted(&self, unix: Duration) {
        self.accepted_at.store(millis(unix), Relaxed);
    }

    /// An answer that says that nobody is logged in.
    pub fn rejected(&self, unix: Duration) {
        self.rejected_at.store(millis(unix), Relaxed);
    }

    /// The newer of the two witnesses; at the same millisecond, the bad one.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let accepted = self.accepted_at.load(Relaxed);
        let rejected = self.rejected_at.load(Relaxed);
        let at = accepted.max(rejected);
        (at > 0).then(|| Verdict { accepted: accepted > rejected, at: Duration::from_millis(at) })
    }
}

fn millis(unix: Duration) -> u64 {
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}
