use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::llm::Usage;

/// What the answers of models say about themselves, by model. Shared by the workers, written once for each answer.
#[derive(Debug, Default)]
pub struct Models {
    /// Filled one after the other; a name keeps its place.
    named: [OnceLock<Model>; MOST_MODELS],
    /// Of answers without a usable name, and of models beyond those that have a place.
    other: Counters,
}

/// So many models have series of their own; a name comes from the app, and could be another one each time.
pub const MOST_MODELS: usize = 32;

/// The label of the others.
const OTHER: &str = "other";

#[derive(Debug)]
struct Model {
    name: String,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    tokens: [AtomicU64; TOKENS.len()],
    outcomes: [AtomicU64; ModelOutcome::ALL.len()],
}

/// The kinds of tokens, as labels.
pub const TOKENS: [&str; 4] = ["input", "output", "cache_read", "cache_creation"];

/// How an answer of a model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelOutcome {
    /// With its own last word.
    Complete,
    /// With an error inside a success.
    Error,
    /// Without its last word: it was cut, or the client left.
    Truncated,
    /// Compressed, or neither JSON nor server-sent events: it was passed on and not read.
    Unread,
}

impl ModelOutcome {
    /// All of them in the order of their indices.
    pub const ALL: [Self; 4] = [Self::Complete, Self::Error, Self::Truncated, Self::Unread];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Truncated => "truncated",
            Self::Unread => "unread",
        }
    }
}

/// One model's counts at one instant.
#[derive(Clone, Debug)]
pub struct ModelTotals {
    /// Its name, or `other`.
    pub name: String,
    /// In the order of [`TOKENS`].
    pub tokens: [u64; TOKENS.len()],
    /// In the order of [`ModelOutcome::ALL`].
    pub outcomes: [u64; ModelOutcome::ALL.len()],
}

impl Models {
    /// An answer has ended.
    pub fn count(&self, model: Option<&str>, usage: Usage, outcome: ModelOutcome) {
        let counters = model.and_then(|name| self.find(name)).unwrap_or(&self.other);
        let Usage { input, output, cache_read, cache_creation } = usage;
        for (counter, tokens) in counters.tokens.iter().zip([input, output, cache_read, cache_creation]) {
            counter.fetch_add(tokens, Relaxed);
        }
        counters.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Every model so far, `other` last.
    #[must_use]
    pub fn totals(&self) -> Vec<ModelTotals> {
        let named = self.named.iter().map_while(OnceLock::get).map(|model| model.counters.totals(&model.name));
        named.chain([self.other.totals(OTHER)]).collect()
    }

    fn find(&self, name: &str) -> Option<&Counters> {
        if name == OTHER {
            return None;
        }
        let mut places = self
            .named
            .iter()
            .map(|place| place.get_or_init(|| Model { name: name.to_owned(), counters: Counters::default() }));
        places.find(|model| model.name == name).map(|model| &model.counters)
    }
}

impl Counters {
    fn totals(&self, name: &str) -> ModelTotals {
        ModelTotals {
            name: name.to_owned(),
            tokens: self.tokens.each_ref().map(|counter| counter.load(Relaxed)),
            outcomes: self.outcomes.each_ref().map(|counter| counter.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_MODELS, ModelOutcome, Models};
    use crate::llm::Usage;

    #[test]
    fn names_beyond_the_last_place_are_others() {
        let models = Models::default();
        let usage = Usage { input: 1, output: 2, cache_read: 3, cache_creation: 4 };
        for number in 0..1000 {
            models.count(Some(&format!("model-{}", number % 50)), usage, ModelOutcome::Complete);
        }
        models.count(None, Usage::default(), ModelOutcome::Unread);
        models.count(Some("other"), usage, ModelOutcome::Error);
        let totals = models.totals();
        assert_eq!(totals.len(), MOST_MODELS + 1);
        assert_eq!(
            (totals[0].name.as_str(), totals[0].tokens, totals[0].outcomes),
            ("model-0", [20, 40, 60, 80], [20, 0, 0, 0])
        );
        let other = &totals[MOST_MODELS];
        assert_eq!((other.name.as_str(), other.outcomes), ("other", [360, 1, 0, 1]));
        assert_eq!(totals.iter().map(|model| model.tokens[1]).sum::<u64>(), 2002);
    }
}
