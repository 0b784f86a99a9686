use std::cell::RefCell;
use std::fmt;

use super::Origin;

/// One thing that is wrong with the configuration: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place.
    pub origin: Origin,
    /// A sentence that says what is wrong and what to do. Never holds a value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Collects problems, so that a reader can report all of them at once.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds a problem.
    pub fn add(&self, origin: &Origin, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem { origin: origin.clone(), message: message.into() });
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// How many there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// All problems in the order of files and lines.
    #[must_use]
    pub fn into_vec(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by(|a, b| place(&a.origin).cmp(&place(&b.origin)));
        problems.dedup();
        problems
    }
}

/// Files first, in the order of their lines; then variables and flags in the order in which they were read.
fn place(origin: &Origin) -> (u8, &str, usize, usize) {
    match origin {
        Origin::File { path, line, column } => (0, path, *line, *column),
        Origin::Environment(_) => (1, "", 0, 0),
        Origin::Flag(_) => (2, "", 0, 0),
        Origin::Preset(_) | Origin::Default => (3, "", 0, 0),
    }
}
