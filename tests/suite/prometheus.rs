//! A real Prometheus scrapes the sidecar.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Client, Next, PATIENCE, Prometheus, Sidecar, Upstream, eventually, eventually_some, tool};

#[test]
fn prometheus_scrapes_it() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    for _ in 0..3 {
        assert_eq!(sidecar.get("/").status, 200);
    }
    let prometheus = Prometheus::start(&[sidecar.admin], "");
    let minute = Duration::from_secs(60);
    let answers = |expression: &str, value: &str| {
        eventually_some(minute, &format!("{expression} is {value}"), || {
            prometheus.value(expression).filter(|found| found == value)
        });
    };
    answers("up", "1");
    answers("claude_proxy_claude_cli_status", "1");
    answers("claude_proxy_requests_total{method=\"GET\",code=\"200\"}", "3");
    answers("claude_proxy_request_duration_seconds_count", "3");
    answers("claude_proxy_request_duration_seconds_bucket{le=\"+Inf\"}", "3");
    answers("claude_proxy_ready", "1");
}

/// What an app says at its `/metrics`: some of it stands beside ours, some of it cannot.
const OF_THE_APP: &[u8] =
    b"# HELP app_jobs_total Jobs.\n# TYPE app_jobs_total counter\napp_jobs_total{queue=\"a\"} 7\n\
    # TYPE pulsegate_ready gauge\npulsegate_ready 0\n# TYPE process_open_fds gauge\nprocess_open_fds 99999\n\
    <b>not a metric</b>\n# EOF\n";

#[test]
fn the_metrics_of_the_app_stand_beside_ours() {
    let upstream = Upstream::start(|exchange| {
        let is_asked_plainly = exchange.seen.field("accept") == Some("text/plain;version=0.0.4");
        exchange.answer(if is_asked_plainly { 200 } else { 406 }, &[], OF_THE_APP)
    });
    let settings = Sidecar::bare(&upstream).text("metrics.merge", "/metrics");
    let sidecar = Sidecar::start(&settings).ready();
    for text in [sidecar.admin("/metrics").text(), sidecar.get("/metrics").text()] {
        assert!(text.contains("\napp_jobs_total{queue=\"a\"} 7\n"), "{text}");
        assert!(text.contains("\npulsegate_ready 1\n") && !text.contains("99999"), "{text}");
        assert_eq!(promtool(text.as_bytes()), "", "{text}");
    }
    sidecar.assert_metric("pulsegate_metrics_merge_total", &["ok"], 3.0);
    assert!(sidecar.metric("pulsegate_metrics_merge_dropped_lines_total", &["clash"]) >= 8.0);
    assert!(sidecar.metric("pulsegate_metrics_merge_dropped_lines_total", &["malformed"]) >= 2.0);
    assert_eq!(sidecar.metric("pulsegate_requests_total", &[]), 0.0, "asking the app is not traffic");
}

#[test]
fn our_metrics_are_there_whatever_becomes_of_the_apps() {
    const MEBIBYTE: usize = 1 << 20;
    type Answer = fn(&mut crate::support::Exchange) -> Next;
    let cases: [(&str, Answer); 5] = [
        ("failed", |exchange| exchange.answer(500, &[], b"app_jobs_total 7\n")),
        ("failed", |_| Next::Reset),
        ("timeout", |_| {
            std::thread::park_timeout(Duration::from_secs(60));
            Next::Close
        }),
        ("too_large", |exchange| exchange.answer(200, &[], &b"app_jobs_total 7\n".repeat(MEBIBYTE))),
        ("failed", |exchange| exchange.answer(200, &[("content-type", "text/html")], b"<html>\n<p>Welcome\n</html>\n")),
    ];
    for (result, answer) in cases {
        let upstream = Upstream::start(answer);
        let settings = Sidecar::bare(&upstream).text("metrics.merge", "/metrics").text("metrics.merge_timeout", "1s");
        let sidecar = Sidecar::start(&settings).ready();
        let mut client = Client::connect(sidecar.admin);
        // Prometheus waits for a quarter of a second, so the app may take a fifth.
        let fields = [("x-prometheus-scrape-timeout-seconds", "0.25")];
        let fields = if result == "timeout" { &fields[..] } else { &[] };
        let answer = client.ask("GET", "/metrics", fields, b"").expect("an answer");
        assert_eq!(answer.status, 200, "{result}");
        let text = answer.text();
        assert!(text.contains("\npulsegate_ready 1\n") && !text.contains("app_jobs"), "{result}: {text}");
        sidecar.assert_metric("pulsegate_metrics_merge_total", &[result], 1.0);
    }
}

