//! The one place that reads clocks.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::health::Moment;

/// Tells the time as [`Moment`]s since its own start. Follows tokio's paused clock in tests.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now, on both clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment { monotonic: self.start.elapsed(), unix: unix() }
    }

    /// The instant for a timer, of a point on the monotonic clock. A point beyond what timers can hold is a year away:
    /// waking up once in vain costs nothing, adding past the end would panic.
    #[must_use]
    pub fn instant(&self, monotonic: Duration) -> Instant {
        self.start.checked_add(monotonic).unwrap_or_else(|| Instant::now() + YEAR)
    }
}

thread_local! {
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
    static AWAKE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Notes the time once for everything that a task does in one go. To be called whenever such a task is polled: a thread
/// on which this has been called once has [`turn`] at the time of its last call.
pub fn begin_turn() {
    let now = Instant::now();
    TURN.set(Some(now));
    if AWAKE.get().is_none() {
        AWAKE.set(Some(now));
    }
}

/// Notes that this thread has slept. To be called whenever it wakes up.
pub fn wake_up() {
    AWAKE.set(None);
}

/// Since when this thread has not slept: what has happened meanwhile it may not have been told.
#[must_use]
pub fn awake_since() -> Instant {
    AWAKE.get().unwrap_or_else(turn)
}

/// When the present turn began: good to what can be done without waiting, and much cheaper than asking the clock for each
/// of the dozen times that a request notes.
#[must_use]
pub fn turn() -> Instant {
    TURN.get().unwrap_or_else(Instant::now)
}

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// The time of day since 1970; zero if the machine's clock stands before that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time of day")]
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The machine's own monotonic clock, as other programs on it read it too.
#[must_use]
pub fn monotonic() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Seconds since 1970 as RFC 3339 in UTC: `2024-01-15T10:30:00Z`.
#[must_use]
pub fn rfc3339(unix_seconds: u64) -> String {
    // The last second that four-digit years can name.
    let seconds = unix_seconds.min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// The same to the nanosecond, without zeroes at the end, as Go writes it: `2024-01-15T10:30:00.5Z`.
#[must_use]
pub fn rfc3339_nanos(unix: Duration) -> String {
    let whole = rfc3339(unix.as_secs());
    let nanos = format!("{:09}", unix.subsec_nanos());
    let second = whole.trim_end_matches('Z');
    match nanos.trim_end_matches('0') {
        "" => whole,
        fraction => format!("{second}.{fraction}Z"),
    }
}

/// A pause before the next attempt: doubled with each failure, at most `longest`, and somewhere in its upper half, so that
/// those who failed together do not come back together.
#[must_use]
pub fn back_off(first: Duration, longest: Duration, failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let whole = first.saturating_mul(1 << (failures - 1).min(16)).min(longest);
    let share = (RandomState::new().hash_one(failures) % 512) as u32;
    whole / 2 + whole / 2 * share / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_second_end_with_a_digit_that_says_something() {
        for (nanos, written) in [
            (0, "1970-01-01T00:00:01Z"),
            (500_000_000, "1970-01-01T00:00:01.5Z"),
            (554_202_000, "1970-01-01T00:00:01.554202Z"),
            (7, "1970-01-01T00:00:01.000000007Z"),
        ] {
            assert_eq!(rfc3339_nanos(Duration::new(1, nanos)), written);
        }
    }

    #[test]
    fn a_pause_grows_to_its_bound_and_never_beyond() {
        let (first, longest) = (Duration::from_millis(5), Duration::from_millis(100));
        assert_eq!(back_off(first, longest, 0), Duration::ZERO);
        for failures in 1..100 {
            let whole = first.saturating_mul(1 << (failures - 1).min(16)).min(longest);
            let pause = back_off(first, longest, failures);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} after {failures}");
        }
    }
}
