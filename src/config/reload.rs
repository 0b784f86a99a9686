use super::validate::place;
use super::{Config, Sources};
use crate::settings::{Problem, Table, Value};

/// Settings, and tables of them, that are used once, at the start.
const NEED_A_RESTART: [&str; 8] = [
    "proxy.listen",
    "proxy.threads",
    "proxy.defer_accept",
    "admin.listen",
    "control.socket",
    "agent_check.listen",
    "app",
    "log.format",
];

impl Config {
    /// Where it was put together from, to be read again.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The keys that are written otherwise in `next`, added to it or missing from it, in order.
    #[must_use]
    pub fn changes(&self, next: &Self) -> Vec<String> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        flatten(&self.tree, "", &mut before);
        flatten(&next.tree, "", &mut after);
        let other = |these: &[(String, String)], those: &[(String, String)]| -> Vec<String> {
            these.iter().filter(|entry| !those.contains(entry)).map(|(path, _)| path.clone()).collect()
        };
        let mut changed = other(&before, &after);
        changed.extend(other(&after, &before));
        changed.sort();
        changed.dedup();
        if changed.is_empty() && before != after {
            // The order of checks decides which failing one is named first.
            changed.push("the order of the settings".into());
        }
        changed
    }

    /// What stands between this configuration and `next`: settings that cannot change while the process runs.
    #[must_use]
    pub fn obstacles(&self, next: &Self) -> Vec<Problem> {
        let (before, after) = (self.dump(), next.dump());
        let values = |lines: &[crate::settings::Line], key: &str| -> Vec<(String, String)> {
            let below =
                |path: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            let lines = lines.iter().filter(|line| below(&line.path));
            lines.map(|line| (line.path.clone(), line.value.clone())).collect()
        };
        let stuck = NEED_A_RESTART.iter().filter(|key| values(&before, key) != values(&after, key));
        stuck
            .map(|key| {
                let path: Vec<&str> = key.split('.').collect();
                let message = format!("`{key}` cannot change while the process runs: it needs a restart");
                Problem { origin: place(&next.tree, &path), message }
            })
            .collect()
    }
}

/// Every value with its dotted path, in the order of the tree. Never to be shown: it may hold secrets.
fn flatten(table: &Table, above: &str, into: &mut Vec<(String, String)>) {
    for entry in &table.entries {
        let path = if above.is_empty() { entry.key.clone() } else { format!("{above}.{}", entry.key) };
        match &entry.node.value {
            Value::Table(inner) if !inner.entries.is_empty() => flatten(inner, &path, into),
            // An empty table may mean something, too: a check's kind without settings.
            _ => into.push((path, entry.node.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Flag, Sources};

    fn config(settings: &[(&str, &str)]) -> Config {
        let flag = |(path, value): &(&str, &str)| Flag {
            name: "test".into(),
            path: (*path).to_owned(),
            value: (*value).to_owned(),
        };
        Config::load(&Sources { flags: settings.iter().map(flag).collect(), ..Sources::default() }).expect("valid")
    }

    #[test]
    fn changes_are_named_by_their_keys_and_never_by_their_values() {
        let before = config(&[("proxy.timeouts.idle", "5s"), ("checks.db.tcp.address", "127.0.0.1:1")]);
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let after = config(&[("proxy.timeouts.idle", "6s"), ("proxy.limits.queue", "7")]);
        assert_eq!(before.changes(&after), ["checks.db.tcp.address", "proxy.limits.queue", "proxy.timeouts.idle"]);
        assert!(before.obstacles(&after).is_empty());
    }

    #[test]
    fn what_needs_a_restart_is_told_by_its_key() {
        let before = config(&[("proxy.listen", "127.0.0.1:8000")]);
        let after = config(&[("proxy.listen", "127.0.0.1:8001"), ("log.format", "json")]);
        let obstacles: Vec<String> = before.obstacles(&after).iter().map(ToString::to_string).collect();
        assert_eq!(obstacles.len(), 2, "{obstacles:?}");
        assert!(obstacles[0].contains("`proxy.listen`") && obstacles[0].contains("needs a restart"), "{obstacles:?}");
        // The same value written out is no change.
        assert!(config(&[]).obstacles(&config(&[("proxy.listen", "0.0.0.0:8000")])).is_empty());
    }
}
