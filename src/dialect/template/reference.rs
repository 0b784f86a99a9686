use serde_json::{Map, Value};

use super::super::json::{facts, last_check, latency_ms, value};
use super::super::view::View;
use crate::clock::rfc3339;
use crate::health::{CheckReport, Fact, Group, Status};
use crate::settings::{Origin, Problems, did_you_mean};

/// Where a template takes a value from: `check.fact`, `check.status`, `group.status`, `service.version`.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The check or group, or `service`, a dot, and what of it.
    text: String,
    /// The key that it was written at, for problems.
    pub path: String,
    /// Where it was written.
    pub origin: Origin,
}

/// What there is to say of a group.
const OF_GROUPS: &[&str] = &["status", "up", "error"];

/// What there is to say of ourselves.
const OF_SERVICE: &[&str] = &[
    "name",
    "version",
    "build_git_hash",
    "build_timestamp",
    "description",
    "uptime_ms",
    "uptime_seconds",
    "timestamp",
    "lifecycle",
    "host",
    "port",
    "log_level",
    "configuration",
];

impl Reference {
    /// The subject that is us.
    pub const SERVICE: &'static str = "service";

    pub(super) fn parse(text: &str, path: &str, origin: &Origin, problems: &Problems) -> Option<Self> {
        let parts = text.split_once('.').filter(|(subject, field)| !subject.is_empty() && !field.is_empty());
        let Some((subject, field)) = parts else {
            let message = "must be a reference such as \"check.fact\", or { value = … }";
            problems.add(origin, format!("`{path}` {message}"));
            return None;
        };
        let known = OF_SERVICE.contains(&field) || field.starts_with("configuration.");
        if subject == Self::SERVICE && !known {
            let hint = did_you_mean(field, OF_SERVICE);
            problems.add(origin, format!("`{path}` names something that `service` does not have{hint}"));
            return None;
        }
        Some(Self { text: text.into(), path: path.into(), origin: origin.clone() })
    }

    /// Its subject and what of it. Names of checks may have dots in them, as paths within facts have: the longest subject that
    /// is known is the one.
    #[must_use]
    pub fn split(&self, is_known: impl Fn(&str) -> bool) -> (&str, &str) {
        let mut dots = self.text.rmatch_indices('.').map(|(at, _)| at);
        let longest = dots.find(|at| is_known(&self.text[..*at]));
        let at = longest.or_else(|| self.text.find('.')).unwrap_or(0);
        (&self.text[..at], self.text.get(at + 1..).unwrap_or_default())
    }

    /// Whether a group can answer that.
    #[must_use]
    pub fn is_of_groups(field: &str) -> bool {
        OF_GROUPS.contains(&field)
    }

    /// What it stands for at this moment.
    pub(super) fn value(&self, view: &View<'_>) -> Value {
        let (subject, field) = self.split(|name| view.report.check(name).is_some());
        match view.report.check(subject) {
            Some(check) => of_check(view, check, field),
            None if subject == Self::SERVICE => of_service(view, field),
            None => of_group(view, subject, field),
        }
    }
}

/// `status` is always the check's own, after thresholds, not what it weighs: the whole stands beside it. A fact goes
/// before what every check has, as its kind knows better.
fn of_check(view: &View<'_>, check: &CheckReport, field: &str) -> Value {
    let status = check.state.status;
    if field == "status" {
        return check.enabled.then(|| view.options.words.of(status)).into();
    }
    if let Some(fact) = find(view, check, field) {
        return if field == "latency_ms" { whole(fact) } else { value(fact) };
    }
    match field {
        "up" => up(status),
        "enabled" => check.enabled.into(),
        "error" => (check.enabled && status != Status::Healthy).then(|| view.sentence(check)).into(),
        "last_check" => last_check(check),
        "latency_ms" => latency_ms(check).map_or(Value::Null, |millis| whole(&Fact::Number(millis))),
        "consecutive_failures" => check.state.consecutive_failures.into(),
        "facts" => facts(view, check).map(|(name, fact)| (name.to_owned(), value(fact))).collect::<Map<_, _>>().into(),
        _ => Value::Null,
    }
}

fn of_group(view: &View<'_>, name: &str, field: &str) -> Value {
    let group = Group::of(name);
    let view = View { group: &group, ..view.clone() };
    match field {
        "status" => view.options.words.of(view.status()).into(),
        "up" => up(view.status()),
        "error" => view.explanation().into(),
        _ => Value::Null,
    }
}

fn of_service(view: &View<'_>, field: &str) -> Value {
    let service = view.service;
    match field {
        "name" => service.name.as_str().into(),
        "version" => service.version.as_str().into(),
        "build_git_hash" => service.build_git_hash.as_str().into(),
        "build_timestamp" => service.build_timestamp.as_str().into(),
        "description" => service.description.as_deref().into(),
        "uptime_ms" => view.uptime_ms().into(),
        "uptime_seconds" => (view.uptime_ms() / 1000).into(),
        "timestamp" => rfc3339(view.now.unix.as_secs()).into(),
        "lifecycle" => view.report.lifecycle.word().into(),
        "host" => service.host.as_str().into(),
        "port" => service.port.into(),
        "log_level" => service.log_level.as_str().into(),
        "configuration" => {
            let texts = service.configuration.iter();
            texts.map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect::<Map<_, _>>().into()
        }
        other => {
            let name = other.strip_prefix("configuration.");
            let found = service.configuration.iter().find(|(known, _)| Some(known.as_str()) == name);
            found.map(|(_, text)| text.as_str()).into()
        }
    }
}

/// Yes or no, and null for what is not known.
fn up(status: Status) -> Value {
    match status {
        Status::Unknown => Value::Null,
        status => status.is_up().into(),
    }
}

/// The documents that have a latency have it in whole milliseconds.
fn whole(fact: &Fact) -> Value {
    match fact {
        Fact::Number(number) => (number.round() as i64).into(),
        other => value(other),
    }
}

/// A fact that the caller may read; `fact.member` is a member of one that is a record.
fn find<'a>(view: &View<'_>, check: &'a CheckReport, field: &str) -> Option<&'a Fact> {
    let (name, member) = match field.split_once('.') {
        Some((name, member)) => (name, Some(member)),
        None => (field, None),
    };
    let by_name = |wanted: &str| facts(view, check).find(|(known, _)| *known == wanted).map(|(_, fact)| fact);
    by_name(field).or_else(|| within(by_name(name)?, member?))
}

fn within<'a>(fact: &'a Fact, path: &str) -> Option<&'a Fact> {
    let Fact::Record(members) = fact else { return None };
    let by_name = |wanted: &str| members.iter().find(|(known, _)| known == wanted).map(|(_, fact)| fact);
    by_name(path).or_else(|| {
        let (name, rest) = path.split_once('.')?;
        within(by_name(name)?, rest)
    })
}
