use std::collections::{HashMap, HashSet};

use super::Config;
use crate::settings::Problems;

/// What `depends_on` names must be there, and must not lead back to where it began.
pub(super) fn validate(config: &Config, all: &[&str], problems: &Problems) {
    let all: HashSet<&str> = all.iter().copied().collect();
    let parents: HashMap<&str, &[String]> =
        config.checks.iter().map(|check| (check.name.as_str(), &*check.settings.depends_on)).collect();
    for check in &config.checks {
        for parent in &check.settings.depends_on {
            if !all.contains(parent.as_str()) {
                problems.add(
                    &check.origin,
                    format!("`checks.{}.depends_on` names a check that does not exist", check.name),
                );
            }
        }
        if is_its_own_parent(&check.name, &parents) {
            problems.add(&check.origin, format!("`checks.{}.depends_on` leads back to itself", check.name));
        }
    }
}

/// Looks at each check that it depends on once, by however many ways that is reached.
fn is_its_own_parent(name: &str, parents: &HashMap<&str, &[String]>) -> bool {
    let mut seen = HashSet::new();
    let mut left = vec![name];
    while let Some(next) = left.pop() {
        for parent in parents.get(next).copied().unwrap_or_default() {
            if parent == name {
                return true;
            }
            if seen.insert(parent.as_str()) {
                left.push(parent);
            }
        }
    }
    false
}
