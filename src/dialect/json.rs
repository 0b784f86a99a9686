use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::health::Fact;

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
