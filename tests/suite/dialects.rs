//! Dialects on the wire: which one answers, at which paths, with which fields and codes.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    CLOSED_PORT, Response, Settings, Sidecar, Upstream, ask, await_value, eventually, get, home_with_login, run,
};

/// Endpoints beside those of the preset; the app's check is the one that the tests break.
fn start(upstream: &Upstream, change: impl FnOnce(Settings) -> Settings) -> Sidecar {
    Sidecar::start(&change(Sidecar::full(upstream))).ready()
}

fn both(sidecar: &Sidecar) -> [std::net::SocketAddr; 2] {
    [sidecar.traffic, sidecar.admin]
}

fn media_type(answer: &Response) -> &str {
    answer.field("content-type").unwrap_or_default()
}

#[test]
fn accept_chooses_among_the_dialects_of_an_endpoint() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        settings
            .raw("endpoints.\"/both\".dialect", "[\"claude-proxy\", \"kubernetes\"]")
            .text("endpoints.\"/one\".dialect", "claude-proxy")
    });
    let (json, text) = ("application/json", "text/plain; charset=utf-8");
    for address in both(&sidecar) {
        // Many times over: nobody must get what another one asked for.
        for _ in 0..3 {
            for (accept, expected) in [
                (None, json),
                (Some("text/plain"), text),
                (Some("*/*"), json),
                (Some("text/plain;q=0.5, application/json;q=0.4"), text),
                (Some("image/png"), json),
                (Some("text/*, */*;q=0.1"), text),
            ] {
                for method in ["GET", "HEAD"] {
                    let fields: Vec<(&str, &str)> = accept.map(|accept| ("accept", accept)).into_iter().collect();
                    let answer = ask(address, method, "/both", &fields, b"");
                    assert_eq!((answer.status, media_type(&answer)), (200, expected), "{method} {accept:?}");
                    assert_eq!(answer.field("vary"), Some("accept"));
                }
            }
            let lines = ask(address, "GET", "/both", &[("accept", "image/png"), ("Accept", "text/plain")], b"");
            assert_eq!(lines.text(), "ok", "the lines of the field are one list");
        }
        let one = ask(address, "GET", "/one", &[("accept", "text/plain")], b"");
        assert_eq!((one.status, media_type(&one), one.field("vary")), (200, json, None), "there is nothing to choose");
        // Paths below are those of the dialect that has them, whatever is asked for.
        let below = ask(address, "GET", "/both/api_server", &[("accept", json)], b"");
        assert_eq!((below.status, below.text()), (200, "ok"));
    }
}

