//! What `/health`, `/health/detailed`, `/metrics`, `/livez`, `/readyz` and `/startupz` say (contract, sections 2 and 5).

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Client, Settings, Sidecar, Upstream, ask, eventually, get, home_with_login};

/// Starts the preset before an app that says `hello`, and waits until it is ready.
fn sidecar(upstream: &Upstream, change: impl FnOnce(Settings) -> Settings) -> Sidecar {
    Sidecar::start(&change(Sidecar::full(upstream)).text("service.version", "1.0.0")).ready()
}

#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// `2024-01-15T10:30:00Z`, and not long ago.
#[track_caller]
fn assert_timestamp(value: &Value) {
    let text = value.as_str().expect("a timestamp");
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z");
    assert!(text > "2025-", "{text}");
}

fn both(sidecar: &Sidecar) -> [SocketAddr; 2] {
    [sidecar.traffic, sidecar.admin]
}

#[test]
fn health_when_healthy_is_the_documents_body() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    for address in both(&sidecar) {
        let answer = get(address, "/health");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let body = answer.json();
        let timestamp = body["timestamp"].as_str().expect("a timestamp");
        assert_eq!(
            answer.text(),
            format!(r#"{{"status":"healthy","service":"claude-proxy","timestamp":"{timestamp}","version":"1.0.0"}}"#)
        );
        assert_timestamp(&body["timestamp"]);
    }
}

#[test]
fn health_when_degraded_is_200_and_says_so() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let soon = std::time::SystemTime::now() + Duration::from_secs(10 * 3600);
    let soon = soon.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let login = serde_json::json!({ "claudeAiOauth": { "accessToken": "a", "expiresAt": soon, "scopes": ["x"] } });
    std::fs::write(home.path().join(".claude/.credentials.json"), login.to_string()).expect("a login");
    let settings = Sidecar::full(&upstream).text("service.version", "1.0.0");
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    for address in both(&sidecar) {
        let answer = get(address, "/health");
        assert_eq!(answer.status, 200);
        let body = answer.json();
        assert_eq!(keys(&body), ["status", "service", "timestamp", "version"]);
        assert_eq!(body["status"], "degraded");
    }
    assert_eq!(sidecar.detailed()["components"]["authentication"]["status"], "degraded");
    assert_eq!(sidecar.admin("/readyz").status, 200, "degraded is ready");
}

#[test]
fn health_when_unhealthy_is_503_with_the_reason_and_recovers() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    upstream.set_probe(500);
    sidecar.await_code("/health", 503);
    for address in both(&sidecar) {
        let answer = get(address, "/health");
        assert_eq!(answer.status, 503);
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let body = answer.json();
        assert_eq!(keys(&body), ["status", "service", "timestamp", "error"]);
        assert_eq!(body["status"], "unhealthy");
        assert_eq!(body["service"], "claude-proxy");
        assert_eq!(body["error"], "api_server answers with status 500");
        assert_timestamp(&body["timestamp"]);

        let detailed = get(address, "/health/detailed");
        assert_eq!(detailed.status, 503);
        let body = detailed.json();
        assert_eq!(keys(&body), ["status", "service", "timestamp", "error", "components", "configuration"]);
        assert_eq!(body["error"], "api_server answers with status 500", "the monitoring script reads .error");
        assert_eq!(body["components"]["api_server"]["status"], "unhealthy");
        assert!(body["components"]["api_server"]["consecutive_failures"].as_u64() >= Some(3));
    }
    upstream.set_probe(200);
    sidecar.await_code("/health", 200);
}

