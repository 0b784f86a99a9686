//! Every dialect in every state that a caller can meet, against `tests/golden/DIALECT/CASE.txt`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the files anew; read the difference before committing it.

#![expect(clippy::expect_used, reason = "a test that cannot read its files has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pulsegate::dialect::{Answer, DIALECTS, Dialect, Query, Service, StatusCodes, View};
use pulsegate::health::{
    Audience, CheckReport, Facts, Finding, Group, Lifecycle, Moment, Observation, OnFailure, Outcome, Policy, Reason,
    Report, State,
};
use pulsegate::traffic::{Failure, Method, Traffic};

/// The process started at this time of day: 2024-01-15T08:14:30Z, so that the document's example comes out.
const STARTED: u64 = 1_705_306_470;
const UPTIME: u64 = 2 * 3600 + 15 * 60 + 30;

fn at(seconds: u64) -> Moment {
    Moment { monotonic: Duration::from_secs(seconds), unix: Duration::from_secs(STARTED + seconds) }
}

/// One check and what its runs found, in order, a second apart, the last one at the end of the up-time.
struct Scene {
    name: &'static str,
    kind: &'static str,
    on_failure: OnFailure,
    groups: Vec<Group>,
    success_threshold: u32,
    findings: Vec<Finding>,
}

impl Scene {
    fn new(name: &'static str, kind: &'static str, findings: Vec<Finding>) -> Self {
        let groups = vec![Group::Readiness, Group::Health];
        Self { name, kind, on_failure: OnFailure::Unhealthy, groups, success_threshold: 1, findings }
    }

    /// Plays the runs through the state machine and lets `idle` pass.
    fn play(self, idle: u64) -> Arc<CheckReport> {
        let policy =
            Policy { success_threshold: self.success_threshold, on_failure: self.on_failure, ..Policy::default() };
        let mut state = State::new(at(0));
        let begin = UPTIME - self.findings.len() as u64 + 1;
        for (second, finding) in (begin..).zip(self.findings) {
            let observation = Observation { finding, at: at(second), took: Duration::from_micros(12_345) };
            state.step(&policy, Some(Arc::new(observation)), at(second));
        }
        state.step(&policy, None, at(UPTIME + idle));
        Arc::new(CheckReport {
            name: self.name.into(),
            kind: self.kind,
            on_failure: self.on_failure,
            groups: self.groups,
            tags: Vec::new(),
            built_in: self.kind == "pulse",
            state,
            runs: [0; 4],
            transitions: [0; 4],
        })
    }
}

fn cli_found() -> Finding {
    let mut facts = Facts::default();
    facts.public("path", "/usr/local/bin/claude");
    facts.public("version", "2.1.328");
    Finding::pass(facts)
}

fn cli_missing() -> Finding {
    let mut facts = Facts::default();
    facts.public("searched_paths", vec!["/usr/local/bin/claude".to_owned(), "/usr/bin/claude".to_owned()]);
    Finding::fail(Reason::new("cli_missing", "Claude CLI not available"), facts)
}

fn login(reason: Option<Reason>, logged_in: bool) -> Finding {
    let mut facts = Facts::default();
    facts.public("logged_in", logged_in);
    facts.trusted("user", "jane");
    let outcome = if reason.is_some() { Outcome::Fail } else { Outcome::Pass };
    Finding { outcome, reason, facts }
}

fn refused() -> Finding {
    let mut facts = Facts::default();
    facts.public("status_code", None::<u64>);
    let reason = Reason::new("connect", "cannot connect").with_private("connection refused: 127.0.0.1:8080");
    Finding::fail(reason, facts)
}

/// The checks of the Claude proxy, all well.
fn scenes() -> Vec<Scene> {
    let mut event_loop = Scene::new("event_loop", "pulse", vec![Finding::pass(Facts::default())]);
    event_loop.groups = vec![Group::Liveness];
    let mut answers = Facts::default();
    answers.public("status_code", 200_u64);
    let mut traffic = Scene::new("traffic", "traffic", vec![Finding::pass(Facts::default())]);
    traffic.on_failure = OnFailure::Degraded;
    vec![
        event_loop,
        Scene::new("claude_cli", "cli", vec![cli_found()]),
        Scene::new("api_server", "http", vec![Finding::pass(answers)]),
        Scene::new("authentication", "credentials", vec![login(None, true)]),
        traffic,
    ]
}

