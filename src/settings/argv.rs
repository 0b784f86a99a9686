use std::ops::Deref;

use super::node::quoted;
use super::{Line, Node, Problems, Setting, Shape, Value};

/// A program and its arguments. Among them may be what is nobody's business, so that only the program is ever shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argv(pub Vec<String>);

impl Deref for Argv {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Setting for Argv {
    const EXPECTS: &'static str = <Vec<String> as Setting>::EXPECTS;
    const SHAPE: Shape = <Vec<String> as Setting>::SHAPE;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        Vec::read(node, path, problems).map(Self)
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        let Value::List(items) = &node.value else { return lines.push(Line::plain(node, path)) };
        let shown = items.iter().enumerate().map(|(index, item)| match &item.value {
            Value::Text(program) if index == 0 => quoted(program),
            _ => quoted("***"),
        });
        let value = format!("[{}]", shown.collect::<Vec<_>>().join(", "));
        lines.push(Line { path: path.to_owned(), value, origin: node.origin.to_string() });
    }
}