#[test]
fn the_seeds_documents_are_answered() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        settings
            .text("service.version", "1.0.0")
            .text("service.build_git_hash", "3a6c1865")
            .text("service.build_timestamp", "2026-05-16T13:38:15Z")
            .text("endpoints.\"/api/v1/health\".dialect", "ok")
            .text("endpoints.\"/api/v1/ready\".dialect", "ok")
            .text("endpoints.\"/api/v1/ready\".group", "readiness")
            .text("endpoints.\"/build\".dialect", "build")
            .raw("endpoints.\"/build\".codes", "{ unhealthy = 299 }")
            .text("endpoints.\"/simple\".dialect", "simple")
            .raw("endpoints.\"/simple\".codes", "{ unhealthy = 500 }")
    });
    for address in both(&sidecar) {
        assert_eq!(get(address, "/api/v1/health").text(), r#"{"ok":true,"status":"healthy"}"#);
        assert_eq!(get(address, "/api/v1/ready").text(), r#"{"ok":true,"status":"healthy"}"#);
        let build = get(address, "/build").json();
        let names: Vec<&str> = build.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["status", "version", "build_git_hash", "build_timestamp", "uptime_ms"]);
        assert_eq!((&build["status"], &build["version"]), (&json!("ok"), &json!("1.0.0")));
        assert_eq!(build["build_git_hash"], "3a6c1865");
        assert_eq!(build["build_timestamp"], "2026-05-16T13:38:15Z");
        assert!(build["uptime_ms"].is_u64());
        let simple = get(address, "/simple").json();
        assert_eq!(simple["status"], "ok");
        assert_eq!(simple.as_object().map(serde_json::Map::len), Some(2), "{simple}");
    }
    upstream.set_probe(500);
    sidecar.await_code("/api/v1/ready", 503);
    for address in both(&sidecar) {
        assert_eq!(get(address, "/api/v1/health").status, 200, "true as long as somebody answers");
        assert_eq!(get(address, "/api/v1/ready").text(), r#"{"ok":false,"status":"unhealthy"}"#);
        let build = get(address, "/build");
        assert_eq!((build.status, &build.json()["status"]), (299, &json!("degraded")));
        let simple = get(address, "/simple");
        assert_eq!((simple.status, &simple.json()["status"]), (500, &json!("error")));
        assert_eq!(simple.json()["error"], "api_server answers with status 500");
    }
}

#[test]
fn a_template_fills_in_what_is_known() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let key = home.path().join("key");
    std::fs::write(&key, "k1").expect("a key");
    let settings = Sidecar::full(&upstream)
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}]", key.display().to_string()))
        .text("checks.sftpgo.tcp.address", &format!("127.0.0.1:{CLOSED_PORT}"))
        .text("checks.sftpgo.interval", "200ms")
        .text("checks.sftpgo.on_failure", "degraded")
        .text("endpoints.\"/api/v1/stats/sftpgo\".dialect", "template")
        .raw("endpoints.\"/api/v1/stats/sftpgo\".words", "{ healthy = 'ok', unhealthy = 'error' }")
        .raw(
            "endpoints.\"/api/v1/stats/sftpgo\".body",
            "{ status = 'sftpgo.status', latency_ms = 'sftpgo.latency_ms', 'whole.status' = 'health.status', \
             'whole.code' = 'api_server.status_code', user = 'authentication.user', constant = { value = [1, { a = 'b' }] } }",
        );
    let sidecar = Sidecar::start_in(home, &settings, |_| ());
    let body = |headers: &[(&str, &str)]| ask(sidecar.traffic, "GET", "/api/v1/stats/sftpgo", headers, b"");
    eventually(Duration::from_secs(20), "the port is seen to be closed", || body(&[]).json()["status"] == "error");
    eventually(Duration::from_secs(20), "everything else is known", || {
        body(&[]).json()["whole"]["status"] == "degraded"
    });
    let answer = body(&[]);
    assert_eq!(answer.status, 200, "it weighs no more than degraded");
    let latency = answer.json()["latency_ms"].clone();
    assert!(latency.is_u64(), "{latency}");
    assert_eq!(
        answer.json(),
        json!({
            "status": "error",
            "latency_ms": latency,
            "whole": { "status": "degraded", "code": 200 },
            "user": null,
            "constant": [1, { "a": "b" }],
        })
    );
    let names: Vec<String> = answer.json().as_object().expect("an object").keys().cloned().collect();
    assert_eq!(names, ["status", "latency_ms", "whole", "user", "constant"], "in the order of the configuration");
    assert_eq!(body(&[("x-api-key", "k1")]).status, 200);
}

#[test]
fn the_old_word_for_the_metrics_is_refused_with_the_new_one() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = Sidecar::full(&upstream).text("endpoints.\"/metrics\".dialect", "metrics");
    let ended = run(Sidecar::command(home.path(), &settings).arg("validate"));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("the metrics are called \"prometheus\" here"), "{ended:?}");
}

