use super::families::Families;
use super::table as t;
use crate::health::{CheckReport, Fact, Lifecycle, Moment, Outcome, Report, Status};
use crate::supervise::AppStatus;

/// What a report says.
pub(super) fn health(families: &mut Families<'_>, report: &Report, now: Moment) {
    let engine_up = !report.is_overdue(now);
    families.one(&t::READY, flag(report.is_ready() && engine_up));
    families.one(&t::DRAINING, flag(report.lifecycle == Lifecycle::Draining));
    families.one(&t::MAINTENANCE, flag(report.maintenance.is_some()));
    families.one(&t::ENGINE_UP, flag(engine_up));
    let groups = report.groups.iter().map(|group| ([group.group.name()], f64::from(group.status as u8)));
    families.each(&t::HEALTH_STATUS, groups);
    statuses(families, report);
    let each = |value: fn(&CheckReport) -> Option<f64>| {
        report.checks.iter().filter_map(move |check| Some(([&*check.name], value(check)?)))
    };
    families.each(&t::CHECK_DURATION, each(|check| Some(check.state.last.as_ref()?.took.as_secs_f64())));
    families.each(&t::CHECK_LAST_SUCCESS, each(|check| Some(check.state.last_success?.unix.as_secs() as f64)));
    families.each(&t::AUTH_EXPIRY, each(|check| time(login(check, "expires")?)));
    families.each(&t::AUTH_VERIFIED, each(|check| truth(login(check, "verified")?)));
    let runs = report.checks.iter().flat_map(|check| {
        let outcomes = Outcome::ALL.into_iter().zip(check.runs);
        outcomes.map(|(outcome, count)| ([&*check.name, outcome.word()], count as f64))
    });
    families.each(&t::CHECK_RUNS, runs);
    let transitions = report.checks.iter().flat_map(|check| {
        let entered = Status::ALL.into_iter().zip(check.transitions);
        entered.map(|(status, count)| ([&*check.name, status.word()], count as f64))
    });
    families.each(&t::CHECK_TRANSITIONS, transitions);
    if let Some(app) = report.check(AppStatus::CHECK) {
        let restarts = if let Some(Fact::Count(count)) = fact(app, "restarts") { *count } else { 0 };
        families.one(&t::APP_UP, flag(app.state.status.is_up()));
        families.one(&t::APP_RESTARTS, restarts as f64);
    }
    // The metric that the Claude proxy's own page names: `claude_proxy_claude_cli_status`.
    for check in report.checks.iter().filter(|check| check.kind == "cli") {
        families.named(&t::CLI_STATUS, &check.name, flag(check.state.status.is_up()));
    }
}

/// What the checks are and how they stand; one that a condition has switched off is not asked, and has no status.
fn statuses(families: &mut Families<'_>, report: &Report) {
    let enabled = || report.checks.iter().filter(|check| check.enabled);
    families.each(&t::CHECK_INFO, enabled().map(|check| ([&*check.name, check.kind, check.on_failure.word()], 1.0)));
    let statuses = enabled().flat_map(|check| {
        Status::ALL.map(|status| ([&*check.name, status.word()], flag(check.state.status == status)))
    });
    families.each(&t::CHECK_STATUS, statuses);
    families.each(&t::CHECK_UP, enabled().map(|check| ([&*check.name], flag(check.state.status.is_up()))));
    let reasons = enabled().filter_map(|check| Some(([&*check.name, check.reason()?.code], 1.0)));
    families.each(&t::CHECK_REASON, reasons);
}

/// When certificates end: the traffic port's own, which has no label, and those that the checks were shown.
pub(super) fn certificates(families: &mut Families<'_>, own: Option<i64>, report: &Report) {
    let own = own.map(|expires| (Vec::new(), expires as f64));
    let shown = report.checks.iter().filter_map(|check| {
        let expires = time(fact(check, "certificate_expires")?)?;
        Some((vec![&*check.name], expires))
    });
    families.each(&t::CERTIFICATE_EXPIRY, own.into_iter().chain(shown));
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn fact<'a>(check: &'a CheckReport, name: &str) -> Option<&'a Fact> {
    check.state.last.as_ref()?.finding.facts.get(name)
}

fn login<'a>(check: &'a CheckReport, name: &str) -> Option<&'a Fact> {
    (check.kind == "credentials").then(|| fact(check, name)).flatten()
}

fn time(fact: &Fact) -> Option<f64> {
    if let Fact::Time(at) = fact { Some(*at as f64) } else { None }
}

fn truth(fact: &Fact) -> Option<f64> {
    if let Fact::Flag(is) = fact { Some(flag(*is)) } else { None }
}
