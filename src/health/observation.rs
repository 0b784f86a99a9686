use std::borrow::Cow;
use std::time::Duration;

use super::{Facts, Moment};

/// How one run of a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is as it should be.
    Pass,
    /// It works, with something to look at.
    Warn,
    /// It does not work.
    Fail,
    /// Nothing was learned: the run itself was disturbed. Moves no status; lets the last conclusive result grow stale.
    Inconclusive,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Warn, Self::Fail, Self::Inconclusive];

    /// The lower-case word for logs and metric labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Why an outcome is not `pass`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Stable, for machines: `cli_missing`.
    pub code: &'static str,
    /// A sentence that anybody may read: no path, user, address or secret in it.
    pub public: Cow<'static, str>,
    /// More, for logs and trusted callers. No secret in it either.
    pub private: Option<String>,
}

impl Reason {
    /// A reason whose public sentence says it all.
    #[must_use]
    pub fn new(code: &'static str, public: impl Into<Cow<'static, str>>) -> Self {
        Self { code, public: public.into(), private: None }
    }

    /// The same with more detail for logs and trusted callers.
    #[must_use]
    pub fn with_private(self, private: impl Into<String>) -> Self {
        Self { private: Some(private.into()), ..self }
    }
}

/// What a check says after one run; the monitor adds when it was and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How the run ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub reason: Option<Reason>,
    /// What was found out.
    pub facts: Facts,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn pass(facts: Facts) -> Self {
        Self { outcome: Outcome::Pass, reason: None, facts }
    }

    /// It works, with something to look at.
    #[must_use]
    pub fn warn(reason: Reason, facts: Facts) -> Self {
        Self { outcome: Outcome::Warn, reason: Some(reason), facts }
    }

    /// It does not work.
    #[must_use]
    pub fn fail(reason: Reason, facts: Facts) -> Self {
        Self { outcome: Outcome::Fail, reason: Some(reason), facts }
    }

    /// Nothing was learned.
    #[must_use]
    pub fn inconclusive(reason: Reason, facts: Facts) -> Self {
        Self { outcome: Outcome::Inconclusive, reason: Some(reason), facts }
    }
}

/// One run of a check: what it found, when it began and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What was found.
    pub finding: Finding,
    /// When the run began.
    pub at: Moment,
    /// How long it took.
    pub took: Duration,
}
