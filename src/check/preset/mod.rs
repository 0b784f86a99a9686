//! What is known of the command line programs that talk to models: one file each, and one line in [`PRESETS`].

mod claude;
mod codex;
mod gemini;
mod opencode;
mod tokens;

use std::path::PathBuf;

pub(super) use self::claude::CLAUDE;
use self::codex::CODEX;
use self::gemini::GEMINI;
use self::opencode::OPENCODE;
pub(super) use self::tokens::Tokens;
use crate::settings::{Environment, Node, Problems, Reader, Setting, Shape};

/// The CLIs that are known.
pub(super) const PRESETS: [&Preset; 4] = [&CLAUDE, &CODEX, &GEMINI, &OPENCODE];

/// What is known of one CLI.
#[derive(Debug)]
pub(super) struct Preset {
    /// Its name in the configuration.
    pub(super) name: &'static str,
    /// How sentences call it.
    pub(super) label: &'static str,
    /// Its command.
    pub(super) command: &'static str,
    /// Its npm package, whose `package.json` tells the version without running anything.
    pub(super) package: &'static str,
    /// Where a Python SDK keeps a copy of it, below `site-packages`.
    pub(super) bundled: Option<&'static str>,
    /// Switches off what a health check must not cause: telemetry, updates, other traffic.
    pub(super) quiet: &'static [(&'static str, &'static str)],
    /// Where and how it keeps its login.
    pub(super) login: Login,
}

/// Where and how a CLI keeps its login.
#[derive(Debug)]
pub(super) struct Login {
    /// Its directory: of these variables the first that is set, and what is below it.
    pub(super) directories: &'static [(&'static str, &'static str)],
    /// Its file there.
    pub(super) file: &'static str,
    /// Variables that stand in its place, which it looks at first, and what that way is called.
    pub(super) ways: &'static [(&'static str, &'static str)],
    /// The logins that the file holds. It keeps nothing of them but what can be told to anybody.
    pub(super) read: fn(&[u8]) -> serde_json::Result<Vec<Tokens>>,
    /// Whether the answers to the proxied requests tell of this login.
    pub(super) witnessed: bool,
}

impl Login {
    /// Its directory in this environment.
    pub(super) fn directory(&self, environment: &Environment) -> Option<PathBuf> {
        self.directories.iter().find_map(|(variable, below)| {
            let base = environment.get(variable).filter(|value| !value.is_empty())?;
            Some(PathBuf::from(base).join(below))
        })
    }

    /// The way by which the environment stands in the place of the file.
    pub(super) fn way(&self, environment: &Environment) -> Option<&'static str> {
        let is_set =
            |name: &str| environment.get(name).is_some_and(|value| !matches!(value.trim(), "" | "0" | "false"));
        self.ways.iter().find(|(variable, _)| is_set(variable)).map(|(_, way)| *way)
    }
}

/// Their names, in the same order.
const NAMES: [&str; PRESETS.len()] = {
    let mut names = [""; PRESETS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = PRESETS[at].name;
        at += 1;
    }
    names
};

impl Setting for &'static Preset {
    const EXPECTS: &'static str = "the name of a CLI that is known, such as \"claude\"";
    const SHAPE: Shape = Shape::Words(&NAMES);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        Reader::word(node, path, problems, &PRESETS.map(|preset| (preset.name, preset)))
    }
}

#[cfg(test)]
mod tests {
    use super::{PRESETS, Preset};

    fn read(preset: &Preset, text: &str) -> Option<Vec<super::Tokens>> {
        (preset.login.read)(text.as_bytes()).ok()
    }

    #[test]
    fn what_holds_no_login_is_no_login_and_no_panic() {
        for preset in PRESETS {
            for (text, understood) in [("{}", true), ("null", false), ("7", false), ("\"{}\"", false), ("{", false)] {
                let found = read(preset, text);
                assert_eq!(found.is_some(), understood, "{}: {text}", preset.name);
                assert!(found.is_none_or(|tokens| tokens.is_empty()), "{}: {text}", preset.name);
            }
        }
    }
}
