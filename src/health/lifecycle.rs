/// The process's own phase: an input to readiness, not a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifecycle {
    /// Until every readiness check that counts has given its first conclusive answer, or its start period is over.
    Starting,
    /// Normal work.
    Serving,
    /// Told to stop: still answering, no longer ready.
    Draining,
}

impl Lifecycle {
    /// The lower-case word for logs and bodies.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}
