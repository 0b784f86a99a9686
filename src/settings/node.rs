use std::fmt;

/// One value of the configuration and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
}

/// What a configuration value can be. Dates are refused when the file is parsed: no setting takes one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

/// A table in the order in which it was written: order decides which failing check is named first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The entries, in order.
    pub entries: Vec<Entry>,
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key itself stands: problems with a key point here, problems with its value at the value.
    pub origin: Origin,
    /// The value.
    pub node: Node,
}

/// Where a value of the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file, with line and column counted from 1.
    File {
        /// The file's path as it was given.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(String),
    /// A preset built into the program.
    Preset(String),
    /// The default of the setting itself.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Value {
    /// The word for this type in a sentence.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Table {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value at a path of keys, whatever stands elsewhere.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        let (last, above) = path.split_last()?;
        let table = above.iter().try_fold(self, |table, part| match &table.get(part)?.value {
            Value::Table(inner) => Some(inner),
            _ => None,
        });
        table?.get(last)
    }

    /// The table of a key, made empty if it is absent or not a table.
    pub fn table_mut(&mut self, key: &str, origin: &Origin) -> &mut Self {
        let index = match self.entries.iter().position(|entry| entry.key == key) {
            Some(index) => index,
            None => {
                self.set(key, origin, Node { value: Value::Table(Self::default()), origin: origin.clone() });
                self.entries.len() - 1
            }
        };
        let node = &mut self.entries[index].node;
        if !matches!(node.value, Value::Table(_)) {
            *node = Node { value: Value::Table(Self::default()), origin: origin.clone() };
        }
        match &mut node.value {
            Value::Table(table) => table,
            _ => unreachable!("made a table just above"),
        }
    }

    /// Sets a key, replacing what was there and keeping its place in the order.
    pub fn set(&mut self, key: &str, origin: &Origin, node: Node) {
        match self.entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => {
                entry.origin = origin.clone();
                entry.node = node;
            }
            None => self.entries.push(Entry { key: key.to_owned(), origin: origin.clone(), node }),
        }
    }

    /// Lays `upper` over this table: tables are merged key by key, everything else is replaced.
    pub fn merge(&mut self, upper: Self) {
        // Keys are unique: among those that `upper` adds nothing need be looked for.
        let known = self.entries.len();
        for entry in upper.entries {
            let lower = self.entries[..known].iter_mut().find(|mine| mine.key == entry.key);
            match (lower, entry) {
                (Some(lower), Entry { node: Node { value: Value::Table(table), origin }, origin: key, .. })
                    if matches!(lower.node.value, Value::Table(_)) =>
                {
                    lower.origin = key;
                    lower.node.origin = origin;
                    if let Value::Table(mine) = &mut lower.node.value {
                        mine.merge(table);
                    }
                }
                (Some(lower), entry) => *lower = entry,
                (None, entry) => self.entries.push(entry),
            }
        }
    }
}

impl fmt::Display for Node {
    /// The value in TOML's notation, for the `config` command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Text(text) => write!(f, "{}", quoted(text)),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Boolean(flag) => write!(f, "{flag}"),
            Value::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Value::Table(table) if table.entries.is_empty() => f.write_str("{}"),
            Value::Table(table) => {
                f.write_str("{ ")?;
                for (index, entry) in table.entries.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{} = {}", key(&entry.key), entry.node)?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// A key in TOML's notation: bare where it may be.
#[must_use]
pub fn key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { quoted(key) }
}

/// Text as a TOML basic string. JSON's escapes are a subset of TOML's.
#[must_use]
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
