use std::path::PathBuf;

use crate::settings::{Environment, Line, Node, Problems, Secret, Setting};

/// A variable or a file that must be set and not empty: `{ env = "…" }` or `{ file = "…" }`.
#[derive(Clone, Debug)]
pub struct Condition(Secret);

impl Condition {
    pub(super) fn holds(&self, environment: &Environment) -> bool {
        self.0.resolve(environment).is_ok()
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        match &self.0 {
            Secret::File(path) => Some(path.clone()),
            Secret::Variable(_) => None,
        }
    }
}

impl Setting for Condition {
    const EXPECTS: &'static str = "{ env = \"NAME\" } or { file = \"PATH\" }";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Secret;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let secret = Secret::read(node, path, &Problems::default());
        if secret.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        secret.map(Self)
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        Secret::dump(node, path, lines);
    }
}