#[test]
fn detailed_shows_components_and_configuration() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| {
        settings.text("service.configuration.region", "nowhere").raw("admin.cors_origins", "[\"https://a.example\"]")
    });
    assert_eq!(sidecar.get("/counted").status, 200);
    eventually(Duration::from_secs(10), "the request is counted", || {
        sidecar.detailed()["components"]["api_server"]["requests_processed"] == 1
    });
    for address in both(&sidecar) {
        let answer = get(address, "/health/detailed");
        assert_eq!((answer.status, answer.field("cache-control")), (200, Some("no-store")));
        let body = answer.json();
        assert_eq!(keys(&body), ["status", "service", "timestamp", "version", "components", "configuration"]);

        let cli = &body["components"]["claude_cli"];
        assert_eq!(cli["status"], "healthy");
        assert_eq!(cli["version"], "2.1.328");
        assert_eq!(cli["authenticated"], true);
        assert!(cli["path"].as_str().is_some_and(|path| path.ends_with("/claude")));
        assert_timestamp(&cli["last_check"]);

        let server = &body["components"]["api_server"];
        assert_eq!(server["status"], "healthy");
        let uptime = server["uptime"].as_str().expect("spoken").trim_end_matches('s');
        let spoken: u64 = uptime.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
        assert_eq!(Some(spoken), server["uptime_seconds"].as_u64().map(|seconds| seconds % 60));
        assert_eq!(server["host"], "127.0.0.1");
        assert_eq!(server["port"], sidecar.traffic.port());
        assert_eq!(server["requests_processed"], 1);
        assert_eq!(server["errors"], 0);
        assert_timestamp(&server["last_check"]);

        let login = &body["components"]["authentication"];
        assert_eq!(login["status"], "healthy");
        assert_eq!(login["logged_in"], true);
        assert_eq!(login["state"], "valid");
        assert_eq!(login["verified"], Value::Null);
        assert_eq!(login.get("user"), None, "off by default: it names a person");

        assert_eq!(body["components"]["traffic"]["status"], "healthy");
        let configuration = &body["configuration"];
        assert_eq!(configuration["host"], "127.0.0.1");
        assert_eq!(configuration["port"], sidecar.traffic.port());
        assert_eq!(configuration["log_level"], "INFO");
        assert_eq!(configuration["cors_enabled"], true);
        assert_eq!(configuration["region"], "nowhere");
    }
}

#[test]
fn every_configured_check_is_a_component_of_its_own() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| {
        settings
            .text("checks.database.tcp.address", "127.0.0.1:1")
            .text("checks.database.on_failure", "degraded")
            .raw("checks.database.failure_threshold", "1")
            .text("checks.database.interval", "200ms")
    });
    let body = sidecar.await_detailed("the database is seen to be down", |body| {
        body["components"]["database"]["status"] == "unhealthy"
    });
    assert_eq!(body["status"], "degraded", "it weighs no more than that");
    let database = &body["components"]["database"];
    assert_timestamp(&database["last_check"]);
    assert!(database["latency_ms"].is_number());
    assert!(database["consecutive_failures"].as_u64() >= Some(1));
    assert!(database["error"].is_string());
    assert_eq!(sidecar.admin("/readyz").status, 200);
}

#[test]
fn other_methods_are_405_and_name_those_that_work() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    for address in both(&sidecar) {
        for path in ["/health", "/health/detailed", "/metrics", "/livez", "/readyz", "/startupz"] {
            for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
                let answer = ask(address, method, path, &[], b"");
                assert_eq!(answer.status, 405, "{method} {path}");
                assert_eq!(answer.field("allow"), Some("GET, HEAD"), "{method} {path}");
            }
            let with_body = ask(address, "POST", path, &[], b"a body that nobody reads");
            assert_eq!(with_body.status, 405);
        }
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn head_is_get_without_the_body() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    for address in both(&sidecar) {
        for path in ["/health", "/health/detailed", "/livez", "/readyz", "/startupz", "/metrics"] {
            let mut client = Client::connect(address);
            let head = client.ask("HEAD", path, &[], b"").expect("an answer");
            assert!(head.body.is_empty());
            // The connection is still in step: what follows is the next answer.
            let whole = client.ask("GET", path, &[], b"").expect("an answer");
            assert_eq!(head.status, whole.status, "{path}");
            assert_eq!(head.field("content-type"), whole.field("content-type"), "{path}");
            let length: usize = head.field("content-length").expect("a length").parse().expect("a number");
            assert!(length > 0, "{path}");
        }
    }
}

#[test]
fn only_exact_paths_are_endpoints() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    let others = [
        "/health/",
        "//health",
        "/%68ealth",
        "/health;x",
        "/health%2f",
        "/HEALTH",
        "/healthz",
        "/health/detailed/",
        "/./health",
        "/x/../health",
        "/metrics/",
        "/livez/",
        "/readyz/nobody",
        "/health/detailed;x",
    ];
    for path in others {
        let answer = sidecar.get(path);
        assert_eq!((answer.status, answer.text()), (200, "hello"), "{path}");
        assert_eq!(sidecar.admin(path).status, 404, "{path} at the management port");
    }
    let targets: Vec<String> = upstream.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, others, "byte for byte");

    for (path, word) in [("/health?x=1", "healthy"), ("/health/detailed?a&b=/", "healthy"), ("/health?", "healthy")] {
        for address in both(&sidecar) {
            assert_eq!(get(address, path).json()["status"], word, "{path}");
        }
    }
    assert_eq!(upstream.seen().len(), others.len());
}

