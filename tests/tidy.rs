//! Holds the house rules that no compiler knows: the order of the modules, what each must not do, and the size of files.

#![expect(clippy::expect_used, reason = "a test that cannot read its sources has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first: a module uses only those before it. `src/lib.rs` lists them in the same order.
const ORDER: [&str; 25] = [
    "settings",
    "health",
    "clock",
    "journal",
    "loopback",
    "signs",
    "tcp",
    "unsent",
    "shortage",
    "llm",
    "traffic",
    "tls",
    "fetch",
    "check",
    "dialect",
    "monitor",
    "events",
    "drain",
    "supervise",
    "proxy",
    "admin",
    "server",
    "config",
    "app",
    "commands",
];

/// Paths that a module must not name outside of its tests, and why.
const FORBIDDEN: [(&str, &[&str], &str); 2] = [
    (
        "health",
        &[
            "tokio",
            "hyper",
            "serde",
            "serde_json",
            "std::time::Instant",
            "std::time::SystemTime",
            "std::fs",
            "std::net",
        ],
        "the core is pure: time comes in as a Moment",
    ),
    ("dialect", &["tokio", "hyper", "std::fs", "std::net"], "a dialect is a function from a report to bytes"),
];

/// What must not be left behind in any file.
const LEFT_BEHIND: [&str; 3] = ["todo!(", "unimplemented!(", "dbg!("];

const MOST_LINES: usize = 400;
/// Scenarios of one topic read better in one file.
const MOST_LINES_OF_A_TOPIC: usize = 500;

/// One source file.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module of a file below `src`: `health` of `src/health/state.rs`, `main` of `src/main.rs`.
    fn module(&self) -> String {
        let below = self.path.strip_prefix(root().join("src")).expect("a file of src");
        let first = below.components().next().expect("a name").as_os_str();
        Path::new(first).file_stem().expect("a name").to_str().expect("UTF-8").to_owned()
    }

    fn is_test(&self) -> bool {
        self.path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
    }

    /// The code without comments, and without a `mod tests` at its end.
    fn code(&self) -> String {
        let code = if self.is_test() { "" } else { self.text.as_str() };
        let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(code);
        let lines = code.lines().map(|line| line.split_once("//").map_or(line, |(before, _)| before));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the package.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a path occurs in code as a path of its own: `tokio` in `use tokio::sync`, not in `tokio_rustls`.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        !before.is_some_and(|c| is_word(c) || c == ':') && !after.is_some_and(is_word)
    })
}

/// The modules that a file names as `crate::module`, `crate::{a::…, b}` or (in `main`) `pulsegate::module`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for prefix in ["crate::", "pulsegate::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                None => {
                    let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
                    // A macro stands at the root, whichever module declares it.
                    if !rest[name.len()..].starts_with('!') {
                        used.insert(name);
                    }
                }
                Some(list) => used.extend(first_names(list)),
            }
        }
    }
    used.remove("");
    used
}

/// The first name of each path of a `use` list, of which the opening brace has been read.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut names) = (0, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if is_word(c) && fresh && depth == 0 => {
                names.push(list[at..].chars().take_while(|c| is_word(*c)).collect());
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// Whether `super::…` climbs out of the module to the crate, past the readers above.
fn climbs_out(source: &Source, code: &str) -> bool {
    let below = source.path.strip_prefix(root().join("src")).expect("a file of src");
    let folders = below.components().count() - 1;
    let out = folders + usize::from(!below.ends_with("mod.rs"));
    code.contains(&"super::".repeat(out))
}

fn complain(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn a_module_uses_only_those_below_it() {
    let rank = |module: &str| ORDER.iter().position(|known| *known == module);
    let mut problems = Vec::new();
    for source in sources("src") {
        let module = source.module();
        if matches!(module.as_str(), "lib" | "build") {
            continue;
        }
        let Some(own) = rank(&module).or((module == "main").then_some(ORDER.len())) else {
            problems.push(format!("{}: module `{module}` has no place in the order", source.name()));
            continue;
        };
        let code = source.code();
        for used in used_modules(&code) {
            // `crate::Name` would be an item of lib.rs, which has none.
            match rank(&used) {
                Some(other) if other <= own => {}
                Some(_) => problems.push(format!("{}: `{module}` must not use `{used}`", source.name())),
                None => problems.push(format!("{}: `crate::{used}` is no module", source.name())),
            }
        }
        if climbs_out(&source, &code) {
            problems.push(format!("{}: `super` climbs out of `{module}`: write `crate::…`", source.name()));
        }
    }
    complain(&problems);
}

#[test]
fn the_crate_lists_its_modules_in_their_order() {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    let listed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ORDER);
    let table: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split('`').next()).collect();
    assert_eq!(table, ORDER, "the table of the crate's documentation");
}

#[test]
fn a_module_keeps_out_of_what_is_not_its_business() {
    let mut problems = Vec::new();
    for source in sources("src") {
        let module = source.module();
        let code = source.code();
        for (_, paths, why) in FORBIDDEN.iter().filter(|(forbidden, ..)| *forbidden == module) {
            for path in paths.iter().filter(|path| names(&code, path) || in_use_list(&code, path)) {
                problems.push(format!("{}: `{module}` must not use `{path}`: {why}", source.name()));
            }
        }
    }
    complain(&problems);
}

