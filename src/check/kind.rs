use std::fmt;

use super::Prepare;
use crate::settings::{Field, Line, Node, Problems, Section, Setting, table_of};

/// One kind of check, as the table of kinds holds it.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The key in a check's table.
    pub name: &'static str,
    /// What it asks, in a sentence.
    pub doc: &'static str,
    /// Its settings.
    pub fields: &'static [Field],
    /// Scheduling that suits it, where the configuration is silent.
    pub defaults: Defaults,
    /// The cargo feature that this build lacks for it.
    pub lacks: Option<&'static str>,
    /// Reads its settings.
    pub read: fn(&Node, &str, &Problems) -> Option<Box<dyn Prepare>>,
    /// Appends its effective settings.
    pub dump: fn(&Node, &str, &mut Vec<Line>),
}

/// Scheduling defaults of a kind, in the configuration's notation.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Between two runs.
    pub interval: &'static str,
    /// For one run.
    pub timeout: &'static str,
    /// Failures in a row.
    pub failure_threshold: &'static str,
    /// What a failure weighs.
    pub on_failure: &'static str,
}

impl Kind {
    /// The kind whose settings are `T`.
    #[must_use]
    pub const fn of<T: Section + Setting + Prepare + 'static>(
        name: &'static str,
        doc: &'static str,
        defaults: Defaults,
    ) -> Self {
        let fields = <T as Section>::FIELDS;
        Self { name, doc, fields, defaults, lacks: None, read: read::<T>, dump: dump::<T> }
    }

    /// The same kind, which works in builds with a cargo feature only.
    #[must_use]
    pub const fn with_feature(self, feature: &'static str, built: bool) -> Self {
        Self { lacks: if built { None } else { Some(feature) }, ..self }
    }
}

fn read<T: Setting + Prepare + 'static>(node: &Node, path: &str, problems: &Problems) -> Option<Box<dyn Prepare>> {
    T::read(node, path, problems).map(|settings| Box::new(settings) as Box<dyn Prepare>)
}

fn dump<T: Section>(node: &Node, path: &str, lines: &mut Vec<Line>) {
    <T as Section>::dump(table_of(node), path, lines);
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