#[test]
fn actuator_has_groups_and_components_below_its_path() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        settings
            .text("endpoints.\"/actuator/health\".dialect", "actuator")
            .text("endpoints.\"/parts\".dialect", "actuator")
            .raw("endpoints.\"/parts\".detail", "true")
            .text("endpoints.\"/parts/mine\".dialect", "ok")
            .raw("checks.api_server.groups", "[\"health\", \"readiness\", \"custom\"]")
    });
    let content = "application/vnd.spring-boot.actuator.v3+json";
    for address in both(&sidecar) {
        let root = get(address, "/actuator/health");
        assert_eq!((root.status, media_type(&root)), (200, content));
        assert_eq!(root.text(), r#"{"status":"UP","groups":["custom","liveness","readiness","startup"]}"#);
        for path in ["liveness", "readiness", "custom", "health", "api_server", "custom/api_server"] {
            let answer = get(address, &format!("/actuator/health/{path}"));
            assert_eq!((answer.status, answer.text()), (200, r#"{"status":"UP"}"#), "{path}");
            let head = ask(address, "HEAD", &format!("/actuator/health/{path}"), &[], b"");
            assert_eq!((head.status, media_type(&head)), (200, content), "{path}");
            assert_eq!(ask(address, "POST", &format!("/actuator/health/{path}"), &[], b"").status, 405, "{path}");
        }
        let nothing =
            ["nobody", "custom/claude_cli", "custom/", "api_server/custom", "a/b/c", "event_loop", "API_SERVER"];
        for path in nothing {
            let answer = get(address, &format!("/actuator/health/{path}"));
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("not_found")), "{path}");
        }
        let parts = get(address, "/parts").json();
        let component = &parts["components"]["api_server"];
        assert_eq!((&component["status"], &component["details"]["status_code"]), (&json!("UP"), &json!(200)));
        assert_eq!(get(address, "/parts/custom").json()["components"].as_object().map(serde_json::Map::len), Some(1));
        assert_eq!(get(address, "/parts/api_server").json()["details"]["status_code"], 200);
        assert_eq!(get(address, "/parts/mine").text(), r#"{"ok":true,"status":"healthy"}"#, "an endpoint's own path");
    }
    let seen: Vec<String> = upstream.seen().into_iter().map(|seen| seen.target).collect();
    assert!(seen.is_empty(), "all below the path is the endpoint's: {seen:?}");
    assert_eq!(sidecar.get("/actuator/health/").text(), "hello", "and its path with a slash is not");

    upstream.set_probe(500);
    sidecar.await_code("/actuator/health", 503);
    for address in both(&sidecar) {
        assert_eq!(get(address, "/actuator/health/api_server").text(), r#"{"status":"DOWN"}"#);
        assert_eq!(get(address, "/actuator/health/claude_cli").status, 200);
        assert_eq!(get(address, "/actuator/health/liveness").status, 200);
        assert_eq!(get(address, "/actuator/health/custom").status, 503);
    }
}

#[test]
fn microprofile_has_three_paths_below_its_own() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| settings.text("endpoints.\"/health\".dialect", "microprofile"));
    for address in both(&sidecar) {
        for path in ["/health", "/health/live", "/health/ready", "/health/started"] {
            let answer = get(address, path);
            assert_eq!((answer.status, media_type(&answer)), (200, "application/json"), "{path}");
            assert_eq!(answer.json()["status"], "UP", "{path}");
        }
        let names = |path| -> Vec<String> {
            let checks = get(address, path).json()["checks"].as_array().cloned().unwrap_or_default();
            checks.iter().filter_map(|check| check["name"].as_str().map(str::to_owned)).collect()
        };
        assert_eq!(names("/health/live"), ["event_loop"]);
        assert_eq!(names("/health/ready"), ["claude_cli", "api_server", "authentication", "traffic"]);
        assert!(names("/health/started").is_empty());
        assert_eq!(get(address, "/health/detailed").json()["status"], "healthy", "another endpoint's path");
    }
    assert_eq!(sidecar.get("/health/other").text(), "hello", "every other path is the app's");
    upstream.set_probe(500);
    sidecar.await_code("/health/ready", 503);
    for address in both(&sidecar) {
        let ready = get(address, "/health/ready").json();
        assert_eq!(ready["status"], "DOWN");
        assert_eq!(ready["checks"][1], json!({ "name": "api_server", "status": "DOWN" }));
        assert_eq!(get(address, "/health/live").status, 200);
        assert_eq!(get(address, "/health/started").status, 200);
    }
}

#[test]
fn health_json_has_a_lifetime_and_trusted_answers_are_private() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let key = home.path().join("key");
    std::fs::write(&key, "k1").expect("a key");
    let settings = Sidecar::full(&upstream)
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}]", key.display().to_string()))
        .raw("admin.cors_origins", "[\"https://status.example\"]")
        .text("endpoints.\"/health\".dialect", "health-json")
        .raw("endpoints.\"/health\".detail", "true")
        .text("endpoints.\"/slow\".dialect", "health-json")
        .text("endpoints.\"/slow\".max_age", "1h")
        .raw("endpoints.\"/either\".dialect", "[\"claude-proxy\", \"health-json\"]");
    let sidecar = Sidecar::start_in(home, &settings, |_| ()).ready();
    for address in both(&sidecar) {
        let ask = |path: &str, fields: &[(&str, &str)]| ask(address, "GET", path, fields, b"");
        let answer = ask("/health", &[]);
        assert_eq!((answer.status, media_type(&answer)), (200, "application/health+json"));
        assert_eq!(answer.field("cache-control"), Some("max-age=1"));
        assert_eq!(answer.field("vary"), Some("origin"));
        let body = answer.json();
        assert_eq!((&body["status"], body.get("output")), (&json!("pass"), None));
        let node = &body["checks"]["api_server:responseTime"][0];
        assert_eq!((&node["observedUnit"], &node["facts"]["status_code"]), (&json!("ms"), &json!(200)));
        assert!(body["checks"]["uptime"][0]["observedValue"].is_u64());
        assert_eq!(ask("/health", &[("x-api-key", "k1")]).field("cache-control"), Some("private, max-age=1"));
        assert_eq!(ask("/slow", &[]).field("cache-control"), Some("max-age=3600"));
        assert_eq!(ask("/either", &[]).field("cache-control"), Some("no-store"));
        let either = ask("/either", &[("accept", "application/health+json"), ("origin", "https://status.example")]);
        assert_eq!(
            (media_type(&either), either.field("cache-control")),
            ("application/health+json", Some("max-age=1"))
        );
        assert_eq!(either.field("vary"), Some("accept, origin"));
        assert_eq!(either.field("access-control-allow-origin"), Some("https://status.example"));
    }
    upstream.set_probe(500);
    let failed = sidecar.await_code("/health", 503).json();
    assert_eq!((&failed["status"], &failed["output"]), (&json!("fail"), &json!("api_server answers with status 500")));
}

