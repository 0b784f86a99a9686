use std::fmt::Write as _;

use super::view::DEAD;
use super::{Answer, Dialect, Part, View};
use crate::health::{Above, CheckReport, Group, Lifecycle, PING, Report, Status};

/// Text, as kube-apiserver answers `/livez` and `/readyz`, with 503 in place of its 500.
#[derive(Debug)]
pub(super) struct Kubernetes;

impl Dialect for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn doc(&self) -> &'static str {
        "Text for probes: `ok`, or one line per failing check; `?verbose`, `?exclude=NAME`, `/NAME` for one check."
    }

    fn media_type(&self) -> &'static str {
        "text/plain; charset=utf-8"
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/NAME"]
    }

    /// A name that nothing in the list has is not ours, as kube-apiserver has it too.
    fn below<'a>(&self, report: &Report, group: &Group, rest: &'a str) -> Option<Part<'a>> {
        let is_ours = Above::NAMES.contains(&rest) || report.members(group).any(|check| &*check.name == rest);
        is_ours.then_some(Part::Check(rest))
    }

    fn render(&self, view: &View<'_>) -> Answer {
        if let Some(name) = view.query.check {
            return one(view, name);
        }
        let lines = lines(view);
        let failing = lines.iter().any(|line| line.failure.is_some());
        let mut text = String::new();
        if !failing && !view.query.verbose {
            text.push_str("ok");
        } else {
            for line in lines.iter().filter(|line| view.query.verbose || line.failure.is_some()) {
                line.write(&mut text);
            }
            for unknown in view.query.exclude.iter().filter(|name| !lines.iter().any(|line| line.name == **name)) {
                let known = view.report.members(view.group).any(|check| &*check.name == *unknown);
                if !known {
                    let _ = writeln!(text, "warn: no check {} to exclude", printable(unknown));
                }
            }
            let _ = writeln!(text, "{} check {}", path_word(view.group), if failing { "failed" } else { "passed" });
        }
        let code = if failing { view.codes.of(Status::Unhealthy) } else { view.codes.of(Status::Healthy) };
        answer(code, text)
    }
}

/// One thing that an endpoint asks for.
struct Line<'a> {
    name: &'a str,
    failure: Option<String>,
    enabled: bool,
}

impl<'a> Line<'a> {
    fn of(name: &'a str, failure: Option<String>) -> Self {
        Self { name, failure, enabled: true }
    }

    fn write(&self, text: &mut String) {
        let _ = match &self.failure {
            None if !self.enabled => writeln!(text, "[+]{} ok: not enabled", self.name),
            None => writeln!(text, "[+]{} ok", self.name),
            Some(failure) => writeln!(text, "[-]{} failed: {failure}", self.name),
        };
    }
}

fn lines<'a>(view: &'a View<'_>) -> Vec<Line<'a>> {
    let excluded = |name: &str| view.query.exclude.contains(&name);
    let overdue = view.report.is_overdue(view.now);
    let mut lines = vec![Line::of(PING, None)];
    lines.push(Line::of("engine", overdue.then(|| DEAD.to_owned())));
    if !matches!(view.group, Group::Liveness | Group::Startup) {
        lines.push(Line::of("lifecycle", phase(view)));
        if let Some(reason) = view.maintenance() {
            lines.push(Line::of("maintenance", Some(reason.to_owned())));
        }
    }
    lines.extend(view.report.members(view.group).map(|check| line(view, check)));
    lines.retain(|line| !excluded(line.name));
    lines
}

fn phase(view: &View<'_>) -> Option<String> {
    let starting = *view.group == Group::Readiness && view.report.lifecycle == Lifecycle::Starting;
    let word = if starting { "starting" } else { "draining" };
    (starting || view.is_draining()).then(|| word.to_owned())
}

fn line<'a>(view: &View<'_>, check: &'a CheckReport) -> Line<'a> {
    let failure = (!view.part(check).is_up()).then(|| view.sentence(check));
    Line { name: &check.name, failure, enabled: check.enabled }
}

fn one(view: &View<'_>, name: &str) -> Answer {
    let Some(mut line) = lines(view).into_iter().find(|line| line.name == name) else {
        return answer(404, "no such check".into());
    };
    // What a dead engine last knew of one check is no more true than what it last knew of all.
    if view.report.is_overdue(view.now) {
        line.failure = Some(DEAD.to_owned());
    }
    match &line.failure {
        None => answer(view.codes.of(Status::Healthy), "ok".into()),
        Some(_) => {
            let mut text = String::new();
            line.write(&mut text);
            answer(view.codes.of(Status::Unhealthy), text)
        }
    }
}

fn answer(code: u16, text: String) -> Answer {
    Answer { code, media_type: Kubernetes.media_type(), body: text.into() }
}

fn path_word(group: &Group) -> &str {
    match group {
        Group::Startup => "startupz",
        Group::Liveness => "livez",
        Group::Readiness => "readyz",
        Group::Health => "healthz",
        Group::Named(name) => name,
    }
}

/// What a caller wrote, without what could confuse a terminal.
fn printable(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}
