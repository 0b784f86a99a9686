use std::io::Read as _;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files::digest_of_content;
use crate::settings::{Entry, Node, Origin, Problems, Table, Value};

/// Larger files are no configurations.
const LARGEST: u64 = 1024 * 1024;

/// No setting stands so deep. Trees are walked by functions that call themselves.
pub(super) const DEEPEST: usize = 64;

/// What is said of one that does.
pub(super) const TOO_DEEP: &str = "nested too deeply: no setting is more than 64 levels deep";

/// Reads a file into a tree; problems are recorded. With one in its notation, what could be understood. With it a digest of
/// what was read: the file may be another one by now. A pipe gives what it holds once, and has none.
pub(super) fn read(path: &Path, problems: &Problems) -> Option<(Table, Option<u64>)> {
    let place = Origin::File { path: path.display().to_string(), line: 1, column: 1 };
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| {
        let is_ordinary = file.metadata()?.is_file();
        file.take(LARGEST + 1).read_to_string(&mut text).map(|_| is_ordinary)
    });
    let is_ordinary = match read {
        Ok(is_ordinary) => is_ordinary,
        Err(error) => {
            problems.add(&place, format!("the configuration cannot be read: {error}"));
            return None;
        }
    };
    if text.len() as u64 > LARGEST {
        problems.add(&place, "the configuration is over 1 MiB");
        return None;
    }
    let places = Places::new(&text);
    let name = path.display().to_string();
    let table = parse(&text, problems, |offset| {
        let (line, column) = places.of(offset);
        Origin::File { path: name.clone(), line, column }
    });
    Some((table, is_ordinary.then(|| digest_of_content(path, Some(text.as_bytes())))))
}

/// Parses TOML as far as it is that; `place` tells the origin of a byte offset.
pub(super) fn parse(text: &str, problems: &Problems, place: impl Fn(usize) -> Origin) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        // The parser's own display quotes the line; its message does not.
        problems.add(&place(offset), format!("not valid TOML: {}", error.message()));
    }
    convert_table(table.get_ref(), 0, problems, &place)
}

fn convert_table(table: &DeTable<'_>, depth: usize, problems: &Problems, place: &impl Fn(usize) -> Origin) -> Table {
    let mut entries = Vec::new();
    for (key, value) in table {
        let origin = place(key.span().start);
        entries.extend(convert(value, depth + 1, problems, place).map(|node| Entry {
            key: key.get_ref().to_string(),
            origin,
            node,
        }));
    }
    Table { entries }
}

/// A parsed value at a depth; `place` tells the origin of a byte offset.
pub(super) fn convert(
    value: &Spanned<DeValue<'_>>,
    depth: usize,
    problems: &Problems,
    place: &impl Fn(usize) -> Origin,
) -> Option<Node> {
    let origin = place(value.span().start);
    if depth > DEEPEST {
        problems.add(&origin, TOO_DEEP);
        return None;
    }
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                problems.add(&origin, "the number is too large");
                return None;
            }
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Array(items) => {
            Value::List(items.iter().filter_map(|item| convert(item, depth + 1, problems, place)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, depth, problems, place)),
        DeValue::Datetime(_) => {
            problems.add(&origin, "no setting takes a date: one that is meant as text stands in quotes");
            return None;
        }
    };
    Some(Node { value: converted, origin })
}

/// Byte offsets to lines and columns.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        Self { text, lines }
    }

    fn of(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1];
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn offsets_are_lines_and_columns_in_characters() {
        let places = Places::new("ab\nä = 1\n");
        assert_eq!(places.of(0), (1, 1));
        assert_eq!(places.of(3), (2, 1));
        assert_eq!(places.of(6), (2, 3));
        assert_eq!(places.of(10), (3, 1));
    }
}