/// A whole situation: what the checks found, and what has become of the process since.
struct Case {
    name: &'static str,
    findings: Vec<(&'static str, Vec<Finding>)>,
    success_threshold: u32,
    lifecycle: Lifecycle,
    idle: u64,
    overdue: bool,
}

impl Case {
    fn new(name: &'static str) -> Self {
        let (findings, lifecycle) = (Vec::new(), Lifecycle::Serving);
        Self { name, findings, success_threshold: 1, lifecycle, idle: 0, overdue: false }
    }

    fn found(mut self, check: &'static str, findings: Vec<Finding>) -> Self {
        self.findings.push((check, findings));
        self
    }

    fn report(mut self) -> (Report, Moment) {
        let scenes = scenes().into_iter().map(|mut scene| {
            if let Some(index) = self.findings.iter().position(|(name, _)| *name == scene.name) {
                scene.findings = self.findings.remove(index).1;
                scene.success_threshold = self.success_threshold;
            }
            scene.play(self.idle)
        });
        let checks: Vec<_> = scenes.collect();
        let now = at(UPTIME + self.idle);
        let report = Report {
            number: 7,
            at: now,
            lifecycle: self.lifecycle,
            unready_when_draining: true,
            maintenance: None,
            groups: Report::aggregate(&Group::BUILT_IN, &checks),
            checks,
            overdue_at: self.overdue.then(|| at(UPTIME).monotonic - Duration::from_secs(1)),
        };
        (report, now)
    }
}

fn cases() -> Vec<Case> {
    let warn = |code, sentence: &'static str| Finding::warn(Reason::new(code, sentence), Facts::default());
    let busy = Finding::inconclusive(Reason::new("cli_timeout", "Claude CLI did not answer in time"), Facts::default());
    let logged_out = Reason::new("not_authenticated", "Claude CLI not authenticated");
    let overload = Finding::fail(Reason::new("error_ratio", "80% of the requests fail"), Facts::default());
    vec![
        Case::new("healthy"),
        Case::new("degraded").found("authentication", vec![warn("login_expiring", "The login expires soon")]),
        Case::new("degraded_by_weight").found("traffic", vec![overload]),
        Case::new("unknown").found("api_server", Vec::new()).found("claude_cli", vec![busy.clone()]),
        Case::new("unhealthy").found("claude_cli", vec![cli_missing()]),
        Case::new("unhealthy_login").found("authentication", vec![login(Some(logged_out), false)]),
        Case::new("unhealthy_twice").found("api_server", vec![refused()]).found("claude_cli", vec![cli_missing()]),
        Case { success_threshold: 3, ..Case::new("recovering") }
            .found("api_server", vec![refused(), Finding::pass(Facts::default())]),
        Case { idle: 301, ..Case::new("stale") }.found("claude_cli", vec![cli_found(), busy]),
        Case { lifecycle: Lifecycle::Starting, ..Case::new("starting") }.found("api_server", Vec::new()),
        Case { lifecycle: Lifecycle::Draining, ..Case::new("draining") },
        Case { overdue: true, ..Case::new("overdue") },
    ]
}

/// The ways to ask: group, detail, audience, and what the query adds.
fn questions() -> Vec<(&'static str, Group, bool, Audience, Query<'static>)> {
    let plain = Query::default;
    let verbose = Query { verbose: true, exclude: vec!["claude_cli", "nobody\n"], check: None };
    let one = Query { check: Some("claude_cli"), ..plain() };
    vec![
        ("health", Group::Health, false, Audience::Public, plain()),
        ("health, detailed", Group::Health, true, Audience::Public, plain()),
        ("health, detailed, trusted", Group::Health, true, Audience::Trusted, plain()),
        ("readiness", Group::Readiness, false, Audience::Public, plain()),
        ("readiness, verbose, excluding", Group::Readiness, false, Audience::Public, verbose),
        ("readiness, one check", Group::Readiness, false, Audience::Public, one),
        ("liveness", Group::Liveness, false, Audience::Public, plain()),
        ("startup", Group::Startup, false, Audience::Public, plain()),
    ]
}

fn service() -> Service {
    Service {
        name: "claude-proxy".into(),
        version: "1.0.0".into(),
        started: at(0),
        host: "0.0.0.0".into(),
        port: 8000,
        log_level: "info".into(),
        cors_enabled: false,
        configuration: vec![("region".into(), "eu \"west\"".into())],
    }
}

fn traffic() -> Traffic {
    let traffic = Traffic::new(1);
    for (code, failure) in [(200, None), (200, None), (500, Some(Failure::Http5xx))] {
        traffic.shard(0).request(Method::Post, code, failure, Duration::from_millis(20));
    }
    traffic
}

/// Everything that a dialect answers in one case, as text.
fn transcript(dialect: &dyn Dialect, case: Case) -> String {
    let (report, now) = case.report();
    let (totals, service) = (traffic().totals(), service());
    let mut text = String::new();
    for (title, group, detail, audience, query) in questions() {
        let codes = StatusCodes::default();
        let view = View {
            report: &report,
            totals: &totals,
            service: &service,
            group: &group,
            detail,
            audience,
            codes,
            query,
            now,
        };
        let Answer { code, media_type, body } = dialect.render(&view);
        let body = String::from_utf8(body.to_vec()).expect("a body is UTF-8");
        text.push_str(&format!("== {title}\n{code} {media_type}\n{}\n", readable(&body)));
    }
    text
}

/// JSON with a line for each member, in its own order; other text as it is.
fn readable(body: &str) -> String {
    let json = serde_json::from_str::<serde_json::Value>(body).ok();
    json.and_then(|json| serde_json::to_string_pretty(&json).ok()).unwrap_or_else(|| body.to_owned())
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests; no part of the program")]
fn is_updating() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1")
}

#[test]
fn every_dialect_answers_as_its_golden_files_have_it() {
    let mut problems = Vec::new();
    for dialect in DIALECTS {
        let folder = folder().join(dialect.name());
        for case in cases() {
            let path = folder.join(format!("{}.txt", case.name));
            let is = transcript(*dialect, case);
            if is_updating() {
                fs::create_dir_all(&folder).expect("a folder");
                fs::write(&path, is).expect("a file");
                continue;
            }
            let was = fs::read_to_string(&path).unwrap_or_default();
            if was.is_empty() {
                problems.push(format!("{}: there is no golden file: UPDATE_GOLDEN=1", path.display()));
            } else if was != is {
                problems.push(format!("{}: differs. It is now:\n{}", path.display(), difference(&was, &is)));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

fn difference(was: &str, is: &str) -> String {
    let (was, is): (Vec<_>, Vec<_>) = (was.lines().collect(), is.lines().collect());
    let same = was.iter().zip(&is).take_while(|(was, is)| was == is).count();
    let show = |lines: &[&str], mark| {
        lines.iter().skip(same).take(8).map(|line| format!("{mark}{line}\n")).collect::<String>()
    };
    format!("from line {}\n{}{}", same + 1, show(&was, "- "), show(&is, "+ "))
}

#[test]
fn there_is_no_golden_file_without_its_dialect_and_case() {
    if is_updating() {
        return;
    }
    let names = |path: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let dialects: BTreeSet<String> = DIALECTS.iter().map(|dialect| dialect.name().to_owned()).collect();
    let files: BTreeSet<String> = cases().iter().map(|case| format!("{}.txt", case.name)).collect();
    assert_eq!(names(folder()), dialects);
    for dialect in dialects {
        assert_eq!(names(folder().join(&dialect)), files, "{dialect}");
    }
}

#[test]
fn a_public_caller_reads_nothing_private() {
    for dialect in DIALECTS {
        for case in cases() {
            let (report, now) = case.report();
            let (totals, service) = (traffic().totals(), service());
            for (title, group, detail, _, query) in questions() {
                let (audience, codes) = (Audience::Public, StatusCodes::default());
                let answer = dialect.render(&View {
                    report: &report,
                    totals: &totals,
                    service: &service,
                    group: &group,
                    detail,
                    audience,
                    codes,
                    query,
                    now,
                });
                let body = String::from_utf8_lossy(&answer.body);
                for private in ["jane", "127.0.0.1:8080"] {
                    assert!(!body.contains(private), "{}: {title}: {body}", dialect.name());
                }
            }
        }
    }
}
