use super::{Node, Origin, Problems, Setting, Table, Value};

/// Reads the keys of one table and remembers which keys exist, so that the others can be named as unknown.
#[derive(Debug)]
pub struct Reader<'a> {
    table: &'a Table,
    origin: &'a Origin,
    path: String,
    problems: &'a Problems,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// A reader of `table`, which stands at `path` (`proxy.timeouts`; empty for the whole file).
    #[must_use]
    pub fn new(table: &'a Table, origin: &'a Origin, path: &str, problems: &'a Problems) -> Self {
        Self { table, origin, path: path.to_owned(), problems, known: Vec::new() }
    }

    /// A reader of a node that must be a table; otherwise the problem is recorded.
    #[must_use]
    pub fn of(node: &'a Node, path: &str, problems: &'a Problems) -> Option<Self> {
        match &node.value {
            Value::Table(table) => Some(Self::new(table, &node.origin, path, problems)),
            other => {
                problems.add(&node.origin, format!("`{path}` must be a table, not {}", other.type_name()));
                None
            }
        }
    }

    /// Where problems go.
    #[must_use]
    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// The place of this table.
    #[must_use]
    pub fn origin(&self) -> &'a Origin {
        self.origin
    }

    /// The full name of a key of this table.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reads a key. With no such key: the default, if there is one (in TOML's notation, or bare text), else what the
    /// type makes of absence, else a problem. `None` means that a problem was recorded.
    pub fn take<T: Setting>(&mut self, key: &'static str, default: Option<&str>) -> Option<T> {
        self.known.push(key);
        let path = self.path_of(key);
        match (self.table.get(key), default) {
            (Some(node), _) => T::read(node, &path, self.problems),
            (None, Some(default)) => T::read(&default_node(default), &path, self.problems),
            (None, None) => {
                let absent = T::absent(&path, self.problems);
                if absent.is_none() && T::absence_is_a_problem() {
                    self.problems.add(self.origin, format!("`{path}` is missing: {}", T::EXPECTS));
                }
                absent
            }
        }
    }

    /// The same, but after a problem with the value the default goes on in its place, so that what depends on the other
    /// settings of the table can be looked at too.
    pub fn take_or_default<T: Setting>(&mut self, key: &'static str, default: Option<&str>) -> Option<T> {
        self.take(key, default).or_else(|| {
            let (path, scratch) = (self.path_of(key), Problems::default());
            match default {
                Some(default) => T::read(&default_node(default), &path, &scratch),
                None => T::absent(&path, &scratch),
            }
        })
    }

    /// The raw value of a key that is read by other means.
    pub fn raw(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Records every key that nobody asked for, with the nearest one that exists.
    pub fn finish(self) {
        Self::report_unknown(self.table, &self.path, &self.known, self.problems);
    }

    /// Records every key of `table` that is not `known`, with the nearest one that is.
    pub fn report_unknown(table: &Table, path: &str, known: &[&'static str], problems: &Problems) {
        for entry in table.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let path = join(path, &entry.key);
            problems.add(&entry.origin, format!("unknown key `{path}`{}", did_you_mean(&entry.key, known)));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    let key = super::node::key(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A default, which the declaration writes as TOML or as bare text.
pub(super) fn default_node(text: &str) -> Node {
    let value = match text {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        "[]" => Value::List(Vec::new()),
        "{}" => Value::Table(Table::default()),
        list if list.starts_with('[') && list.ends_with(']') && list.contains('"') => Value::List(
            list[1..list.len() - 1]
                .split(',')
                .map(|item| Node {
                    value: Value::Text(item.trim().trim_matches('"').to_owned()),
                    origin: Origin::Default,
                })
                .collect(),
        ),
        other => match other.parse() {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Text(other.to_owned()),
        },
    };
    Node { value, origin: Origin::Default }
}

/// `; did you mean X?`, or the list of what there is.
#[must_use]
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3);
    match nearest {
        Some((_, known)) => format!("; did you mean `{known}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known here: {}", known.join(", ")),
    }
}

impl Reader<'_> {
    /// Reads one word of a fixed set; the problem names the nearest.
    pub fn word<T: Copy>(node: &Node, path: &str, problems: &Problems, words: &[(&str, T)]) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Value::Text(text) = &node.value else {
            problems.add(
                &node.origin,
                format!("`{path}` must be one of {}, not {}", known.join(", "), node.value.type_name()),
            );
            return None;
        };
        let found = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            let hint = did_you_mean(text, &known);
            let hint = if hint.starts_with("; did") { hint } else { String::new() };
            problems.add(&node.origin, format!("`{path}` must be one of {}{hint}", known.join(", ")));
        }
        found
    }
}

impl Reader<'_> {
    /// Reads text for a type with a notation of its own.
    pub fn text<'n>(node: &'n Node, path: &str, problems: &Problems, expects: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            other => {
                problems.add(&node.origin, format!("`{path}` must be {expects}, not {}", other.type_name()));
                None
            }
        }
    }
}
