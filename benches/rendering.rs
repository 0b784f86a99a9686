//! What the endpoints cost: rendered anew, and kept.

#![expect(clippy::expect_used, reason = "a benchmark that cannot start has failed")]

mod fleet;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use fleet::Fleet;
use hyper::Request;
use pulsegate::admin::{Admin, Cors, Credentials, Endpoint, EndpointSettings, Kind, Metrics, Port, Watchers};
use pulsegate::dialect::{Query, Service, View, find};
use pulsegate::health::{Audience, Group};
use pulsegate::traffic::{Failure, Method, Traffic};

fn endpoint(path: &str, dialect: &str, group: Group, detail: bool) -> Arc<Endpoint> {
    let kind = find(dialect).map_or(Kind::Metrics, |dialect| Kind::Report(dialect.into()));
    let settings = EndpointSettings { group: Some(group), detail, ..EndpointSettings::new(kind) };
    Arc::new(Endpoint::new(path.to_owned(), settings))
}

fn admin(fleet: &Fleet) -> Admin {
    let traffic = Arc::new(Traffic::new(2));
    for code in [200, 201, 404, 429, 500, 502] {
        traffic.shard(0).request(Method::Post, code, Failure::of_code(code), Duration::from_millis(7));
    }
    Admin {
        endpoints: vec![
            endpoint("/health", "claude-proxy", Group::Health, false),
            endpoint("/health/detailed", "claude-proxy", Group::Health, true),
            endpoint("/metrics", "prometheus", Group::Health, false),
            endpoint("/livez", "kubernetes", Group::Liveness, false),
            endpoint("/readyz", "kubernetes", Group::Readiness, false),
            endpoint("/startupz", "kubernetes", Group::Startup, false),
        ],
        metrics: Metrics::new("claude_proxy", "1.0.0", "abc", traffic.clone(), None, Default::default())
            .expect("a namespace"),
        board: fleet.board.clone(),
        traffic,
        identity: Service {
            name: "claude-proxy".into(),
            version: "1.0.0".into(),
            build_git_hash: "abc".into(),
            build_timestamp: "2024-01-01T00:00:00Z".into(),
            description: None,
            started: fleet.clock.now(),
            host: "0.0.0.0".into(),
            port: 8000,
            log_level: "info".into(),
            cors_enabled: false,
            configuration: Vec::new(),
        },
        credentials: Credentials::default(),
        cors: Cors::default(),
        clock: fleet.clock,
        waiting: Default::default(),
        agent_group: Group::Readiness,
        grpc: true,
        watching: Watchers::new(fleet.clock.now()).by(1, Duration::from_secs(15)),
    }
}

fn rendering(criterion: &mut Criterion) {
    for size in [4, 200] {
        let fleet = Fleet::start(size);
        let _guard = fleet.runtime.enter();
        let admin = admin(&fleet);
        let (report, totals, now) = (fleet.board.report(), admin.traffic.totals(), admin.clock.now());
        for endpoint in &admin.endpoints {
            let Kind::Report(dialects) = &endpoint.kind else { continue };
            let dialect = dialects.first();
            let view = View {
                report: &report,
                totals: &totals,
                service: &admin.identity,
                group: &endpoint.group,
                detail: endpoint.detail,
                audience: Audience::Public,
                codes: endpoint.codes,
                options: &endpoint.options,
                query: Query::default(),
                now,
            };
            criterion.bench_function(&format!("render/{}, {size} checks", endpoint.path), |bencher| {
                bencher.iter(|| black_box(dialect.render(black_box(&view))));
            });
        }
        criterion.bench_function(&format!("render/metrics, {size} checks"), |bencher| {
            bencher.iter(|| black_box(admin.metrics.render(&report, now)));
        });
    }
}

/// What a request costs from its path to its answer while the report stays the same.
fn answering(criterion: &mut Criterion) {
    for size in [4, 200] {
        let fleet = Fleet::start(size);
        let _guard = fleet.runtime.enter();
        let admin = Arc::new(admin(&fleet));
        for path in ["/health", "/health/detailed", "/readyz"] {
            let request = Request::get(path).body(()).expect("a request");
            criterion.bench_function(&format!("answer, kept/{path}, {size} checks"), |bencher| {
                bencher.iter(|| {
                    let target = admin.find(Port::Traffic, request.uri().path());
                    black_box(target.map(|target| admin.answer(target, &request)))
                });
            });
        }
        criterion.bench_function(&format!("find, traffic/{size} checks"), |bencher| {
            bencher.iter(|| black_box(admin.find(Port::Traffic, black_box("/v1/messages"))));
        });
    }
}

criterion_group!(benches, rendering, answering);
criterion_main!(benches);
