use std::sync::Arc;

use serde_json::Value as Json;

use crate::settings::{Node, Problems, Setting, Shape, Value};

/// Values that a JSON body must have, by JSON pointer (RFC 6901).
#[derive(Clone, Debug)]
pub(crate) struct JsonConditions(Arc<[(String, Json)]>);

impl JsonConditions {
    /// The pointer of the first that is not met.
    pub(super) fn first_unmet(&self, body: &Json) -> Option<&str> {
        let is_met = |(pointer, expected): &&(String, Json)| {
            body.pointer(pointer).is_some_and(|found| is_equal(found, expected))
        };
        self.0.iter().find(|condition| !is_met(condition)).map(|(pointer, _)| pointer.as_str())
    }
}

/// Numbers are compared as numbers: 2, 2.0 and 2e0 are one (RFC 8259 section 6 knows no kinds of them).
fn is_equal(found: &Json, expected: &Json) -> bool {
    match (found, expected) {
        (Json::Number(found), Json::Number(expected)) => {
            // Two that are written whole can be told apart beyond what a float can hold.
            if found.is_f64() || expected.is_f64() { found.as_f64() == expected.as_f64() } else { found == expected }
        }
        (found, expected) => found == expected,
    }
}

impl Setting for JsonConditions {
    const EXPECTS: &'static str = "a table from JSON pointers to values, such as { \"/status\" = \"ok\" }";
    const SHAPE: Shape = Shape::Map(&Shape::Any);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let mut conditions = Vec::new();
        if let Value::Table(table) = &node.value {
            for entry in &table.entries {
                let value = match &entry.node.value {
                    Value::Text(text) => text.as_str().into(),
                    Value::Integer(number) => (*number).into(),
                    Value::Float(number) => (*number).into(),
                    Value::Boolean(flag) => (*flag).into(),
                    _ => Json::Null,
                };
                if value.is_null() || !entry.key.starts_with('/') {
                    problems.add(&entry.origin, format!("`{path}` must be {}", Self::EXPECTS));
                    return None;
                }
                conditions.push((entry.key.clone(), value));
            }
            return Some(Self(conditions.into()));
        }
        problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Json, is_equal};

    #[test]
    fn numbers_are_compared_as_numbers() {
        let body: Json = serde_json::from_str("[2, 2.0, 2e0, 20e-1]").expect("JSON");
        for found in body.as_array().expect("an array") {
            assert!(is_equal(found, &json!(2)) && is_equal(found, &json!(2.0)), "{found}");
            assert!(!is_equal(found, &json!(3)) && !is_equal(found, &json!(2.5)) && !is_equal(found, &json!("2")));
        }
        assert!(!is_equal(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992_i64)));
        assert!(is_equal(&json!("a"), &json!("a")) && !is_equal(&json!(null), &json!(0)));
    }
}
