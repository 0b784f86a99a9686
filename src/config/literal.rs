use toml::de::DeValue;

use super::checks::CheckSettings;
use super::{SECTIONS, file};
use crate::admin::EndpointSettings;
use crate::check::KINDS;
use crate::settings::{Field, Node, Origin, Problems, Section, Setting, Shape, Value};

/// The value of a variable or a flag that sets `path`.
///
/// It is read as TOML where it is that, and is text otherwise. Where the setting takes text alone it is the text as it was
/// written: of `SERVICE__VERSION=1.10` nothing would be left but the number 1.1, and a revision of digits would be none.
pub(super) fn literal(text: &str, path: &[String], origin: &Origin, problems: &Problems) -> Node {
    let plain = || Node { value: Value::Text(text.to_owned()), origin: origin.clone() };
    let Ok(value) = DeValue::parse(text) else {
        return plain();
    };
    match value.get_ref() {
        DeValue::Datetime(_) => plain(),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) if shape(path).is_some_and(is_text_alone) => {
            plain()
        }
        _ => file::convert(&value, path.len(), problems, &|_| origin.clone()).unwrap_or_else(plain),
    }
}

fn is_text_alone(shape: Shape) -> bool {
    match shape {
        Shape::Text => true,
        Shape::List(item) => is_text_alone(*item),
        Shape::Either(shapes) => {
            shapes.contains(&Shape::Text) && shapes.iter().all(|shape| matches!(shape, Shape::Text | Shape::Secret))
        }
        _ => false,
    }
}

/// What the setting at a path takes; `None` for a path that nothing is known of.
fn shape(path: &[String]) -> Option<Shape> {
    match path {
        [checks, _, rest @ ..] if checks == "checks" => {
            let kind = KINDS.iter().find(|kind| rest.first().is_some_and(|key| key == kind.name));
            match kind {
                Some(kind) => below(kind.fields, &rest[1..]),
                None => below(<CheckSettings as Section>::FIELDS, rest),
            }
        }
        [endpoints, _, rest @ ..] if endpoints == "endpoints" => below(<EndpointSettings as Setting>::FIELDS, rest),
        [section, rest @ ..] => {
            let (_, fields, _) = SECTIONS.iter().find(|(name, ..)| section == name)?;
            below(fields, rest)
        }
        [] => None,
    }
}

fn below(fields: &[Field], path: &[String]) -> Option<Shape> {
    let (key, rest) = path.split_first()?;
    let field = fields.iter().find(|field| field.name == key)?;
    match (field.shape, rest) {
        (shape, []) => Some(shape),
        (Shape::Map(value), [_]) => Some(*value),
        (_, rest) => below(field.nested, rest),
    }
}