/// `std::time::{Duration, Instant}` names `std::time::Instant` too.
fn in_use_list(code: &str, path: &str) -> bool {
    let Some((parent, name)) = path.rsplit_once("::") else {
        return false;
    };
    let list = format!("{parent}::{{");
    code.match_indices(&list).any(|(at, _)| first_names(&code[at + list.len()..]).iter().any(|found| found == name))
}

#[test]
fn files_are_short_and_finished() {
    let mut problems = Vec::new();
    for source in ["src", "tests", "benches", "examples"].iter().flat_map(|folder| sources(folder)) {
        let lines = source.text.lines().count();
        let most = if source.name().starts_with("tests/suite/") { MOST_LINES_OF_A_TOPIC } else { MOST_LINES };
        if lines > most {
            problems.push(format!("{}: {lines} lines; at most {most}", source.name()));
        }
        if source.name() == "tests/tidy.rs" {
            continue;
        }
        for word in LEFT_BEHIND.iter().filter(|word| source.text.contains(*word)) {
            problems.push(format!("{}: `{word}…)` is left behind", source.name()));
        }
        if names(&source.text, "unsafe") || source.text.contains("SAFETY:") {
            problems.push(format!("{}: this crate has no unsafe code", source.name()));
        }
    }
    complain(&problems);
}

#[test]
fn every_module_begins_with_its_documentation() {
    let mut problems = Vec::new();
    for source in sources("src") {
        let is_module = source.path.ends_with("mod.rs") || source.path.parent() == Some(&root().join("src"));
        if is_module && !source.text.starts_with("//! ") {
            problems.push(format!("{}: begins with no `//!` documentation", source.name()));
        }
    }
    complain(&problems);
}

#[test]
fn every_kind_and_dialect_is_in_its_table() {
    let table = |file: &str, constant: &str| {
        let text = fs::read_to_string(root().join(file)).expect("the table's file");
        let begin = text.find(constant).expect("the table");
        text[begin..].split("];").next().expect("the table's end").to_owned()
    };
    let mut problems = Vec::new();
    for (folder, mark, table) in [
        ("src/check", "const KIND: Kind", table("src/check/mod.rs", "pub const KINDS")),
        ("src/dialect", "impl Dialect for ", table("src/dialect/mod.rs", "pub const DIALECTS")),
    ] {
        for source in sources(folder).iter().filter(|source| source.code().contains(mark)) {
            let below = source.path.strip_prefix(root().join(folder)).expect("a file of the folder");
            let first = below.components().next().expect("a name").as_os_str();
            let module = Path::new(first).file_stem().and_then(|name| name.to_str()).expect("UTF-8");
            if !names(&table, module) {
                problems.push(format!("{}: is not in the table of {folder}/mod.rs", source.name()));
            }
        }
    }
    complain(&problems);
}

/// What each call logs that is heard by default: the longest text in it.
fn logged(code: &str) -> Vec<&str> {
    let calls = ["tracing::info!(", "tracing::warn!(", "tracing::error!("].iter();
    let calls = calls.flat_map(|call| code.split(call).skip(1));
    calls
        .filter_map(|rest| {
            let mut open = 1;
            // What is between quotes is at the odd places; no text has a quote in it.
            let texts = rest.split('"').enumerate().take_while(|(place, part)| {
                if place % 2 == 0 {
                    open = part.chars().fold(open, |open, c| match c {
                        '(' if open > 0 => open + 1,
                        ')' if open > 0 => open - 1,
                        _ => open,
                    });
                }
                open > 0
            });
            texts.filter(|(place, _)| place % 2 == 1).map(|(_, text)| text).max_by_key(|text| text.len())
        })
        .collect()
}

#[test]
fn every_log_line_is_explained() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("the page");
    let mut problems = Vec::new();
    for source in sources("src") {
        for message in logged(&source.code()) {
            let fixed = message.split(['{', '}']).max_by_key(|part| part.len()).unwrap_or_default();
            if !page.contains(fixed.trim()) {
                problems.push(format!("{}: docs/operations.md does not explain {message:?}", source.name()));
            }
        }
    }
    complain(&problems);
}

/// The readers above would hold nothing if they saw nothing.
#[test]
fn the_rules_see_what_they_must_see() {
    let used =
        used_modules("use crate::{health::{Report, State}, clock};\nuse crate::settings::Url; crate::settings! {}");
    assert_eq!(used.into_iter().collect::<Vec<_>>(), ["clock", "health", "settings"]);
    assert!(names("use tokio::sync", "tokio") && !names("use tokio_rustls::x", "tokio"));
    assert!(in_use_list("use std::time::{Duration, Instant};", "std::time::Instant"));
    assert!(!in_use_list("use std::time::{Duration};", "std::time::Instant"));
    assert!(sources("src").len() > 50);
    let code =
        "tracing::warn!(a = f(\"x)\"), \"what is said\"); g(\"another text altogether\"); tracing::debug!(\"d\")";
    assert_eq!(logged(code), ["what is said"]);
}
