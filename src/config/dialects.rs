use super::Config;
use crate::admin::{Dialects, EndpointSettings, Kind};
use crate::check::Pulse;
use crate::dialect::{DIALECTS, Dialect, Reference};
use crate::health::{Group, Status};
use crate::settings::{Origin, Problems, did_you_mean, key};
use crate::supervise::AppStatus;

/// What endpoints say for some dialects alone: whether it is for one of theirs, and whether what it names is there.
pub(super) fn validate(config: &Config, checks: &[&str], problems: &Problems, origin: &impl Fn(&[&str]) -> Origin) {
    for (path, endpoint) in &config.endpoints {
        let at = |setting: &str| origin(&["endpoints", path, setting]);
        let Kind::Report(dialects) = &endpoint.dialect else { continue };
        let is_written = |setting: &str| at(setting) != origin(&["endpoints", path]);
        strangers(path, dialects, problems, &at, &is_written);
        codes(path, endpoint, dialects, problems, &at);
        if has(dialects, "body") {
            if !is_written("body") {
                problems.add(&at("dialect"), format!("`endpoints.{path:?}` needs a `body`: the template to fill in"));
            }
            for reference in endpoint.body.references() {
                if let Some(message) = unknown(config, checks, reference) {
                    problems.add(&reference.origin, format!("`{}` {message}", reference.path));
                }
            }
        }
    }
}

/// Settings for dialects that the endpoint does not have.
fn strangers(
    path: &str,
    dialects: &Dialects,
    problems: &Problems,
    at: &impl Fn(&str) -> Origin,
    is_written: &impl Fn(&str) -> bool,
) {
    let of_some =
        DIALECTS.iter().flat_map(|dialect| dialect.settings().iter().map(|setting| (dialect.name(), *setting)));
    for (owner, setting) in of_some {
        if is_written(setting) && !has(dialects, setting) {
            let message = format!("`endpoints.{path:?}.{}` is for the dialect {owner}", key(setting));
            problems.add(&at(setting), message);
        }
    }
}

/// draft-inadarei-api-health-check-06, section 3.1: pass and warn must be 2xx or 3xx, fail 4xx or 5xx.
fn codes(
    path: &str,
    endpoint: &EndpointSettings,
    dialects: &Dialects,
    problems: &Problems,
    at: &impl Fn(&str) -> Origin,
) {
    let fits = |status: Status| (endpoint.codes.of(status) < 400) == status.is_up();
    if dialects.iter().any(Dialect::ties_codes) && !Status::ALL.into_iter().all(fits) {
        let message =
            "the draft of health-json wants codes below 400 for healthy and degraded, and from 400 for the others";
        problems.add(&at("codes"), format!("`endpoints.{path:?}.codes`: {message}"));
    }
}

fn has(dialects: &Dialects, setting: &str) -> bool {
    dialects.iter().any(|dialect| dialect.settings().contains(&setting))
}

/// What is wrong with the subject of a reference.
fn unknown(config: &Config, checks: &[&str], reference: &Reference) -> Option<String> {
    let own = [Pulse::NAME, AppStatus::CHECK];
    let groups = Group::BUILT_IN.iter().chain(config.checks.iter().flat_map(|check| &check.settings.groups));
    let is_check = |name: &str| checks.contains(&name) || own.contains(&name);
    let is_group = |name: &str| groups.clone().any(|group| group.name() == name);
    let (subject, field) = reference.split(is_check);
    match (is_check(subject), is_group(subject), subject == Reference::SERVICE) {
        (true, false, false) | (false, false, true) => None,
        (false, true, false) => {
            let fine = Reference::is_of_groups(field);
            (!fine).then(|| "names something that a group does not have: it has status, up and error".to_owned())
        }
        (false, false, false) => {
            let mut known = checks.to_vec();
            known.extend(groups.clone().map(Group::name));
            let hint = did_you_mean(subject, &known);
            let hint = if hint.starts_with("; did") { &*hint } else { "" };
            Some(format!("names a check or a group that does not exist{hint}"))
        }
        _ => Some(format!("is not clear: `{subject}` is the name of two things; rename the check or the group")),
    }
}
