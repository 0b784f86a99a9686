use super::file::{DEEPEST, TOO_DEEP};
use super::literal::literal;
use super::{Sources, file, preset};
use crate::check::KINDS;
use crate::settings::{Address, Node, Origin, Problems, Table, Value};

/// A command-line flag that sets something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// How it was written: `--port`.
    pub name: String,
    /// The dotted path of what it sets; `proxy.port` sets the port of `proxy.listen`.
    pub path: String,
    /// The value.
    pub value: String,
}

/// Variables whose names begin so set something when they hold a path: `PULSEGATE_PROXY__UPSTREAM`.
pub(super) const PREFIX: &str = "PULSEGATE_";

/// All layers, later ones over earlier ones: preset, defaults of the command, file, environment, flags. With it a digest of
/// the file, as it was read.
pub(super) fn merge(sources: &Sources, problems: &Problems) -> (Table, Option<u64>) {
    let read = sources.file.as_ref().and_then(|path| file::read(path, problems));
    // Half a file would only report what its first problem causes.
    let (file, state) = read.filter(|_| problems.is_empty()).unzip();
    (merge_over(file.unwrap_or_default(), sources, problems), state.flatten())
}

/// The same of a file that may be wrong, as far as it can be understood.
pub(super) fn merge_leniently(sources: &Sources, problems: &Problems) -> Table {
    let file = sources.file.as_ref().and_then(|path| file::read(path, problems));
    merge_over(file.unzip().0.unwrap_or_default(), sources, problems)
}

fn merge_over(file: Table, sources: &Sources, problems: &Problems) -> Table {
    let mut environment = Table::default();
    for (name, path, value) in from_environment(sources) {
        let origin = Origin::Environment(name);
        set_written(&mut environment, &path, value, &origin, problems);
    }
    let defaults = from_flags(&sources.defaults, problems);
    let flags = from_flags(&sources.flags, problems);
    let chosen = [&flags, &environment, &file].into_iter().find_map(|layer| layer.get("preset"));
    let Some(mut tree) = preset::table(chosen, problems) else {
        return Table::default();
    };
    for layer in [defaults, file] {
        lay_over(&mut tree, layer);
    }
    name_checks(&mut environment, &tree, problems);
    lay_over(&mut tree, environment);
    if let Some(port) = sources.environment.get("PORT") {
        set_port(&mut tree, port, &Origin::Environment("PORT".into()), problems);
    }
    if let Some(path) = sources.environment.get("CLAUDE_CLI_PATH") {
        set_cli_path(&mut tree, path);
    }
    lay_over(&mut tree, flags);
    for flag in sources.flags.iter().filter(|flag| flag.path == PORT_FLAG) {
        set_port(&mut tree, &flag.value, &Origin::Flag(flag.name.clone()), problems);
    }
    tree
}

/// The path of a flag that changes a part of a setting.
const PORT_FLAG: &str = "proxy.port";

fn from_flags(flags: &[Flag], problems: &Problems) -> Table {
    let mut table = Table::default();
    for flag in flags.iter().filter(|flag| flag.path != PORT_FLAG) {
        let origin = Origin::Flag(flag.name.clone());
        set_written(&mut table, &split(&flag.path), &flag.value, &origin, problems);
    }
    table
}

fn lay_over(tree: &mut Table, layer: Table) {
    replace_kinds(tree, &layer);
    tree.merge(layer);
}

/// `PULSEGATE_A__B=v` as `a.b = v`, in the order of names. Kubernetes sets variables such as `PULSEGATE_PORT_8000_TCP` by
/// itself for a Service of that name: without `__` only `PULSEGATE_PRESET` means something.
fn from_environment(sources: &Sources) -> Vec<(String, Vec<String>, &str)> {
    let mut found: Vec<(String, Vec<String>, &str)> = sources
        .environment
        .iter()
        .filter_map(|(name, value)| {
            let rest = name.strip_prefix(PREFIX)?;
            let path = path_of(rest);
            (path.len() > 1 || rest == "PRESET").then(|| (name.to_owned(), path, value))
        })
        .collect();
    found.sort();
    found
}

/// The path that a variable means. A variable for the app is named as the app knows it: as it is written.
fn path_of(rest: &str) -> Vec<String> {
    match rest.strip_prefix("APP__ENVIRONMENT__") {
        Some(name) => vec!["app".into(), "environment".into(), name.to_owned()],
        None => rest.split("__").map(str::to_lowercase).collect(),
    }
}

/// A variable cannot have small letters, dots and dashes in its name, and checks can: `API_SERVER` is the check of that name
/// that the lower layers have, however it is written there.
fn name_checks(environment: &mut Table, tree: &Table, problems: &Problems) {
    let checks = |table: &Table| match table.get("checks").map(|node| node.value.clone()) {
        Some(Value::Table(checks)) => checks.entries,
        _ => Vec::new(),
    };
    let known = checks(tree);
    let Some(Node { value: Value::Table(meant), .. }) =
        environment.entries.iter_mut().find(|entry| entry.key == "checks").map(|entry| &mut entry.node)
    else {
        return;
    };
    let as_variables = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    for entry in &mut meant.entries {
        if known.iter().any(|check| check.key == entry.key) {
            continue;
        }
        let named: Vec<&str> =
            known.iter().map(|check| &*check.key).filter(|name| as_variables(name) == entry.key).collect();
        match named.as_slice() {
            [] => {}
            [one] => entry.key = (*one).to_owned(),
            [one, other, ..] => {
                let message =
                    format!("is not clear: it may mean the check `{one}` or `{other}`; use --set or the file");
                problems.add(&entry.origin, message);
            }
        }
    }
}

