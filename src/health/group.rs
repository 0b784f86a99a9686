use std::fmt;
use std::sync::Arc;

/// A set of checks with a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Has the process started? Never waits for the app: a native sidecar that did would deadlock its pod.
    Startup,
    /// Does the process itself work? Contains no dependency unless somebody writes it there by hand.
    Liveness,
    /// May traffic be sent here? The lifecycle has a say too.
    Readiness,
    /// The whole picture, for people and load balancers.
    Health,
    /// A group of the configuration's own.
    Named(Arc<str>),
}

impl Group {
    /// The groups that always exist.
    pub const BUILT_IN: [Self; 4] = [Self::Startup, Self::Liveness, Self::Readiness, Self::Health];

    /// The group of that name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::BUILT_IN.into_iter().find(|group| group.name() == name).unwrap_or_else(|| Self::Named(name.into()))
    }

    /// Its name in configuration, labels and bodies.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Health => "health",
            Self::Named(name) => name,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
