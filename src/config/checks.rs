use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::Duration;

use super::condition::Condition;
use super::files::digest;
use crate::check::{Check, KINDS, Kind, Prepare, Resources};
use crate::health::{Group, OnFailure, Policy};
use crate::monitor::{Identity, Schedule};
use crate::settings::{Entry, Environment, Line, Node, Origin, Problems, Reader, Section, Setting, Table, Value};

crate::settings! {
    /// What every check has, beside the settings of its kind.
    pub struct CheckSettings {
        /// Between two runs, give or take a tenth.
        interval: Duration = "10s",
        /// Between two runs until it has passed `success_threshold` times in a row. Default: a fifth of the interval, at least 1s.
        fast_interval: Option<Duration>,
        /// For one run; not longer than the interval.
        timeout: Duration = "5s",
        /// Failures in a row that make it unhealthy.
        failure_threshold: u32 = "1",
        /// Passes in a row that make it healthy again.
        success_threshold: u32 = "1",
        /// After the start failures do not count for so long, unless it has passed before.
        start_period: Duration = "0",
        /// With no conclusive result for so long it is unknown. Default: five intervals and timeouts, at least 30s.
        stale_after: Option<Duration>,
        /// Unhealthy only after failing for so long, beside the threshold.
        max_time_in_error: Duration = "0",
        /// A run that takes longer is logged.
        slow_after: Option<Duration>,
        /// Asked until it passes once, then never again.
        run_until_pass: bool = "false",
        /// Not asked while one of these is unhealthy.
        depends_on: Vec<String> = "[]",
        /// What a failure weighs in its groups: "unhealthy", "degraded" or "ignore".
        on_failure: OnFailure = "unhealthy",
        /// Its groups; "startup", "liveness", "readiness", "health", or any other name.
        groups: Vec<Group> = "[\"readiness\", \"health\"]",
        /// Words by which callers select checks, across groups, where a dialect knows such.
        tags: Vec<String> = "[]",
        /// Asked only if this variable or this file is set and not empty.
        enabled_if: Option<Condition>,
    }
}

crate::words!(OnFailure, "\"unhealthy\", \"degraded\" or \"ignore\"", {
    "unhealthy" => Self::Unhealthy,
    "degraded" => Self::Degraded,
    "ignore" => Self::Ignore,
});

/// One check of the configuration.
#[derive(Debug)]
pub struct CheckConfig {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// What every check has.
    pub settings: CheckSettings,
    /// What its kind has.
    pub prepare: Box<dyn Prepare>,
    /// Whether its condition held when the configuration was read.
    pub enabled: bool,
    /// Where it was written.
    pub origin: Origin,
    table: Table,
}

/// A fast interval is a fraction of the interval, but not a busy loop.
const FASTEST: Duration = Duration::from_secs(1);
/// Nothing is asked more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Results are not stale sooner than this, unless the configuration says so.
const STALE_AT_LEAST: Duration = Duration::from_secs(30);
/// Each is asked again and again, and is in each report.
pub(super) const MOST_CHECKS: usize = 1000;
/// A check has a few tags.
const MOST_TAGS: usize = 32;
/// A tag is a word or an identifier, in bytes.
const LONGEST_TAG: usize = 128;

