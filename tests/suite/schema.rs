//! The schema of the configuration, as an independent validator sees it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PULSEGATE, run, tool};

/// Prints the names of the files that are not valid by the schema.
const VALIDATE: &str = "
import json, sys, tomllib, jsonschema
schema = json.load(open(sys.argv[1]))
validator = jsonschema.Draft202012Validator
validator.check_schema(schema)
for name in sys.argv[2:]:
    for error in validator(schema).iter_errors(tomllib.load(open(name, 'rb'))):
        print(name, error.json_path, error.message)
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is wrong with these files.
fn problems(files: &[PathBuf]) -> String {
    let printed = run(Command::new(PULSEGATE).env_clear().arg("schema"));
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
    let schema = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&schema, printed.stdout).expect("the schema");
    let mut python = Command::new(tool("py/bin/python"));
    let ended = run(python.args(["-c", VALIDATE]).arg(schema.path()).args(files));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout
}

#[test]
fn what_is_right_is_valid_by_the_schema() {
    let presets = root().join("src/config/presets");
    let mut files: Vec<PathBuf> = vec![root().join("config.toml")];
    let examples = std::fs::read_dir(root().join("examples")).into_iter().flatten();
    let examples = examples.flatten().map(|entry| entry.path().join("pulsegate.toml"));
    files.extend(examples.filter(|file| file.exists()));
    files.extend(std::fs::read_dir(presets).expect("the presets").flatten().map(|entry| entry.path()));
    assert!(files.len() >= 3);
    assert_eq!(problems(&files), "");
}

#[test]
fn what_is_wrong_in_its_shape_is_not() {
    let bad = root().join("tests/suite/bad-config");
    for name in ["unknown-keys", "wrong-types", "preset", "secret-shape"] {
        assert_ne!(problems(&[bad.join(format!("{name}.toml"))]), "", "{name}");
    }
}