#[test]
fn who_drains_is_out_of_service_in_the_words_of_each() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        settings
            .text("shutdown.lame_duck", "20s")
            .text("shutdown.grace", "25s")
            .text("endpoints.\"/actuator\".dialect", "actuator")
            .text("endpoints.\"/ui\".dialect", "healthchecks-ui")
            .text("endpoints.\"/microprofile\".dialect", "microprofile")
            .text("endpoints.\"/json\".dialect", "health-json")
            .text("endpoints.\"/simple\".dialect", "simple")
            .text("endpoints.\"/ok\".dialect", "ok")
    });
    let ui = sidecar.get("/ui");
    assert_eq!((ui.status, media_type(&ui), &ui.json()["status"]), (200, "application/json", &json!("Healthy")));
    sidecar.terminate();
    sidecar.await_code("/ui", 503);
    let ui = sidecar.get("/ui");
    assert_eq!((media_type(&ui), &ui.json()["status"]), ("application/json", &json!("Unhealthy")));
    assert_eq!(ui.json()["entries"]["lifecycle"]["description"], "shutting down");
    assert_eq!(sidecar.get("/actuator").json()["status"], "OUT_OF_SERVICE");
    assert_eq!(sidecar.get("/actuator/api_server").json()["status"], "UP", "the part is what it was");
    let microprofile = sidecar.get("/microprofile").json();
    assert_eq!((&microprofile["status"], &microprofile["checks"][0]["name"]), (&json!("DOWN"), &json!("lifecycle")));
    let json = sidecar.get("/json").json();
    assert_eq!((&json["status"], &json["notes"][0]), (&json!("fail"), &json!("shutting down")));
    assert_eq!(sidecar.get("/simple").json()["error"], "shutting down");
    assert_eq!(sidecar.get("/ok").status, 200, "it is alive");
}

/// A pulsegate that watches another one understands it in every dialect, well and ill.
#[test]
fn another_pulsegate_understands_every_document() {
    let upstream = Upstream::hello();
    // `build` has no word for ill that is not also for degraded.
    let watched = start(&upstream, |settings| {
        DOCUMENTS.iter().fold(settings, |settings, (name, _)| {
            let settings = settings
                .text(&format!("endpoints.\"/{name}\".dialect"), name)
                .text(&format!("endpoints.\"/{name}\".group"), "health");
            match *name {
                "template" => settings.text("endpoints.\"/template\".body.status", "health.status"),
                _ => settings.text("endpoints.\"/ext/health\".dialect", "avalanche"),
            }
        })
    });
    let names = || DOCUMENTS.map(|(name, _)| name).into_iter().chain(["kubernetes", "avalanche"]);
    let path_of = |name: &str| match name {
        "kubernetes" => "/readyz?verbose".to_owned(),
        "avalanche" => "/ext/health".to_owned(),
        name => format!("/{name}"),
    };
    let settings = names().fold(Sidecar::bare(&upstream), |settings, name| {
        settings
            .text(&format!("checks.{name}.http.url"), &format!("http://{}{}", watched.admin, path_of(name)))
            .raw(&format!("checks.{name}.http.health"), "true")
            .text(&format!("checks.{name}.http.expect_status"), "100-599")
            .text(&format!("checks.{name}.interval"), "200ms")
            .raw(&format!("checks.{name}.failure_threshold"), "1")
    });
    let settings =
        settings.text("endpoints.\"/told\".dialect", "claude-proxy").raw("endpoints.\"/told\".detail", "true");
    let watching = Sidecar::start(&settings);
    let told = |name: &str| ask(watching.admin, "GET", "/told", &[], b"").json()["components"][name].clone();
    for name in names() {
        await_value(name, || told(name), |told| told["health"] == "healthy" && told["status"] == "healthy");
    }
    upstream.set_probe(500);
    for name in names() {
        let (health, status) = if name == "build" { ("degraded", "degraded") } else { ("unhealthy", "unhealthy") };
        await_value(name, || told(name), |told| told["health"] == health && told["status"] == status);
    }
}

