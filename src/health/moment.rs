use std::time::Duration;

/// One instant on both clocks: decisions use the monotonic one, people read the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since the start of the process; never jumps.
    pub monotonic: Duration,
    /// Since 1970-01-01T00:00:00Z; jumps when somebody sets the clock.
    pub unix: Duration,
}

impl Moment {
    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.monotonic.saturating_sub(earlier.monotonic)
    }

    /// This moment, later by `by`.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self { monotonic: self.monotonic.saturating_add(by), unix: self.unix.saturating_add(by) }
    }
}
