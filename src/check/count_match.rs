use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Check, Defaults, Kind, Others, Prepare, Resources};
use crate::health::{Fact, Facts, Finding, Reason};
use crate::settings::{Node, Problems, Reader, Setting};

pub(super) const KIND: Kind = Kind::of::<CountMatch>(
    "count_match",
    "Compares two numbers that other checks found out.",
    Defaults { interval: "10s", timeout: "1s", failure_threshold: "3", on_failure: "degraded" },
);

crate::settings! {
    /// Settings of a `count_match` check.
    pub struct CountMatch {
        /// The one number: "check.fact".
        left: Place,
        /// The other.
        right: Place,
        /// So much they may differ: the two are not counted at the same instant.
        max_difference: u64 = "0",
    }
}

/// A fact of a check.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    check: String,
    fact: String,
}

impl Setting for Place {
    const EXPECTS: &'static str = "a check and one of its facts, such as \"identities.count\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let parts = text.split_once('.').filter(|(check, fact)| !check.is_empty() && !fact.is_empty());
        if parts.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        parts.map(|(check, fact)| Self { check: check.to_owned(), fact: fact.to_owned() })
    }
}

impl Prepare for CountMatch {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        Ok(Box::new(CountMatchCheck { settings: self.clone(), others: None }))
    }

    fn judges(&self) -> Vec<&str> {
        vec![&self.left.check, &self.right.check]
    }
}

struct CountMatchCheck {
    settings: CountMatch,
    others: Option<Arc<dyn Others>>,
}

impl Check for CountMatchCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let known = |place: &Place| self.others.as_ref()?.fact(&place.check, &place.fact);
        let (left, right) = (known(&self.settings.left), known(&self.settings.right));
        Box::pin(std::future::ready(self.settings.judge(left, right)))
    }

    fn meet(&mut self, others: &Arc<dyn Others>) -> bool {
        self.others = Some(others.clone());
        true
    }
}

impl CountMatch {
    fn judge(&self, left: Option<Fact>, right: Option<Fact>) -> Finding {
        let (left_number, right_number) = (number(left.as_ref()), number(right.as_ref()));
        let mut facts = Facts::default();
        facts.public("left", left_number.and(left));
        facts.public("right", right_number.and(right));
        let unknown = match (left_number, right_number) {
            (Some(left), Some(right)) => {
                let synced = (left - right).abs() <= self.max_difference as f64;
                facts.public("synced", synced);
                if synced {
                    return Finding::pass(facts);
                }
                return Finding::fail(Reason::new("counts_differ", format!("counts {left} and {right}")), facts);
            }
            (None, _) => &self.left,
            (_, None) => &self.right,
        };
        facts.public("synced", Fact::Null);
        let private = format!("{}.{} is no number, or not recent", unknown.check, unknown.fact);
        Finding::inconclusive(Reason::new("count_unknown", "has nothing to compare").with_private(private), facts)
    }
}

fn number(fact: Option<&Fact>) -> Option<f64> {
    match fact? {
        Fact::Count(count) => Some(*count as f64),
        Fact::Number(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{CountMatch, Place};
    use crate::health::{Fact, Outcome};

    #[test]
    fn only_two_numbers_can_agree() {
        let place = |check: &str| Place { check: check.to_owned(), fact: "count".to_owned() };
        let judge = |max_difference, left: Option<Fact>, right: Option<Fact>| {
            let finding = CountMatch { left: place("a"), right: place("b"), max_difference }.judge(left, right);
            (finding.outcome, finding.facts.get("synced").cloned())
        };
        let count = |count: u64| Some(Fact::Count(count));
        assert_eq!(judge(0, count(3), count(3)), (Outcome::Pass, Some(Fact::Flag(true))));
        assert_eq!(judge(0, count(3), Some(Fact::Number(3.0))), (Outcome::Pass, Some(Fact::Flag(true))));
        assert_eq!(judge(0, count(3), count(4)), (Outcome::Fail, Some(Fact::Flag(false))));
        assert_eq!(judge(1, count(3), count(4)), (Outcome::Pass, Some(Fact::Flag(true))));
        assert_eq!(judge(1, count(5), count(3)), (Outcome::Fail, Some(Fact::Flag(false))));
        for unknown in [None, Some(Fact::Null), Some(Fact::Flag(true)), Some("3".into())] {
            assert_eq!(judge(0, count(3), unknown.clone()), (Outcome::Inconclusive, Some(Fact::Null)));
            assert_eq!(judge(0, unknown, count(3)), (Outcome::Inconclusive, Some(Fact::Null)));
        }
    }
}
