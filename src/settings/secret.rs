use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::node::quoted;
use super::{Line, Node, Problems, Reader, Setting, Value, read_ordinary};

/// The environment of the process, captured once by `config`: checks and secrets read it from here, never from the
/// process, so tests need not change the process.
#[derive(Clone, Default)]
pub struct Environment(Arc<HashMap<String, String>>);

impl Environment {
    /// The value of a variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(Arc::new(variables.into_iter().collect()))
    }
}

impl fmt::Debug for Environment {
    /// Never the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// A secret by reference: `{ file = "…" }` or `{ env = "…" }`. The value itself is never part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The content of a file, without white space at its end.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

/// Why a secret could not be read. Its text names neither the file nor the variable: whoever wrote the secret itself in
/// their place must not find it in a log. The place in the configuration says which one is meant.
#[derive(Debug)]
pub enum SecretError {
    /// The file cannot be read.
    File(PathBuf, std::io::Error),
    /// The file holds nothing, or is too large to be a secret.
    Content(PathBuf),
    /// The variable is not set.
    Variable(String),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(_, error) => write!(f, "the secret's file cannot be read: {error}"),
            Self::Content(_) => f.write_str("the secret's file is empty, not UTF-8, or over 64 KiB"),
            Self::Variable(_) => f.write_str("the secret's environment variable is not set"),
        }
    }
}

impl std::error::Error for SecretError {}

impl Secret {
    /// Larger files are no secrets.
    const LARGEST: u64 = 64 * 1024;

    /// Reads the secret.
    ///
    /// # Errors
    /// The file cannot be read or holds nothing; the variable is not set.
    pub fn resolve(&self, environment: &Environment) -> Result<String, SecretError> {
        match self {
            Self::File(path) => {
                let no_secret = || SecretError::Content(path.clone());
                let bytes = read_ordinary(path, Self::LARGEST).map_err(|error| match error.kind() {
                    std::io::ErrorKind::FileTooLarge => no_secret(),
                    _ => SecretError::File(path.clone(), error),
                })?;
                let text = String::from_utf8(bytes).map_err(|_| no_secret())?;
                let secret = text.trim_end();
                if secret.is_empty() { Err(no_secret()) } else { Ok(secret.to_owned()) }
            }
            Self::Variable(name) => {
                environment.get(name).map(str::to_owned).ok_or_else(|| SecretError::Variable(name.clone()))
            }
        }
    }
}

impl Setting for Secret {
    const EXPECTS: &'static str = "{ file = \"…\" } or { env = \"…\" }: secrets are not written into the configuration";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Secret;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let Value::Table(_) = &node.value else {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
            return None;
        };
        let mut reader = Reader::of(node, path, problems)?;
        let file: Option<PathBuf> = reader.take("file", None)?;
        let env: Option<String> = reader.take("env", None)?;
        reader.finish();
        match (file, env) {
            (Some(file), None) => Some(Self::File(file)),
            (None, Some(env)) => Some(Self::Variable(env)),
            _ => {
                problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
                None
            }
        }
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        match &node.value {
            Value::Table(_) => lines.push(Line::plain(node, path)),
            _ => lines.push(Line { value: quoted("***"), ..Line::plain(node, path) }),
        }
    }
}
