//! Situations that a caller of an endpoint can meet.

mod liveness;
mod seed_001;
pub(crate) mod shapes;

use std::sync::Arc;
use std::time::Duration;

use pulsegate::dialect::{Body, Options, Service, Words};
use pulsegate::health::{
    CheckReport, Chronicle, Fact, Facts, Finding, Group, Lifecycle, Moment, Observation, OnFailure, Outcome, Policy,
    Reason, Report, State,
};
use pulsegate::settings::{Node, Origin, Problems, Setting as _, Table, Value};
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
    enabled: bool,
}

impl Scene {
    fn new(name: &'static str, kind: &'static str, findings: Vec<Finding>) -> Self {
        let groups = vec![Group::Readiness, Group::Health];
        Self { name, kind, on_failure: OnFailure::Unhealthy, groups, success_threshold: 1, findings, enabled: true }
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
            enabled: self.enabled,
            built_in: self.kind == "pulse",
            state,
            runs: [0; 4],
            transitions: [0; 4],
            recent: Default::default(),
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
    facts.public(
        "account",
        Fact::Record(Arc::new([("plan".to_owned(), "max".into()), ("seats".to_owned(), 3_u64.into())])),
    );
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
pub(crate) struct Case {
    pub(crate) name: &'static str,
    findings: Vec<(&'static str, Vec<Finding>)>,
    success_threshold: u32,
    lifecycle: Lifecycle,
    idle: u64,
    overdue: bool,
    maintenance: Option<&'static str>,
    disabled: Option<&'static str>,
}

impl Case {
    fn new(name: &'static str) -> Self {
        let (findings, lifecycle) = (Vec::new(), Lifecycle::Serving);
        Self {
            name,
            findings,
            success_threshold: 1,
            lifecycle,
            idle: 0,
            overdue: false,
            maintenance: None,
            disabled: None,
        }
    }

    fn found(mut self, check: &'static str, findings: Vec<Finding>) -> Self {
        self.findings.push((check, findings));
        self
    }

    pub(crate) fn report(mut self) -> (Report, Moment) {
        let scenes = scenes().into_iter().map(|mut scene| {
            if let Some(index) = self.findings.iter().position(|(name, _)| *name == scene.name) {
                scene.findings = self.findings.remove(index).1;
                scene.success_threshold = self.success_threshold;
            }
            scene.enabled = self.disabled != Some(scene.name);
            scene.play(self.idle)
        });
        let checks: Vec<_> = scenes.collect();
        let now = at(UPTIME + self.idle);
        let mut report = Report {
            number: 7,
            at: now,
            lifecycle: self.lifecycle,
            unready_when_draining: true,
            maintenance: self.maintenance.map(Into::into),
            groups: Report::aggregate(&Group::BUILT_IN, &checks),
            checks,
            overdue_at: self.overdue.then(|| at(UPTIME).monotonic - Duration::from_secs(1)),
            history: Default::default(),
        };
        Chronicle::default().note(&unasked(&report), &mut report);
        (report, now)
    }
}

/// The same before anything was asked.
fn unasked(report: &Report) -> Report {
    let unasked = |check: &Arc<CheckReport>| Arc::new(CheckReport { state: State::new(at(0)), ..(**check).clone() });
    let checks: Vec<_> = report.checks.iter().map(unasked).collect();
    let groups = Report::aggregate(&Group::BUILT_IN, &checks);
    Report { lifecycle: Lifecycle::Starting, maintenance: None, checks, groups, ..report.clone() }
}

pub(crate) fn cases() -> Vec<Case> {
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
        Case { maintenance: Some("new database"), ..Case::new("maintenance") },
        Case { disabled: Some("api_server"), ..Case::new("disabled") }.found("api_server", Vec::new()),
        Case { overdue: true, ..Case::new("overdue") },
    ]
}

pub(crate) fn service() -> Service {
    Service {
        name: "claude-proxy".into(),
        version: "1.0.0".into(),
        build_git_hash: "3a6c1865".into(),
        build_timestamp: "2024-01-10T13:38:15Z".into(),
        description: Some("answers for Claude".into()),
        started: at(0),
        host: "0.0.0.0".into(),
        port: 8000,
        log_level: "info".into(),
        cors_enabled: false,
        configuration: vec![("region".into(), "eu \"west\"".into())],
    }
}

pub(crate) fn traffic() -> Traffic {
    let traffic = Traffic::new(1);
    for (code, failure) in [(200, None), (200, None), (500, Some(Failure::Http5xx))] {
        traffic.shard(0).request(Method::Post, code, failure, Duration::from_millis(20));
    }
    traffic
}

/// A template that uses all that templates have.
pub(crate) fn options() -> Options {
    let mut table = Table::default();
    let node = |value| Node { value, origin: Origin::Default };
    for (path, reference) in [
        ("status", "health.status"),
        ("ready", "readiness.up"),
        ("why", "health.error"),
        ("at", "service.timestamp"),
        ("build.version", "service.version"),
        ("build.git_hash", "service.build_git_hash"),
        ("build.built", "service.build_timestamp"),
        ("build.of", "service.name"),
        ("build.uptime_ms", "service.uptime_ms"),
        ("build.phase", "service.lifecycle"),
        ("build.region", "service.configuration.region"),
        ("services.app.status", "api_server.status"),
        ("services.app.up", "api_server.up"),
        ("services.app.enabled", "api_server.enabled"),
        ("services.app.latency_ms", "api_server.latency_ms"),
        ("services.app.code", "api_server.status_code"),
        ("services.app.error", "api_server.error"),
        ("services.app.failures", "api_server.consecutive_failures"),
        ("services.app.checked_at", "api_server.last_check"),
        ("services.app.nothing", "api_server.no_such_fact"),
        ("cli", "claude_cli.facts"),
        ("login.user", "authentication.user"),
        ("login.plan", "authentication.account.plan"),
        ("login.account", "authentication.account"),
    ] {
        table.set(path, &Origin::Default, node(Value::Text(reference.into())));
    }
    for (path, reference) in
        [("services.app.nothing_else", "api_server.no_such_fact"), ("services.app.known", "api_server.up")]
    {
        let mut defaulted = Table::default();
        defaulted.set("from", &Origin::Default, node(Value::Text(reference.into())));
        defaulted.set("default", &Origin::Default, node(Value::List(Vec::new())));
        table.set(path, &Origin::Default, node(Value::Table(defaulted)));
    }
    let mut constant = Table::default();
    constant.set(
        "value",
        &Origin::Default,
        node(Value::List(vec![node(Value::Integer(1)), node(Value::Boolean(true))])),
    );
    table.set("build.constant", &Origin::Default, node(Value::Table(constant)));
    let problems = Problems::default();
    let body = Body::read(&node(Value::Table(table)), "body", &problems);
    assert!(problems.is_empty(), "{:?}", problems.into_vec());
    let body = body.unwrap_or_default();
    let words = Words { healthy: "ok".into(), unknown: "error".into(), unhealthy: "error".into(), ..Words::default() };
    Options { body, words }
}
