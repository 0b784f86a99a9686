use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// The streams of a connection that its client gave up, and those that it had refused or reset for what it did wrong.
#[derive(Debug)]
pub(super) struct Departures {
    recent: Cell<u32>,
    /// When the recent ones were last set to nothing.
    since: Cell<Instant>,
    /// Given up, and still running.
    running: Cell<usize>,
}

/// More in [`WINDOW`] are a flood: most of them cost us a connection to the app.
const MOST: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// Who has waited for so long may give up however often: its deadlines are over, perhaps because a part of the app hangs, and
/// how many can wait at the same time is limited.
const PATIENT: Duration = Duration::from_millis(50);

impl Default for Departures {
    fn default() -> Self {
        Self { recent: Cell::default(), since: Cell::new(clock::turn()), running: Cell::default() }
    }
}

impl Departures {
    /// A stream that has run for so long is given up.
    pub(super) fn begin(&self, after: Duration) {
        if after < PATIENT {
            self.add(1);
        }
        self.running.set(self.running.get() + 1);
    }

    /// One that was given up has ended.
    pub(super) fn end(&self) {
        self.running.set(self.running.get() - 1);
    }

    /// So many that never ran.
    pub(super) fn add(&self, count: u64) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.recent.set(self.recent.get().saturating_add(count));
    }

    pub(super) fn running(&self) -> usize {
        self.running.get()
    }

    /// Whether they come too fast.
    pub(super) fn are_a_flood(&self) -> bool {
        let now = clock::turn();
        if now - self.since.get() >= WINDOW {
            self.since.set(now);
            self.recent.set(0);
        }
        self.recent.get() > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::{Departures, Duration, MOST, PATIENT};

    #[test]
    fn deadlines_that_are_over_are_no_flood() {
        for (after, is_flood) in [(PATIENT, false), (PATIENT - Duration::from_millis(1), true)] {
            let departures = Departures::default();
            (0..=MOST).for_each(|_| departures.begin(after));
            assert_eq!(departures.are_a_flood(), is_flood, "{after:?}");
            assert_eq!(departures.running(), MOST as usize + 1);
        }
    }
}