impl CheckConfig {
    /// What its outcomes mean.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let settings = &self.settings;
        let stale_after =
            settings.stale_after.unwrap_or_else(|| ((settings.interval + settings.timeout) * 5).max(STALE_AT_LEAST));
        Policy {
            success_threshold: settings.success_threshold,
            failure_threshold: settings.failure_threshold,
            start_period: settings.start_period,
            // What is asked once stays true.
            stale_after: if settings.run_until_pass { Duration::MAX } else { stale_after },
            max_time_in_error: settings.max_time_in_error,
            on_failure: settings.on_failure,
        }
    }

    /// When it is asked.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let settings = &self.settings;
        let fast = settings.fast_interval.unwrap_or((settings.interval / 5).max(FASTEST));
        Schedule {
            interval: settings.interval,
            fast_interval: fast.min(settings.interval),
            timeout: settings.timeout,
            slow_after: settings.slow_after.unwrap_or(Duration::MAX),
            run_until_pass: settings.run_until_pass,
        }
    }

    /// The running check.
    ///
    /// # Errors
    /// A sentence that says what is missing and what to do.
    pub fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        self.prepare.prepare(&resources.of(&self.name, self.settings.timeout))
    }

    /// What tells whether it is still the same after a reload: its settings, what its files hold, and the app, if it
    /// asks that.
    #[must_use]
    pub fn identity(&self, app: u64) -> Identity {
        let mut question = DefaultHasher::new();
        (self.kind.name, self.enabled).hash(&mut question);
        if let Some(node) = self.table.get(self.kind.name) {
            node.to_string().hash(&mut question);
        }
        digest(&self.prepare.files()).hash(&mut question);
        if self.prepare.asks_the_app() {
            app.hash(&mut question);
        }
        if self.prepare.passes_the_timeout_on() {
            self.settings.timeout.hash(&mut question);
        }
        let mut rules = DefaultHasher::new();
        for entry in self.table.entries.iter().filter(|entry| entry.key != self.kind.name) {
            (&entry.key, entry.node.to_string()).hash(&mut rules);
        }
        Identity { question: question.finish(), rules: rules.finish() }
    }

    /// The files that it is made from.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let condition = self.settings.enabled_if.as_ref().and_then(Condition::file);
        self.prepare.files().into_iter().chain(condition)
    }

    pub(super) fn dump(&self, lines: &mut Vec<Line>) {
        let path = path_of(&self.name);
        <CheckSettings as Section>::dump(&self.table, &path, lines);
        if let Some(node) = self.table.get(self.kind.name) {
            (self.kind.dump)(node, &format!("{path}.{}", self.kind.name), lines);
        }
    }
}

/// Reads `[checks.*]`.
pub(super) fn read(node: Option<&Node>, environment: &Environment, problems: &Problems) -> Vec<CheckConfig> {
    let Some(node) = node else { return Vec::new() };
    let Value::Table(table) = &node.value else {
        problems.add(&node.origin, "`checks` must be a table of checks: [checks.NAME]");
        return Vec::new();
    };
    if table.entries.len() > MOST_CHECKS {
        let message = format!("`checks` has {}, and there may be {MOST_CHECKS} at most", table.entries.len());
        problems.add(&node.origin, message);
        return Vec::new();
    }
    table.entries.iter().filter_map(|entry| read_one(entry, environment, problems)).collect()
}

