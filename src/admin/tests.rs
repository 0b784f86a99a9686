//! Endpoints by their exact paths, and metrics that any parser takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::{Request, Response};

use super::{
    Access, Admin, AdminSettings, Cors, Credentials, Endpoint, EndpointSettings, Kind, Means, Metrics, Port, Ports,
    Watchers,
};
use crate::check::Check;
use crate::clock::Clock;
use crate::dialect::{Service, find};
use crate::health::{Facts, Finding, Group, Policy, Report};
use crate::monitor::{Monitor, Plan, PlannedCheck, Schedule};
use crate::proxy::{LocalAnswer, LocalBody};
use crate::settings::{Environment, Problems, Secret, read_empty};
use crate::traffic::{Failure, Method, Traffic};

struct Never;

impl Check for Never {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(std::future::ready(Finding::pass(Facts::default())))
    }
}

fn planned(name: &str, kind: &'static str) -> PlannedCheck {
    let second = Duration::from_secs(1);
    PlannedCheck {
        name: name.into(),
        kind,
        groups: vec![Group::Readiness, Group::Health],
        policy: Policy::default(),
        schedule: Schedule {
            interval: second,
            fast_interval: second,
            timeout: second,
            slow_after: second,
            run_until_pass: false,
        },
        depends_on: Vec::new(),
        identity: Default::default(),
        tags: Vec::new(),
        built_in: false,
        check: Some(Box::new(Never)),
    }
}

fn endpoint(path: &str, dialect: &str, group: Group, ports: Ports) -> Arc<Endpoint> {
    let kind = find(dialect).map_or(Kind::Metrics, |dialect| Kind::Report(dialect.into()));
    let settings = EndpointSettings { group: Some(group), ports, ..EndpointSettings::new(kind) };
    Arc::new(Endpoint::new(path.into(), settings))
}

const BOTH: Ports = Ports { traffic: true, admin: true };
const ADMIN: Ports = Ports { traffic: false, admin: true };

fn admin(checks: &[(&str, &'static str)]) -> Arc<Admin> {
    let clock = Clock::start();
    let checks = checks.iter().map(|(name, kind)| planned(name, kind)).collect();
    let plan = Plan { checks, groups: Group::BUILT_IN.to_vec(), unready_when_draining: true };
    let (_, board, _) = Monitor::new(plan, clock);
    let traffic = Arc::new(Traffic::new(2));
    let environment: Environment = [("KEY".to_owned(), "k1".to_owned())].into_iter().collect();
    let mut settings: AdminSettings = read_empty("", &Problems::default()).unwrap();
    settings.api_keys = vec![Secret::Variable("KEY".into())];
    let mut private = endpoint("/private", "claude-proxy", Group::Health, BOTH);
    Arc::get_mut(&mut private).unwrap().access = Access::of(&[Means::ApiKey]);
    Arc::new(Admin {
        endpoints: vec![
            endpoint("/health", "claude-proxy", Group::Health, BOTH),
            endpoint("/readyz", "kubernetes", Group::Readiness, BOTH),
            endpoint("/metrics", "prometheus", Group::Health, ADMIN),
            endpoint("/readyz/own", "claude-proxy", Group::Health, BOTH),
            private,
        ],
        metrics: Metrics::new("app", "1.0 \"x\"\n", "abc", traffic.clone(), None, Arc::default()).unwrap(),
        board,
        traffic,
        identity: Service {
            name: "app".into(),
            version: "1".into(),
            build_git_hash: "abc".into(),
            build_timestamp: "2024-01-01T00:00:00Z".into(),
            description: None,
            started: clock.now(),
            host: "h".into(),
            port: 1,
            log_level: "info".into(),
            cors_enabled: true,
            configuration: Vec::new(),
        },
        credentials: Credentials::load(&settings, &environment).unwrap(),
        cors: Cors::new(vec!["https://a.example".into()], false),
        clock,
        waiting: Default::default(),
        agent_group: Group::Readiness,
        grpc: true,
        watching: Watchers::new(clock.now()).by(1, Duration::from_secs(15)),
    })
}

fn ask(admin: &Arc<Admin>, path: &str, change: impl FnOnce(&mut Request<()>)) -> (Response<()>, String) {
    let mut request = Request::get(path).body(()).unwrap();
    change(&mut request);
    let target = admin.find(Port::Admin, path.split('?').next().unwrap()).expect("an endpoint");
    let LocalAnswer::Now(response) = admin.answer(target, &request) else { panic!("it waits") };
    let (parts, LocalBody::Whole(body)) = response.into_parts() else { panic!("it goes on") };
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn only_exact_paths_are_endpoints() {
    let admin = admin(&[("database", "tcp"), ("own", "tcp")]);
    let found = |port, path: &str| admin.find(port, path).is_some();
    for path in ["/health", "/readyz", "/readyz/database", "/readyz/own", "/private"] {
        assert!(found(Port::Traffic, path) && found(Port::Admin, path), "{path}");
    }
    assert!(found(Port::Admin, "/metrics") && !found(Port::Traffic, "/metrics"));
    for path in [
        "",
        "/",
        "/health/",
        "//health",
        "/%68ealth",
        "/health;x",
        "/Health",
        "/health/database",
        "/readyz/",
        "/readyz//database",
        "/readyz/nobody",
        "/readyz/database/",
        "/readyz/data%62ase",
        "/readyzdatabase",
        "/x/health",
        "health",
    ] {
        assert!(!found(Port::Admin, path), "{path}");
    }
    let (_, body) = ask(&admin, "/readyz/own", |_| ());
    assert!(body.starts_with('{'), "an endpoint's own path comes before a check of that name: {body}");
}

#[tokio::test]
async fn answers_are_not_kept_by_others_and_say_who_may_ask() {
    let admin = admin(&[("database", "tcp")]);
    let (response, _) = ask(&admin, "/health?x=y", |_| ());
    assert_eq!((response.status().as_u16(), &response.headers()["cache-control"]), (503, &"no-store".parse().unwrap()));
    let (response, _) = ask(&admin, "/health", |request| *request.method_mut() = hyper::Method::POST);
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    let (response, body) = ask(&admin, "/private", |_| ());
    assert_eq!(response.status(), 401);
    assert!(
        response.headers().contains_key("www-authenticate") && serde_json::from_str::<serde_json::Value>(&body).is_ok()
    );
    let key = |key: &'static str| {
        move |request: &mut Request<()>| {
            request.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
    };
    assert_eq!(ask(&admin, "/private", key("wrong")).0.status(), 401);
    assert_eq!(ask(&admin, "/private", key("k1")).0.status(), 503);
    let origin = |origin: &'static str| {
        move |request: &mut Request<()>| {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
    };
    assert!(
        ask(&admin, "/health", origin("https://a.example")).0.headers().contains_key("access-control-allow-origin")
    );
    assert!(
        !ask(&admin, "/health", origin("https://b.example")).0.headers().contains_key("access-control-allow-origin")
    );
}

#[tokio::test]
async fn the_query_reaches_the_dialect() {
    let admin = admin(&[("database", "tcp"), ("cache", "tcp")]);
    let (_, body) = ask(&admin, "/readyz?exclude=database&exclude=cache&exclude=lifecycle", |_| ());
    assert_eq!(body, "ok");
    let (_, body) = ask(&admin, "/readyz", |_| ());
    assert!(body.contains("[-]database failed"), "what a query changed is not kept: {body}");
    let (_, body) = ask(&admin, "/readyz?verbose&exclude=cache", |_| ());
    assert!(body.contains("[+]ping ok") && !body.contains("cache"), "{body}");
}

/// A scrape, read as strictly as a parser reads it: families with HELP and TYPE before their series, nothing twice.
fn parse(text: &str) -> BTreeMap<String, Vec<(String, f64)>> {
    let mut families: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    let (mut help, mut kind, mut seen) = (String::new(), (String::new(), String::new()), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, sentence) = rest.split_once(' ').expect("a sentence");
            assert!(!sentence.is_empty() && !families.contains_key(name), "{line}");
            help = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, type_) = rest.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&type_) && name == help, "{line}");
            assert_eq!(type_ == "counter", name.ends_with("_total"), "{line}");
            kind = (name.to_owned(), type_.to_owned());
            families.insert(name.to_owned(), Vec::new());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            let suffixes: &[&str] = if kind.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| name == format!("{}{suffix}", kind.0)), "{line} below {}", kind.0);
            assert!(seen.insert(series.to_owned()), "twice: {series}");
            families.get_mut(&kind.0).expect("a family").push((series.to_owned(), value.parse().expect("a number")));
        }
    }
    families
}