/// `a.b."c.d"` in parts.
fn split(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => parts.last_mut().map(|part| part.push(c)).unwrap_or_default(),
        }
    }
    parts
}

/// Sets what a variable or a flag says.
fn set_written(tree: &mut Table, path: &[String], value: &str, origin: &Origin, problems: &Problems) {
    if path.len() > DEEPEST {
        let origin = shortened(origin);
        problems.add(&origin, TOO_DEEP);
        return;
    }
    let node = literal(value, path, origin, problems);
    set(tree, path, node);
}

/// A path that is too deep may be as long as a command line: its beginning is enough to find it.
fn shortened(origin: &Origin) -> Origin {
    let short = |name: &String| name.chars().take(LONGEST_NAME).chain("…".chars()).collect();
    match origin {
        Origin::Environment(name) => Origin::Environment(short(name)),
        Origin::Flag(name) => Origin::Flag(short(name)),
        other => other.clone(),
    }
}

/// So much of the name of a variable or a flag is shown.
const LONGEST_NAME: usize = 100;

fn set(tree: &mut Table, path: &[String], node: Node) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let origin = node.origin.clone();
    let mut table = tree;
    for part in parents {
        table = table.table_mut(part, &origin);
    }
    table.set(last, &origin, node);
}

/// A check has one kind: a layer that names another replaces the lower one's, with its settings.
fn replace_kinds(tree: &mut Table, upper: &Table) {
    let Some(Node { value: Value::Table(upper), .. }) = upper.get("checks") else {
        return;
    };
    let Some(lower) = tree.entries.iter_mut().find(|entry| entry.key == "checks") else {
        return;
    };
    let Value::Table(lower) = &mut lower.node.value else {
        return;
    };
    for check in &upper.entries {
        let Value::Table(settings) = &check.node.value else {
            continue;
        };
        let named = KINDS.iter().any(|kind| settings.get(kind.name).is_some());
        let below = lower.entries.iter_mut().find(|entry| entry.key == check.key);
        if let (true, Some(Value::Table(below))) = (named, below.map(|entry| &mut entry.node.value)) {
            let is_other_kind = |key: &str| KINDS.iter().any(|kind| kind.name == key) && settings.get(key).is_none();
            below.entries.retain(|entry| !is_other_kind(&entry.key));
        }
    }
}

/// `PORT` and `--port` change the port of the first address that traffic comes in at.
fn set_port(tree: &mut Table, value: &str, origin: &Origin, problems: &Problems) {
    let Ok(port) = value.trim().parse::<u16>() else {
        problems.add(origin, "the port must be a whole number from 0 to 65535");
        return;
    };
    let with_port = |text: &str| match Address::parse(text) {
        Some(Address::Ip(mut address)) => {
            address.set_port(port);
            address.to_string()
        }
        _ => format!("0.0.0.0:{port}"),
    };
    // Platforms set PORT for everybody; a Unix socket was chosen so that nobody else comes in.
    let is_for_everybody = matches!(origin, Origin::Environment(_));
    let stays = |text: &str| is_for_everybody && matches!(Address::parse(text), Some(Address::Unix(_)));
    let text = |text| Node { value: Value::Text(text), origin: origin.clone() };
    let proxy = tree.table_mut("proxy", origin);
    let listen = match proxy.get("listen").map(|node| &node.value) {
        Some(Value::Text(first)) if stays(first) => return,
        Some(Value::Text(first)) => text(with_port(first)),
        Some(Value::List(all)) => {
            let mut all = all.clone();
            match all.first_mut() {
                Some(Node { value: Value::Text(first), .. }) if stays(first) => return,
                Some(Node { value: Value::Text(first), .. }) => *first = with_port(first),
                _ => all = vec![text(with_port(""))],
            }
            Node { value: Value::List(all), origin: origin.clone() }
        }
        _ => text(with_port("")),
    };
    proxy.set("listen", origin, listen);
}

/// `CLAUDE_CLI_PATH` is the path of every check that looks at the Claude CLI.
fn set_cli_path(tree: &mut Table, path: &str) {
    let origin = Origin::Environment("CLAUDE_CLI_PATH".into());
    let Some(checks) = tree.entries.iter_mut().find(|entry| entry.key == "checks") else {
        return;
    };
    let Value::Table(checks) = &mut checks.node.value else {
        return;
    };
    for check in &mut checks.entries {
        let Value::Table(settings) = &mut check.node.value else {
            continue;
        };
        for (kind, key) in [("cli", "path"), ("credentials", "cli_path")] {
            let Some(kind) = settings.entries.iter_mut().find(|entry| entry.key == kind) else {
                continue;
            };
            let Value::Table(kind) = &mut kind.node.value else {
                continue;
            };
            let is_claude = kind.get("preset").is_some_and(|preset| preset.value == Value::Text("claude".into()));
            if is_claude {
                kind.set(key, &origin, Node { value: Value::Text(path.to_owned()), origin: origin.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn paths_are_split_outside_of_quotes() {
        assert_eq!(split("a.b"), ["a", "b"]);
        assert_eq!(split("endpoints.\"/v1.0/health\".detail"), ["endpoints", "/v1.0/health", "detail"]);
    }
}
