//! The dialect `template`: any JSON shape, made of what checks found out.

mod body;
mod reference;

use serde_json::{Map, Value};

use self::body::Shape;
pub use self::body::{Body, Words};
pub use self::reference::Reference;
use super::{Answer, Dialect, View};

/// Any JSON shape: the configuration says what goes where.
#[derive(Debug)]
pub(super) struct Template;

impl Dialect for Template {
    fn name(&self) -> &'static str {
        "template"
    }

    fn doc(&self) -> &'static str {
        "Any JSON: `body` maps paths of the output to facts of checks, statuses and constants, `words` are its words for \
         statuses."
    }

    fn settings(&self) -> &'static [&'static str] {
        &["body", "words"]
    }

    fn render(&self, view: &View<'_>) -> Answer {
        view.answer(self, &object(view, view.options.body.members()))
    }
}

fn object(view: &View<'_>, members: &[(String, Shape)]) -> Value {
    let members = members.iter().map(|(name, shape)| {
        let value = match shape {
            Shape::Object(members) => object(view, members),
            Shape::Reference(reference) => reference.value(view),
            Shape::Defaulted(reference, default) => match reference.value(view) {
                Value::Null => default.clone(),
                value => value,
            },
            Shape::Constant(value) => value.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(members.collect::<Map<_, _>>())
}