fn read_one(entry: &Entry, environment: &Environment, problems: &Problems) -> Option<CheckConfig> {
    let name = &entry.key;
    let path = path_of(name);
    if !is_name(name) {
        problems
            .add(&entry.origin, "a check's name is made of letters, digits, -, _ and, between others, dots".to_owned());
        return None;
    }
    let Value::Table(table) = &entry.node.value else {
        problems.add(&entry.node.origin, format!("`{path}` must be a table"));
        return None;
    };
    let kinds: Vec<(&'static Kind, &Entry)> = table
        .entries
        .iter()
        .filter_map(|entry| KINDS.iter().find(|kind| kind.name == entry.key).map(|kind| (kind, entry)))
        .collect();
    // A misspelt kind is more likely than a check without one.
    let mut general = table.clone();
    general.entries.retain(|entry| !KINDS.iter().any(|kind| kind.name == entry.key));
    let misspelt = drop_unknown(&mut general, &path, problems);
    let (kind, settings) = match kinds.as_slice() {
        [one] => *one,
        [] => {
            if !misspelt {
                problems.add(&entry.origin, format!("`{path}` needs a kind: one of {}", names().join(", ")));
            }
            return None;
        }
        [_, second, ..] => {
            problems.add(&second.1.origin, format!("`{path}` has two kinds; a check has one"));
            return None;
        }
    };
    if let Some(feature) = kind.lacks {
        let message = format!(
            "`{path}.{}` is not in this build of pulsegate: build it with the cargo feature `{feature}`",
            kind.name
        );
        problems.add(&settings.origin, message);
    }
    fill_defaults(&mut general, kind);
    let node = Node { value: Value::Table(general.clone()), origin: entry.node.origin.clone() };
    let prepare = (kind.read)(&settings.node, &format!("{path}.{}", kind.name), problems);
    let before = problems.count();
    let settings_read = CheckSettings::read(&node, &path, problems);
    // Defaults that stand in for what could not be read need not fit what could.
    let fine = problems.count() == before;
    let settings_read = settings_read.filter(|settings| fine && is_possible(settings, &general, &path, problems));
    general.set(kind.name, &settings.origin, settings.node.clone());
    let settings = settings_read?;
    let enabled = settings.enabled_if.as_ref().is_none_or(|condition| condition.holds(environment));
    Some(CheckConfig {
        name: name.clone(),
        kind,
        settings,
        enabled,
        prepare: prepare?,
        origin: entry.origin.clone(),
        table: general,
    })
}

/// Dots stand between other characters, so that no name looks like a part of a path.
fn is_name(name: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    name.split('.').all(is_part)
}

/// Where a check stands in the configuration.
fn path_of(name: &str) -> String {
    if name.contains('.') { format!("checks.{name:?}") } else { format!("checks.{name}") }
}

fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// Reports and drops keys that are neither a setting nor a kind; tells whether there were any.
fn drop_unknown(general: &mut Table, path: &str, problems: &Problems) -> bool {
    let mut known: Vec<&'static str> = <CheckSettings as Section>::FIELDS.iter().map(|field| field.name).collect();
    let is_known = |entry: &Entry| known.contains(&entry.key.as_str());
    let (fine, unknown): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(&mut general.entries).into_iter().partition(is_known);
    general.entries = fine;
    known.extend(names());
    let table = Table { entries: unknown };
    Reader::report_unknown(&table, path, &known, problems);
    !table.entries.is_empty()
}

/// What the kind says where the configuration is silent.
fn fill_defaults(general: &mut Table, kind: &Kind) {
    let defaults = kind.defaults;
    let threshold = defaults.failure_threshold;
    for (key, text) in [
        ("interval", defaults.interval),
        ("failure_threshold", threshold),
        ("on_failure", defaults.on_failure),
        ("timeout", defaults.timeout),
    ] {
        if general.get(key).is_none() {
            let value = text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Integer);
            general.set(key, &Origin::Default, Node { value, origin: Origin::Default });
        }
    }
    // A shorter interval brings a shorter timeout with it, unless somebody wrote one.
    let quick = general.get("interval").cloned();
    let default_timeout = general.get("timeout").is_some_and(|node| node.origin == Origin::Default);
    let scratch = Problems::default();
    let duration = |node: Option<&Node>| node.and_then(|node| Duration::read(node, "", &scratch));
    if let (true, Some(quick)) = (default_timeout, quick)
        && duration(Some(&quick)).is_some_and(|quick| Some(quick) < duration(general.get("timeout")))
    {
        general.set("timeout", &Origin::Default, Node { value: quick.value, origin: Origin::Default });
    }
}

fn is_possible(settings: &CheckSettings, table: &Table, path: &str, problems: &Problems) -> bool {
    let mut possible = true;
    let mut require = |fine: bool, key: &str, message: &str| {
        if !fine {
            let origin = table.get(key).map_or(&Origin::Default, |node| &node.origin);
            problems.add(origin, format!("`{path}.{key}` {message}"));
            possible = false;
        }
    };
    require(settings.interval >= SHORTEST_INTERVAL, "interval", "must be at least 100ms");
    require(
        settings.fast_interval.is_none_or(|fast| fast >= SHORTEST_INTERVAL),
        "fast_interval",
        "must be at least 100ms",
    );
    require(!settings.timeout.is_zero(), "timeout", "must be more than 0");
    require(settings.timeout <= settings.interval, "timeout", "must not be longer than the interval");
    require(settings.failure_threshold >= 1, "failure_threshold", "must be at least 1");
    require(settings.success_threshold >= 1, "success_threshold", "must be at least 1");
    require(
        settings.stale_after.is_none_or(|stale| stale > settings.interval),
        "stale_after",
        "must be longer than the interval",
    );
    require(settings.tags.len() <= MOST_TAGS, "tags", "must not have more than 32 tags");
    let is_tag = |tag: &String| (1..=LONGEST_TAG).contains(&tag.len()) && !tag.chars().any(char::is_control);
    require(settings.tags.iter().all(is_tag), "tags", "must hold words of 1 to 128 characters");
    possible
}
