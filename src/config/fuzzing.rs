//! The configuration as fuzzers and tests see it: any file and any environment give a configuration or problems.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic here: that is how a fuzzer sees it"
)]

use toml::de::{DeTable, DeValue};

use super::{Config, Sources};
use crate::settings::Environment;

/// Stands for a secret: where it is a value, no problem may quote it.
const CANARY: &str = "k4n4ry";

/// Any text as a file, and after the first NUL as lines `NAME=value` of the environment.
pub fn configuration(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let environment = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let variables: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();

    let path = std::env::temp_dir().join(format!("pulsegate-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, file).expect("a file");
    let names_canary = variables.iter().any(|(name, _)| name.to_lowercase().contains(CANARY)) || in_a_key(file);
    let sources = Sources {
        file: Some(path),
        environment: Environment::from_iter(variables),
        defaults: Vec::new(),
        ..Sources::default()
    };
    match Config::load(&sources) {
        Ok(config) => {
            for line in config.dump() {
                let _ = format!("{line:?}");
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused for no reason");
            for problem in problems {
                assert!(names_canary || !problem.message.contains(CANARY), "a problem quotes a value: {problem}");
                assert!(problem.message.len() < 64 * 1024 && !problem.message.is_empty());
            }
        }
    }
}

/// Keys may be quoted: without them nobody finds the place.
fn in_a_key(file: &[u8]) -> bool {
    let text = String::from_utf8_lossy(file);
    let (table, _) = DeTable::parse_recoverable(&text);
    table_names(table.get_ref())
}

fn table_names(table: &DeTable<'_>) -> bool {
    table.iter().any(|(key, value)| key.get_ref().contains(CANARY) || value_names(value.get_ref()))
}

fn value_names(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(table) => table_names(table),
        DeValue::Array(items) => items.iter().any(|item| value_names(item.get_ref())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::configuration;

    #[test]
    fn the_corpus_keeps_every_promise() {
        let folder = format!("{}/fuzz/corpus/configuration", env!("CARGO_MANIFEST_DIR"));
        let mut read = 0;
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
            configuration(&std::fs::read(entry.expect("an entry").path()).expect("a corpus file"));
            read += 1;
        }
        assert!(read >= 5, "{folder} holds {read} inputs only");
    }
}