/// Each of these lines would cost the whole scrape.
const REFUSED: &[u8] = b"app_a -nan\napp_b +nan\napp_c 1e999\napp_d{a=\"1\",a=\"2\"} 1\n\
    app_e{a=\"1\",b=\"2\",a=\"1\"} 1\napp_f{__name__=\"pulsegate_ready\"} 7\napp_g 1 -5\napp_h 1 +5\n# TYPE app_i  gauge\n\
    app_i 1\napp_j 1\x0c5\napp_k\r1\napp_l \x0c1\npulsegate_check_reason 1\napp_last 5\n";

#[test]
fn no_line_of_the_app_costs_a_scrape() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], REFUSED));
    let settings = Sidecar::bare(&upstream).text("metrics.merge", "/metrics");
    let sidecar = Sidecar::start(&settings).ready();
    let prometheus = Prometheus::start(&[sidecar.admin], "");
    for (expression, value) in [("app_i", "1"), ("app_last", "5"), ("pulsegate_ready", "1"), ("up", "1")] {
        eventually_some(Duration::from_secs(60), &format!("{expression} is {value}"), || {
            prometheus.value(expression).filter(|found| found == value)
        });
    }
    let metadata = prometheus.get("/api/v1/metadata?metric=app_i");
    assert_eq!(metadata["app_i"][0]["type"], "gauge", "{metadata}");
    let text = sidecar.admin("/metrics").text().to_owned();
    assert!(!text.contains("pulsegate_check_reason"), "a name of ours, though it is absent: {text}");
}

#[test]
fn who_asks_at_the_traffic_port_takes_no_place_of_prometheus() {
    const STRANGERS: usize = 6;
    // Those that ask first wait; all that come later are answered.
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start(move |exchange| {
        if asked.fetch_add(1, Ordering::Relaxed) < 4 {
            std::thread::park_timeout(Duration::from_secs(60));
        }
        exchange.answer(200, &[], b"app_jobs_total 7\n")
    });
    let settings = Sidecar::bare(&upstream).text("metrics.merge", "/metrics").text("metrics.merge_timeout", "1m");
    let sidecar = Sidecar::start(&settings).ready();
    let mut strangers: Vec<_> = (0..STRANGERS).map(|_| Client::connect(sidecar.traffic)).collect();
    for stranger in &mut strangers {
        stranger.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    }
    eventually(PATIENCE, "four strangers wait for the app", || upstream.seen().len() == 4);
    let text = sidecar.admin("/metrics").text().to_owned();
    assert!(text.contains("\napp_jobs_total 7\n"), "{text}");
}

#[test]
fn promtool_has_nothing_to_say() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        let code = exchange.seen.target.trim_start_matches('/').parse().unwrap_or(200);
        exchange.answer(code, &[], b"x")
    });
    for settings in [Sidecar::full(&upstream), Sidecar::bare(&upstream)] {
        let sidecar = Sidecar::start(&settings).ready();
        for path in ["/200", "/404", "/429", "/500", "/529"] {
            sidecar.get(path);
        }
        let text = sidecar.admin("/metrics").body;
        assert_eq!(promtool(&text), "", "{}", String::from_utf8_lossy(&text));
    }
}

/// What promtool finds wrong with metrics.
fn promtool(metrics: &[u8]) -> String {
    let mut promtool = Command::new(tool("prometheus/bin/promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().expect("a pipe").write_all(metrics).expect("the metrics");
    let output = promtool.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}