#[test]
fn an_endpoint_can_be_moved_and_its_path_given_to_the_app() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| {
        settings
            .raw("endpoints.\"/health\".ports", "[\"admin\"]")
            .text("endpoints.\"/metrics\".dialect", "off")
            .text("endpoints.\"/sidecar/health\".dialect", "claude-proxy")
            .raw("endpoints.\"/sidecar/health\".codes", "{ healthy = 218 }")
    });
    assert_eq!(sidecar.get("/health").text(), "hello");
    assert_eq!(sidecar.get("/metrics").text(), "hello");
    assert_eq!(sidecar.admin("/metrics").status, 404);
    assert_eq!(sidecar.admin("/health").json()["status"], "healthy");
    let moved = sidecar.get("/sidecar/health");
    assert_eq!((moved.status, &moved.json()["status"]), (218, &Value::from("healthy")));
}

#[test]
fn metrics_are_prometheus_text() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    for address in both(&sidecar) {
        let answer = get(address, "/metrics");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        for name in [
            "claude_proxy_requests_total{",
            "claude_proxy_request_duration_seconds_bucket{",
            "claude_proxy_errors_total{type=\"upstream_connect\"} 0",
            "claude_proxy_claude_cli_status 1",
            "claude_proxy_time_to_first_byte_seconds_count 0",
            "claude_proxy_requests_in_flight 0",
            "claude_proxy_connections ",
            "claude_proxy_bytes_total{direction=\"sent\"} ",
            "claude_proxy_upstream_connections{state=\"idle\"} ",
            "claude_proxy_retries_total 0",
            "claude_proxy_ready 1",
            "claude_proxy_draining 0",
            "claude_proxy_health_status{group=\"readiness\"} 0",
            "claude_proxy_check_status{check=\"claude_cli\",status=\"healthy\"} 1",
            "claude_proxy_check_up{check=\"authentication\"} 1",
            "claude_proxy_check_duration_seconds{check=\"api_server\"} ",
            "claude_proxy_check_runs_total{check=\"api_server\",outcome=\"pass\"} ",
            "claude_proxy_check_transitions_total{check=\"api_server\",to=\"healthy\"} 1",
            "claude_proxy_check_last_success_timestamp_seconds{check=\"api_server\"} ",
            "claude_proxy_config_last_reload_success 1",
            "claude_proxy_build_info{",
            "process_resident_memory_bytes ",
        ] {
            assert!(answer.text().lines().any(|line| line.starts_with(name)), "{name} in\n{}", answer.text());
        }
    }
    upstream.set_probe(503);
    sidecar.await_code("/readyz", 503);
    assert_eq!(sidecar.get("/metrics").status, 200, "always");
    sidecar.assert_metric("claude_proxy_ready", &[], 0.0);
    sidecar.assert_metric("claude_proxy_health_status", &["group=\"readiness\""], 3.0);
}

#[test]
fn an_api_key_guards_an_endpoint() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let keys = home.path().join("key");
    std::fs::write(&keys, "canary-from-a-file\n").expect("a key");
    let settings = Sidecar::full(&upstream)
        .raw("endpoints.\"/health/detailed\".access", "[\"api_key\"]")
        .raw("endpoints.\"/metrics\".access", "[\"api_key\"]")
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}, {{ env = \"SECOND_KEY\" }}]", keys.display().to_string()));
    let sidecar = Sidecar::start_in(home, &settings, |command| {
        command.env("SECOND_KEY", "canary-from-a-variable");
    })
    .ready();
    for address in both(&sidecar) {
        for path in ["/health/detailed", "/metrics"] {
            for (name, value) in [
                ("x-nothing", "1"),
                ("x-api-key", "canary-from-a-fil"),
                ("x-api-key", "canary-from-a-filee"),
                ("x-api-key", ""),
                ("authorization", "Bearer wrong"),
                ("authorization", "Basic canary-from-a-file"),
            ] {
                let answer = ask(address, "GET", path, &[(name, value)], b"");
                assert_eq!(answer.status, 401, "{path} with {name}: {value}");
                let challenge = answer.field("www-authenticate").expect("a challenge");
                assert!(challenge.starts_with("Bearer"), "{challenge}");
                assert_eq!(answer.json()["error"]["code"], "unauthorized");
                assert!(!answer.text().contains("canary"));
            }
            for (name, value) in [
                ("x-api-key", "canary-from-a-file"),
                ("X-API-Key", "canary-from-a-variable"),
                ("authorization", "Bearer canary-from-a-variable"),
                ("authorization", "bearer canary-from-a-file"),
            ] {
                let answer = ask(address, "GET", path, &[(name, value)], b"");
                assert_eq!(answer.status, 200, "{path} with {name}: {value}");
                assert!(!answer.text().contains("canary"));
            }
        }
        assert_eq!(get(address, "/health").status, 200, "the others stay public");
        assert_eq!(ask(address, "GET", "/health", &[("x-api-key", "wrong")], b"").status, 200);
    }
    assert!(!sidecar.log().contains("canary"));
}

