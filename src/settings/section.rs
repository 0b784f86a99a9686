use super::node::{key, quoted};
use super::{Node, Problems, Setting, Table, Value};

/// One setting as documentation sees it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What a value looks like.
    pub expects: &'static str,
    /// What a schema can say of it.
    pub shape: super::Shape,
    /// The default in TOML's notation or as bare text; `None`: required, or off when absent.
    pub default: Option<&'static str>,
    /// The fields of a nested table.
    pub nested: &'static [Self],
}

/// A table of settings with a fixed set of keys. Made by [`settings!`](crate::settings!), never by hand.
pub trait Section: Sized {
    /// The settings in the order of their declaration.
    const FIELDS: &'static [Field];

    /// Appends the effective value of every setting: what was written, else the default.
    fn dump(table: &Table, path: &str, lines: &mut Vec<Line>);
}

/// One line of the `config` command: a key, its effective value and where that came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The dotted key.
    pub path: String,
    /// The value in TOML's notation, secrets masked.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

impl Line {
    /// The line of one field of a section.
    pub fn of<T: Setting>(table: &Table, path: &str, field: &Field, lines: &mut Vec<Self>) {
        let path = if path.is_empty() { key(field.name) } else { format!("{path}.{}", key(field.name)) };
        match (table.get(field.name), field.default) {
            (Some(node), _) => T::dump(node, &path, lines),
            (None, Some(default)) => T::dump(&super::reader::default_node(default), &path, lines),
            (None, None) => T::dump_absent(&path, lines),
        }
    }

    /// A line for a plain value.
    #[must_use]
    pub fn plain(node: &Node, path: &str) -> Self {
        Self { path: path.to_owned(), value: node.to_string(), origin: node.origin.to_string() }
    }

    /// A line whose value must not be shown.
    #[must_use]
    pub fn masked(node: &Node, path: &str) -> Self {
        Self { path: path.to_owned(), value: quoted("***"), origin: node.origin.to_string() }
    }
}

/// The table of a node, or an empty one: problems with it were reported when it was read.
#[must_use]
#[doc(hidden)]
pub fn table_of(node: &Node) -> &Table {
    static EMPTY: Table = Table { entries: Vec::new() };
    match &node.value {
        Value::Table(table) => table,
        _ => &EMPTY,
    }
}

/// Declares a table of settings: a struct, its reader, its documentation and its dump.
///
/// ```
/// pulsegate::settings! {
///     /// How patient we are.
///     pub struct Patience {
///         /// How long to wait for a connection.
///         connect: std::time::Duration = "2s",
///         /// A name, if there is one.
///         name: Option<String>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $fdoc:literal])* $field:ident : $ty:ty $(= $default:literal)? , )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        #[allow(unreachable_pub, reason = "settings are as visible as the module that declares them")]
        pub struct $name {
            $( $(#[doc = $fdoc])* pub $field: $ty, )*
        }

        impl $crate::settings::Section for $name {
            const FIELDS: &'static [$crate::settings::Field] = &[
                $( $crate::settings::Field {
                    name: stringify!($field),
                    doc: concat!($($fdoc, "\n"),*),
                    expects: <$ty as $crate::settings::Setting>::EXPECTS,
                    shape: <$ty as $crate::settings::Setting>::SHAPE,
                    default: $crate::settings!(@default $($default)?),
                    nested: <$ty as $crate::settings::Setting>::FIELDS,
                }, )*
            ];

            fn dump(table: &$crate::settings::Table, path: &str, lines: &mut Vec<$crate::settings::Line>) {
                let mut fields = <Self as $crate::settings::Section>::FIELDS.iter();
                $( if let Some(field) = fields.next() {
                    $crate::settings::Line::of::<$ty>(table, path, field, lines);
                } )*
            }
        }

        impl $crate::settings::Setting for $name {
            const EXPECTS: &'static str = "a table";
            const SHAPE: $crate::settings::Shape = $crate::settings::Shape::Table;
            const FIELDS: &'static [$crate::settings::Field] = <Self as $crate::settings::Section>::FIELDS;

            fn read(
                node: &$crate::settings::Node,
                path: &str,
                problems: &$crate::settings::Problems,
            ) -> Option<Self> {
                let mut reader = $crate::settings::Reader::of(node, path, problems)?;
                $( let $field = reader.take_or_default::<$ty>(stringify!($field), $crate::settings!(@default $($default)?)); )*
                reader.finish();
                Some(Self { $( $field: $field?, )* })
            }

            fn absent(path: &str, problems: &$crate::settings::Problems) -> Option<Self> {
                $crate::settings::read_empty(path, problems)
            }

            fn absence_is_a_problem() -> bool {
                false
            }

            fn dump(node: &$crate::settings::Node, path: &str, lines: &mut Vec<$crate::settings::Line>) {
                <Self as $crate::settings::Section>::dump($crate::settings::table_of(node), path, lines);
            }

            fn dump_absent(path: &str, lines: &mut Vec<$crate::settings::Line>) {
                <Self as $crate::settings::Section>::dump(&$crate::settings::Table::default(), path, lines);
            }
        }
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

/// A section of which nothing was written: every setting at its default.
#[doc(hidden)]
pub fn read_empty<T: Setting>(path: &str, problems: &Problems) -> Option<T> {
    T::read(&Node { value: Value::Table(Table::default()), origin: super::Origin::Default }, path, problems)
}
