use serde_json::{Map, Value, json};

use super::View;
use crate::clock::rfc3339;
use crate::health::{Audience, CheckReport, Fact, Status};

/// A fact as JSON.
pub(super) fn value(fact: &Fact) -> Value {
    match fact {
        Fact::Null => Value::Null,
        Fact::Flag(flag) => (*flag).into(),
        Fact::Count(count) => (*count).into(),
        // 200 reads better than 200.0.
        Fact::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
        Fact::Number(number) => (*number).into(),
        Fact::Text(text) => (&**text).into(),
        Fact::Time(seconds) => rfc3339(*seconds).into(),
        Fact::Texts(texts) => json!(&**texts),
        Fact::List(list) => list.iter().map(value).collect(),
        Fact::Record(entries) => {
            Value::Object(entries.iter().map(|(name, fact)| (name.clone(), value(fact))).collect())
        }
    }
}

/// The facts that the caller may read.
pub(super) fn facts<'a>(view: &View<'_>, check: &'a CheckReport) -> impl Iterator<Item = (&'a str, &'a Fact)> {
    let (last, audience) = (check.state.last.as_ref(), view.audience);
    last.into_iter().flat_map(move |last| last.finding.facts.readable_by(audience))
}

/// When the last run began.
pub(super) fn last_check(check: &CheckReport) -> Value {
    check.state.last.as_ref().map_or(Value::Null, |last| rfc3339(last.at.unix.as_secs()).into())
}

/// How long the last run took, in milliseconds to a thousandth.
pub(super) fn latency_ms(check: &CheckReport) -> Option<f64> {
    check.state.last.as_ref().map(|last| (last.took.as_secs_f64() * 1e6).round() / 1e3)
}

/// `error` of a check that is not healthy, and for trusted callers `error_detail`.
pub(super) fn error(view: &View<'_>, check: &CheckReport, part: &mut Map<String, Value>) {
    if check.state.status == Status::Healthy {
        return;
    }
    part.insert("error".into(), view.sentence(check).into());
    if let Some(private) = private(view, check) {
        part.insert("error_detail".into(), private.into());
    }
}

/// What only trusted callers may read of why a check is not healthy.
pub(super) fn private<'a>(view: &View<'_>, check: &'a CheckReport) -> Option<&'a str> {
    let trusted = view.audience == Audience::Trusted;
    check.reason().filter(|_| trusted).and_then(|reason| reason.private.as_deref())
}