/// The dialects that are documents, and the word of each for a status that is not up.
const DOCUMENTS: [(&str, &str); 9] = [
    ("claude-proxy", "unhealthy"),
    ("ok", "unhealthy"),
    ("build", "degraded"),
    ("simple", "error"),
    ("template", "unhealthy"),
    ("health-json", "fail"),
    ("actuator", "DOWN"),
    ("healthchecks-ui", "Unhealthy"),
    ("microprofile", "DOWN"),
];

#[test]
fn every_document_has_the_codes_of_its_endpoint() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        DOCUMENTS.iter().fold(settings, |settings, (name, _)| {
            let settings = settings
                .text(&format!("endpoints.\"/{name}\".dialect"), name)
                .text(&format!("endpoints.\"/{name}\".group"), "health")
                .raw(&format!("endpoints.\"/{name}\".codes"), "{ healthy = 218, unhealthy = 530 }");
            match *name {
                "template" => settings.text("endpoints.\"/template\".body.status", "health.status"),
                _ => settings,
            }
        })
    });
    let all = |code: u16| {
        for (address, (name, word)) in both(&sidecar).into_iter().flat_map(|at| DOCUMENTS.map(|known| (at, known))) {
            let (path, kept) = (format!("/{name}"), name == "health-json");
            let answer = get(address, &path);
            assert_eq!(answer.status, code, "{name}");
            assert_eq!(answer.json()["status"] == word, code == 530, "{name}: {}", answer.text());
            assert_eq!(answer.field("cache-control"), Some(if kept { "max-age=1" } else { "no-store" }), "{name}");
            let head = ask(address, "HEAD", &path, &[], b"");
            assert_eq!((head.status, head.text(), media_type(&head)), (code, "", media_type(&answer)), "{name}");
            for method in ["POST", "PUT", "OPTIONS"] {
                let refused = ask(address, method, &path, &[], b"");
                assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")), "{name}");
                assert_eq!(refused.field("cache-control"), Some("no-store"), "{name}");
            }
        }
    };
    all(218);
    upstream.set_probe(500);
    sidecar.await_code("/ok", 530);
    all(530);
}

#[test]
fn the_apps_own_answers_below_an_endpoint_are_under_the_prefix() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        settings
            .text("proxy.passthrough_prefix", "/upstream")
            .text("endpoints.\"/actuator/health\".dialect", "actuator")
    });
    for path in ["/actuator/health", "/actuator/health/db", "/actuator/health/readiness"] {
        assert_ne!(sidecar.get(path).text(), "hello", "{path}");
        assert_eq!(sidecar.get(&format!("/upstream{path}")).text(), "hello", "{path}");
    }
    let seen: Vec<String> = upstream.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, ["/actuator/health", "/actuator/health/db", "/actuator/health/readiness"]);
}

/// Names that a stranger makes up must not push the endpoints out of the place for answers that are kept.
#[test]
fn paths_that_nobody_has_are_answered_and_forgotten() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| settings.text("endpoints.\"/actuator/health\".dialect", "actuator"));
    for number in 0..40 {
        assert_eq!(sidecar.get(&format!("/actuator/health/{number}")).status, 404);
    }
    for _ in 0..3 {
        assert_eq!(sidecar.get("/health").json()["status"], "healthy");
        assert_eq!(sidecar.get("/actuator/health").json()["status"], "UP");
    }
    let ranges = "application/json;q=0.1,".repeat(2000);
    let answer = ask(sidecar.traffic, "GET", "/actuator/health", &[("accept", &ranges)], b"");
    assert_eq!(answer.status, 200, "nobody reads a list of that length");
    assert!(upstream.seen().is_empty());
}
