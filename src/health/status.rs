use std::fmt;

/// What a check's state machine holds after thresholds, and what a group holds after aggregation.
///
/// The order is the aggregation: a group is as bad as its worst member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// All is well.
    Healthy,
    /// Works, with something to look at.
    Degraded,
    /// Not asked yet, or the last conclusive answer is too old to be believed.
    Unknown,
    /// Does not work.
    Unhealthy,
}

impl Status {
    /// All statuses, best first.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unknown, Self::Unhealthy];

    /// Whether traffic may be sent there: healthy or degraded.
    #[must_use]
    pub fn is_up(self) -> bool {
        self <= Self::Degraded
    }

    /// The lower-case word for logs and metric labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