#[tokio::test]
async fn metrics_have_help_type_and_no_series_twice() {
    let admin =
        admin(&[("claude-cli", "cli"), ("claude_cli", "cli"), ("check", "cli"), ("health", "cli"), ("db", "tcp")]);
    for (worker, millis) in [(0, 1), (1, 40), (1, 700_000)] {
        let shard = admin.traffic.shard(worker);
        shard.request(Method::Post, 502, Some(Failure::UpstreamConnect), Duration::from_millis(millis));
    }
    let families = parse(&admin.metrics.render(&admin.board.report(), admin.clock.now()));
    let series: BTreeMap<&str, f64> =
        families.values().flatten().map(|(series, value)| (series.as_str(), *value)).collect();
    for (expected, value) in [
        ("app_requests_total{method=\"POST\",code=\"502\"}", 3.0),
        ("app_requests_total{method=\"GET\",code=\"200\"}", 0.0),
        ("app_errors_total{type=\"upstream_connect\"}", 3.0),
        ("app_request_duration_seconds_bucket{le=\"0.001\"}", 1.0),
        ("app_request_duration_seconds_bucket{le=\"600\"}", 2.0),
        ("app_request_duration_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("app_request_duration_seconds_count", 3.0),
        ("app_claude_cli_status", 0.0),
        ("app_ready", 0.0),
        ("app_health_engine_up", 1.0),
        ("app_check_info{check=\"db\",kind=\"tcp\",on_failure=\"unhealthy\"}", 1.0),
        ("app_connections_limit", 0.0),
        ("app_health_status{group=\"health\"}", 2.0),
        ("app_check_up{check=\"db\"}", 0.0),
        ("app_check_status{check=\"db\",status=\"unknown\"}", 1.0),
        ("app_build_info{version=\"1.0 \\\"x\\\"\\n\",revision=\"abc\"}", 1.0),
    ] {
        assert_eq!(series.get(expected), Some(&value), "{expected}");
    }
    assert_eq!(families["app_errors_total"].len(), Failure::ALL.len(), "known series begin at zero");
    let mut below = 0.0;
    for (series, count) in
        families["app_request_duration_seconds"].iter().filter(|(series, _)| series.contains("_bucket"))
    {
        assert!(*count >= below, "buckets are cumulative: {series}");
        below = *count;
    }
    assert!(families.keys().any(|name| name.starts_with("process_")));

    let late = Report { overdue_at: Some(Duration::ZERO), ..admin.board.report().as_ref().clone() };
    let text = admin.metrics.render(&late, admin.clock.now());
    assert!(text.contains("\napp_health_engine_up 0\n") && text.contains("\napp_ready 0\n"), "{text}");
}
