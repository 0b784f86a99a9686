use std::sync::Arc;

use crate::health::{Fact, Facts};
use crate::settings::{Line, Node, Problems, Setting, Value};

/// Conditions on facts, by their names: `{ rows = ">= 1", role = "primary" }`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectations(Arc<[(String, Condition)]>);

impl Expectations {
    /// The name of the first fact that is not as it should be, or not there.
    pub(crate) fn first_unmet(&self, facts: &Facts) -> Option<&str> {
        let unmet =
            |(name, condition): &&(String, Condition)| !facts.get(name).is_some_and(|fact| condition.holds(fact));
        self.0.iter().find(unmet).map(|(name, _)| name.as_str())
    }
}

impl Setting for Expectations {
    const EXPECTS: &'static str =
        "a table from names to conditions such as { rows = \">= 1\", role = \"primary\", lag = \"< 5\" }";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Map(&crate::settings::Shape::Any);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
            return None;
        };
        let read: Vec<Option<(String, Condition)>> = table
            .entries
            .iter()
            .map(|entry| {
                let condition = Condition::of(&entry.node.value);
                if condition.is_none() {
                    problems.add(&entry.node.origin, format!("`{path}` must be {}", Self::EXPECTS));
                }
                condition.map(|condition| (entry.key.clone(), condition))
            })
            .collect();
        read.into_iter().collect::<Option<Vec<_>>>().map(|conditions| Self(conditions.into()))
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        lines.push(Line::plain(node, path));
    }
}

/// What a fact must be.
#[derive(Clone, Debug, PartialEq)]
struct Condition(Relation, Operand);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Nothing,
    Flag(bool),
    Number(f64),
    Text(String),
}

/// The longer ones first.
const RELATIONS: [(&str, Relation); 6] = [
    (">=", Relation::AtLeast),
    ("<=", Relation::AtMost),
    ("==", Relation::Equal),
    ("!=", Relation::Unequal),
    (">", Relation::More),
    ("<", Relation::Less),
];

impl Condition {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Text(text) => return Self::parse(text),
            Value::Integer(number) => Self(Relation::Equal, Operand::Number(*number as f64)),
            Value::Float(number) => Self(Relation::Equal, Operand::Number(*number)),
            Value::Boolean(flag) => Self(Relation::Equal, Operand::Flag(*flag)),
            _ => return None,
        })
    }

    /// `>= 1`, `== "text"`, `!= null`; text without a relation must be equal.
    fn parse(text: &str) -> Option<Self> {
        let found = RELATIONS.iter().find_map(|(sign, relation)| Some((text.strip_prefix(sign)?.trim(), *relation)));
        let Some((operand, relation)) = found else {
            return Some(Self(Relation::Equal, Operand::Text(text.to_owned())));
        };
        let quoted = |quote| operand.strip_prefix(quote)?.strip_suffix(quote);
        let operand = match (operand, quoted('"').or_else(|| quoted('\''))) {
            (_, Some(text)) => Operand::Text(text.to_owned()),
            ("null", _) => Operand::Nothing,
            ("true", _) => Operand::Flag(true),
            ("false", _) => Operand::Flag(false),
            _ => Operand::Number(operand.parse().ok().filter(|number: &f64| number.is_finite())?),
        };
        let orders = !matches!(relation, Relation::Equal | Relation::Unequal);
        (!orders || matches!(operand, Operand::Number(_))).then_some(Self(relation, operand))
    }

    fn holds(&self, fact: &Fact) -> bool {
        let Self(relation, operand) = self;
        let ordering = match (fact, operand) {
            (_, Operand::Number(right)) => number(fact).and_then(|left| left.partial_cmp(right)),
            // Databases without booleans have 0 and 1 in their place.
            (_, Operand::Flag(right)) => flag(fact).map(|left| left.cmp(right)),
            (Fact::Text(left), Operand::Text(right)) => Some((**left).cmp(right.as_str())),
            (Fact::Null, Operand::Nothing) => Some(std::cmp::Ordering::Equal),
            // A number that was written as text: "15".
            (Fact::Count(_) | Fact::Number(_), Operand::Text(right)) => {
                right.parse::<f64>().ok().and_then(|right| number(fact)?.partial_cmp(&right))
            }
            _ => None,
        };
        match (relation, ordering) {
            (Relation::Unequal, None) => true,
            (_, None) => false,
            (Relation::Equal, Some(ordering)) => ordering.is_eq(),
            (Relation::Unequal, Some(ordering)) => ordering.is_ne(),
            (Relation::Less, Some(ordering)) => ordering.is_lt(),
            (Relation::AtMost, Some(ordering)) => ordering.is_le(),
            (Relation::More, Some(ordering)) => ordering.is_gt(),
            (Relation::AtLeast, Some(ordering)) => ordering.is_ge(),
        }
    }
}

fn number(fact: &Fact) -> Option<f64> {
    match fact {
        Fact::Count(count) => Some(*count as f64),
        Fact::Number(number) => Some(*number),
        Fact::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn flag(fact: &Fact) -> Option<bool> {
    match fact {
        Fact::Flag(flag) => Some(*flag),
        Fact::Count(count @ (0 | 1)) => Some(*count == 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_or_do_not() {
        let text = |text: &str| Fact::from(text);
        for (condition, fact, holds) in [
            (">= 1", Fact::Count(1), true),
            (">= 1", Fact::Count(0), false),
            ("< 5", Fact::Number(4.9), true),
            ("<5", text("4.9"), true),
            ("<= 5", Fact::Null, false),
            ("> 5", text("many"), false),
            ("== \"x\"", text("x"), true),
            ("== 'x'", text("y"), false),
            ("!= \"x\"", text("y"), true),
            ("primary", text("primary"), true),
            ("primary", text("replica"), false),
            ("!= null", text("x"), true),
            ("!= null", Fact::Null, false),
            ("== null", Fact::Null, true),
            ("== true", Fact::Flag(true), true),
            ("== true", Fact::Count(1), true),
            ("== true", Fact::Count(2), false),
            ("15", Fact::Count(15), true),
            ("!= 3", Fact::Null, true),
        ] {
            let condition = Condition::parse(condition).expect("valid");
            assert_eq!(condition.holds(&fact), holds, "{condition:?} of {fact:?}");
        }
        for bad in [">=", "> x", "< \"x\"", ">= true", "== x", "!= nan", "> inf"] {
            assert!(Condition::parse(bad).is_none(), "{bad} must be refused");
        }
        assert_eq!(Condition::of(&Value::Integer(3)), Condition::parse("== 3"));
    }
}
