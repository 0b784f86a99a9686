use std::path::PathBuf;
use std::time::Duration;

use super::{Field, Line, Node, Problems, Reader, Shape, Value};

/// A type that a setting can have.
pub trait Setting: Sized {
    /// What a value looks like, as half a sentence: `a duration such as "10s"`.
    const EXPECTS: &'static str;

    /// What a schema can say of a value.
    const SHAPE: Shape = Shape::Any;

    /// The settings of a nested table; empty for plain values.
    const FIELDS: &'static [Field] = &[];

    /// Reads a value; `None` after recording a problem.
    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self>;

    /// What absence means, where the declaration gives no default.
    fn absent(_path: &str, _problems: &Problems) -> Option<Self> {
        None
    }

    /// Whether absence without a default is worth a problem of its own.
    #[must_use]
    fn absence_is_a_problem() -> bool {
        true
    }

    /// Appends the effective value, secrets masked.
    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        lines.push(Line::plain(node, path));
    }

    /// Appends what absence means; nothing by default.
    fn dump_absent(_path: &str, _lines: &mut Vec<Line>) {}
}

/// Records that a value is not what the setting takes.
fn unexpected<T: Setting>(node: &Node, path: &str, problems: &Problems) -> Option<T> {
    problems.add(&node.origin, format!("`{path}` must be {}, not {}", T::EXPECTS, node.value.type_name()));
    None
}

/// Records that text was the right type but cannot be understood.
pub(crate) fn malformed<T: Setting>(node: &Node, path: &str, problems: &Problems) -> Option<T> {
    problems.add(&node.origin, format!("`{path}` must be {}", T::EXPECTS));
    None
}

impl<T: Setting> Setting for Option<T> {
    const EXPECTS: &'static str = T::EXPECTS;
    const SHAPE: Shape = T::SHAPE;
    const FIELDS: &'static [Field] = T::FIELDS;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        T::read(node, path, problems).map(Some)
    }

    fn absent(_: &str, _: &Problems) -> Option<Self> {
        Some(None)
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        T::dump(node, path, lines);
    }
}

impl Setting for bool {
    const EXPECTS: &'static str = "true or false";
    const SHAPE: Shape = Shape::Flag;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match &node.value {
            Value::Boolean(flag) => Some(*flag),
            _ => unexpected(node, path, problems),
        }
    }
}

impl Setting for String {
    const EXPECTS: &'static str = "text";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => unexpected(node, path, problems),
        }
    }
}

impl Setting for PathBuf {
    const EXPECTS: &'static str = "a path";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text.is_empty() => malformed(node, path, problems),
            Value::Text(text) => Some(Self::from(text)),
            _ => unexpected(node, path, problems),
        }
    }
}

macro_rules! whole_number {
    ($($ty:ty => $expects:literal),* $(,)?) => { $(
        impl Setting for $ty {
            const EXPECTS: &'static str = $expects;
            const SHAPE: Shape = Shape::Whole;

            fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
                match &node.value {
                    Value::Integer(number) => match <$ty>::try_from(*number) {
                        Ok(number) => Some(number),
                        Err(_) => malformed(node, path, problems),
                    },
                    _ => unexpected(node, path, problems),
                }
            }
        }
    )* };
}

whole_number! {
    u16 => "a whole number from 0 to 65535",
    u32 => "a whole number from 0 to 4294967295",
    u64 => "a whole number, 0 or more",
    usize => "a whole number, 0 or more",
    i64 => "a whole number",
}

/// A share between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(pub f64);

impl Setting for Ratio {
    const EXPECTS: &'static str = "a number from 0 to 1";
    const SHAPE: Shape = Shape::Either(&[Shape::Number, Shape::Text]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let number = match &node.value {
            Value::Float(number) => *number,
            Value::Integer(0) => 0.0,
            Value::Integer(1) => 1.0,
            Value::Text(text) => text.parse().unwrap_or(f64::NAN),
            _ => return malformed(node, path, problems),
        };
        if (0.0..=1.0).contains(&number) { Some(Self(number)) } else { malformed(node, path, problems) }
    }
}

/// The longest duration a setting takes: far beyond any use, far from overflowing a clock.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Setting for Duration {
    const EXPECTS: &'static str = "a duration such as \"250ms\", \"10s\" or \"5m\", at most 366 days";
    const SHAPE: Shape = Shape::Either(&[Shape::Text, Shape::Whole]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let duration = match &node.value {
            Value::Integer(0) => Some(Self::ZERO),
            Value::Text(text) if text == "0" => Some(Self::ZERO),
            Value::Text(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        match duration {
            Some(duration) if duration <= LONGEST => Some(duration),
            _ => malformed(node, path, problems),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Setting for Size {
    const EXPECTS: &'static str = "a size such as \"64KiB\" or \"1GiB\"";
    const SHAPE: Shape = Shape::Either(&[Shape::Text, Shape::Whole]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let size = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) => parse_size(text),
            _ => None,
        };
        match size {
            Some(size) => Some(Self(size)),
            None => malformed(node, path, problems),
        }
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

impl<T: Setting> Setting for Vec<T> {
    const EXPECTS: &'static str = "a list";
    const SHAPE: Shape = Shape::List(&T::SHAPE);
    const FIELDS: &'static [Field] = T::FIELDS;

    /// One value stands for a list of one.
    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return T::read(node, path, problems).map(|only| vec![only]);
        };
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| T::read(item, &format!("{path}[{index}]"), problems))
            .collect();
        read.into_iter().collect()
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        let Value::List(items) = &node.value else {
            return T::dump(node, path, lines);
        };
        let mut parts = Vec::new();
        items.iter().for_each(|item| T::dump(item, path, &mut parts));
        let values: Vec<String> = parts.into_iter().map(|line| line.value).collect();
        let value = format!("[{}]", values.join(", "));
        lines.push(Line { path: path.to_owned(), value, origin: node.origin.to_string() });
    }
}

/// Names and plain text, such as the `configuration` block of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextMap(pub Vec<(String, String)>);

impl Setting for TextMap {
    const EXPECTS: &'static str = "a table of texts";
    const SHAPE: Shape = Shape::Map(&Shape::Text);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            return unexpected(node, path, problems);
        };
        let read: Vec<Option<(String, String)>> = table
            .entries
            .iter()
            .map(|entry| {
                let path = format!("{path}.{}", super::node::key(&entry.key));
                String::read(&entry.node, &path, problems).map(|text| (entry.key.clone(), text))
            })
            .collect();
        read.into_iter().collect::<Option<Vec<_>>>().map(Self)
    }
}

impl Setting for regex_lite::Regex {
    const EXPECTS: &'static str = "a regular expression";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        match Self::new(text) {
            Ok(regex) => Some(regex),
            Err(_) => malformed(node, path, problems),
        }
    }
}

impl Setting for ipnet::IpNet {
    const EXPECTS: &'static str = "a network such as \"10.0.0.0/8\" or an address";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let net = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(Self::from));
        match net {
            Ok(net) => Some(net),
            Err(_) => malformed(node, path, problems),
        }
    }
}
