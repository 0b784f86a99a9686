use super::Config;
use super::validate::place;
use crate::settings::{Environment, Node, Origin, Problems, Table, Value};

/// Where a problem goes that may come from what is not on this machine: with `validate --offline` it is a note, if
/// something that the settings name is indeed not here.
pub(super) struct Here<'a> {
    pub(super) problems: &'a Problems,
    pub(super) notes: &'a Problems,
    pub(super) config: &'a Config,
    pub(super) tree: &'a Table,
}

impl Here<'_> {
    /// A problem with what stands at a path of the configuration.
    pub(super) fn add(&self, path: &[&str], message: String) {
        self.add_at(path, &place(self.tree, path), message);
    }

    /// The same, at a place of its own.
    pub(super) fn add_at(&self, path: &[&str], origin: &Origin, message: String) {
        let absent = self.tree.at(path).is_some_and(|node| names_what_is_absent(node, "", &self.config.environment));
        let to = if self.config.sources.offline && absent { self.notes } else { self.problems };
        to.add(origin, message);
    }
}

/// Settings that are read when a configuration is, whatever section they are in.
const FILES: [&str; 8] = ["cert", "key", "ca", "client_ca", "public_key_file", "jwks_file", "file", "manifest"];

/// Whether it names a file that is not here, or a variable that is not set.
fn names_what_is_absent(node: &Node, key: &str, environment: &Environment) -> bool {
    match &node.value {
        Value::Table(table) => {
            table.entries.iter().any(|entry| names_what_is_absent(&entry.node, &entry.key, environment))
        }
        Value::List(items) => items.iter().any(|item| names_what_is_absent(item, key, environment)),
        Value::Text(text) if FILES.contains(&key) => !std::path::Path::new(text).exists(),
        Value::Text(text) if key == "env" => environment.get(text).is_none(),
        _ => false,
    }
}