#[test]
fn kubernetes_paths_answer_as_its_own_api_server_does() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    for address in both(&sidecar) {
        for path in ["/livez", "/readyz", "/startupz"] {
            let answer = get(address, path);
            assert_eq!((answer.status, answer.text()), (200, "ok"), "{path}");
            assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.field("cache-control"), Some("no-store"));
        }
        let verbose = get(address, "/readyz?verbose");
        for line in ["[+]ping ok", "[+]claude_cli ok", "[+]authentication ok", "[+]api_server ok", "[+]lifecycle ok"] {
            assert!(verbose.text().lines().any(|known| known == line), "{line} in\n{}", verbose.text());
        }
        assert!(verbose.text().ends_with("readyz check passed\n"), "{}", verbose.text());
        assert!(get(address, "/livez?verbose").text().contains("[+]event_loop ok\n"));
        assert!(!get(address, "/livez?verbose").text().contains("api_server"), "no dependency in liveness");
        for listed in ["/readyz/api_server", "/readyz/ping", "/readyz/engine", "/readyz/lifecycle", "/livez/ping"] {
            assert_eq!(get(address, listed).text(), "ok", "{listed}");
        }
    }

    upstream.set_probe(500);
    sidecar.await_code("/readyz", 503);
    for address in both(&sidecar) {
        let answer = get(address, "/readyz");
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text(), "[-]api_server failed: api_server answers with status 500\nreadyz check failed\n");
        assert!(get(address, "/readyz?verbose").text().contains("[+]claude_cli ok\n"));
        assert_eq!(get(address, "/readyz?exclude=api_server").text(), "ok");
        assert_eq!(get(address, "/readyz?exclude=claude_cli&exclude=api_server").status, 200);
        let unknown = get(address, "/readyz?exclude=nobody");
        assert_eq!(unknown.status, 503);
        assert!(unknown.text().contains("nobody"), "{}", unknown.text());
        assert_eq!(get(address, "/readyz/api_server").status, 503);
        assert_eq!(get(address, "/readyz/claude_cli").status, 200);
        assert_eq!(get(address, "/livez").status, 200, "a restart would not help the app");
        assert_eq!(get(address, "/startupz").status, 200);
    }
}

#[test]
fn before_the_first_results_it_is_alive_and_not_ready() {
    // An app that accepts and never answers: its check stays without a result for as long as its timeout.
    let upstream = Upstream::start(|exchange| {
        exchange.wait_until_gone();
        crate::support::Next::Close
    });
    let settings = Sidecar::full_for(upstream.port())
        .text("checks.api_server.http.path", "/silent")
        .text("checks.api_server.interval", "30s")
        .text("checks.api_server.timeout", "30s");
    let sidecar = Sidecar::start(&settings);
    assert_eq!(sidecar.admin("/livez").status, 200);
    assert_eq!(sidecar.admin("/startupz").status, 200, "never waits for the app");
    let ready = sidecar.admin("/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("[-]api_server failed: waiting for the first result of api_server"),
        "{}",
        ready.text()
    );
    eventually(Duration::from_secs(20), "only the app is waited for", || {
        sidecar.admin("/health").json()["error"] == "waiting for the first result of api_server"
    });
    assert_eq!(sidecar.admin("/health").status, 503);
    assert_eq!(sidecar.admin("/health").json()["status"], "unhealthy", "not green before it is known");
}

#[test]
fn the_management_port_has_nothing_but_endpoints() {
    let upstream = Upstream::hello();
    let sidecar = sidecar(&upstream, |settings| settings);
    for path in ["/", "/v1/messages", "/-/nothing", "/upstream/health"] {
        let answer = sidecar.admin(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"]["code"].is_string());
    }
    assert!(upstream.seen().is_empty());
}
