use std::sync::Arc;

use hyper::header::HeaderMap;

use super::accept;
use crate::dialect::{Dialect, Part};
use crate::health::{Group, Report};

/// The dialects of an endpoint: at least one, the first for whoever does not say which.
#[derive(Clone, Debug)]
pub struct Dialects(Arc<[&'static dyn Dialect]>);

impl From<&'static dyn Dialect> for Dialects {
    fn from(only: &'static dyn Dialect) -> Self {
        Self(Arc::new([only]))
    }
}

impl Dialects {
    /// These, unless there are none.
    #[must_use]
    pub fn new(dialects: Vec<&'static dyn Dialect>) -> Option<Self> {
        (!dialects.is_empty()).then(|| Self(dialects.into()))
    }

    /// All of them.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'static dyn Dialect> {
        self.0.iter().copied()
    }

    /// The one for whoever does not say which.
    #[must_use]
    pub fn first(&self) -> &'static dyn Dialect {
        self.0[0]
    }

    /// Whether `Accept` has a say.
    #[must_use]
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// The one that a caller asks for at the endpoint's own path, with its index.
    pub(super) fn choose(&self, headers: &HeaderMap) -> (usize, &'static dyn Dialect) {
        let several = self.are_several();
        let index = if several { accept::choose(headers, self.iter().map(Dialect::media_type)) } else { 0 };
        (index, self.0[index])
    }

    /// The one that a caller asks for below the endpoint's path, among those that have such paths, and what of it.
    pub(super) fn choose_below<'a>(
        &self,
        headers: &HeaderMap,
        (report, group): (&Report, &Group),
        rest: &'a str,
    ) -> Option<(usize, &'static dyn Dialect, Part<'a>)> {
        let below = |(index, dialect): (usize, &'static dyn Dialect)| {
            dialect.below(report, group, rest).map(|part| (index, dialect, part))
        };
        let mut possible: Vec<_> = self.iter().enumerate().filter_map(below).collect();
        let chosen = accept::choose(headers, possible.iter().map(|(_, dialect, _)| dialect.media_type()));
        (chosen < possible.len()).then(|| possible.swap_remove(chosen))
    }

    /// Whether any of them has this path below the endpoint's.
    pub(super) fn have_below(&self, report: &Report, group: &Group, rest: &str) -> bool {
        self.iter().any(|dialect| dialect.below(report, group, rest).is_some())
    }
}
