//! Lines about requests: the access log, slow and failed requests by themselves, and a log that nobody reads.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Client, Next, PATIENCE, Settings, Sidecar, Upstream, eventually, eventually_some, home_with_login,
};

/// An app that answers by the path: a code, an answer that breaks off, or none.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        let path = exchange.seen.target.split('?').next().unwrap_or_default().to_owned();
        match path.as_str() {
            "/cut" => {
                exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
                Next::Close
            }
            "/hang" => {
                exchange.wait_until_gone();
                Next::Close
            }
            path => exchange.answer(path[1..].parse().unwrap_or(200), &[("set-cookie", "secret-in-answer")], b"hello"),
        }
    })
}

fn with_access(upstream: &Upstream) -> Settings {
    Sidecar::bare(upstream).raw("log.access", "true")
}

/// The lines about requests so far.
fn lines(sidecar: &Sidecar) -> Vec<Value> {
    let said = sidecar.process.said();
    let lines = said.iter().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"));
    lines.filter(|line| line["message"] == "request").collect()
}

/// Waits for so many of them.
#[track_caller]
fn await_lines(sidecar: &Sidecar, count: usize) -> Vec<Value> {
    let found = eventually_some(PATIENCE, "the lines are there", || Some(lines(sidecar)).filter(|l| l.len() >= count));
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

#[test]
fn every_request_has_a_line_and_no_line_has_a_secret() {
    let upstream = app();
    let sidecar = Sidecar::start(&with_access(&upstream).text("proxy.limits.body_bytes", "1000B"));
    let fields = [
        ("authorization", "Bearer secret-in-field"),
        ("cookie", "secret-in-cookie"),
        ("user-agent", "secret-agent"),
        ("x-forwarded-for", "198.51.100.7, 192.0.2.9"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let mut client = Client::connect(sidecar.traffic);
    assert_eq!(client.ask("POST", "/201?key=secret-in-query", &fields, b"secret-in-body").expect("answer").status, 201);
    let first = &await_lines(&sidecar, 1)[0];
    let keys: Vec<&str> = first.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "timestamp",
        "level",
        "message",
        "method",
        "path",
        "protocol",
        "status",
        "duration_ms",
        "ttfb_ms",
        "bytes_in",
        "bytes_out",
        "client",
        "trace_id",
    ];
    assert_eq!(keys, expected);
    for (key, value) in [
        ("level", "INFO"),
        ("method", "POST"),
        ("path", "/201"),
        ("protocol", "HTTP/1.1"),
        ("client", "192.0.2.9"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        assert_eq!(first[key], value, "{key}");
    }
    assert_eq!((&first["status"], &first["bytes_in"], &first["bytes_out"]), (&201.into(), &14.into(), &5.into()));
    let (duration, first_byte) = (first["duration_ms"].as_f64().expect("ms"), first["ttfb_ms"].as_f64().expect("ms"));
    assert!(0.0 < first_byte && first_byte <= duration && duration < 10_000.0, "{first}");
    assert!(first["timestamp"].as_str().is_some_and(|at| at.len() == 27 && at.ends_with('Z')), "{first}");

    assert_eq!(sidecar.get("/livez").status, 200);
    assert_eq!(sidecar.get("/200").status, 200);
    await_lines(&sidecar, 2);
    assert!(!sidecar.log().contains("secret"), "{}", sidecar.log());
}

#[test]
fn a_line_says_how_a_request_failed() {
    let upstream = app();
    let sidecar = Sidecar::start(&with_access(&upstream).text("proxy.limits.body_bytes", "1000B"));
    assert_eq!(sidecar.ask("POST", "/413", &[], &[b'x'; 1001]).status, 413);
    await_lines(&sidecar, 1);
    let mut malformed = Client::connect(sidecar.traffic);
    malformed.send(b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n").expect("bytes");
    assert_eq!(malformed.read().expect("an answer").status, 400);
    await_lines(&sidecar, 2);
    assert!(Client::connect(sidecar.traffic).ask("GET", "/cut", &[], b"").is_err());
    await_lines(&sidecar, 3);
    let mut leaving = Client::connect(sidecar.traffic);
    leaving.write("GET", "/hang", &[], b"").expect("a request");
    eventually(PATIENCE, "the app is asked", || upstream.seen().iter().any(|seen| seen.target == "/hang"));
    drop(leaving);
    await_lines(&sidecar, 4);
    sidecar.get(&format!("/{}", "long".repeat(1000)));
    let all = await_lines(&sidecar, 5);
    let brief: Vec<_> = all[..4].iter().map(|line| (&line["status"], &line["failure"], &line["code"])).collect();
    let (none, text) = (Value::Null, |text: &str| Value::from(text));
    assert_eq!(brief[0], (&413.into(), &text("rejected_limit"), &text("body_too_large")));
    assert_eq!(brief[1], (&400.into(), &text("invalid_request"), &text("bad_host")));
    assert_eq!(brief[2], (&200.into(), &text("upstream_reset"), &none));
    assert_eq!(brief[3], (&499.into(), &text("client_closed"), &none));
    assert_eq!((&all[1]["path"], &all[1]["method"], &all[1]["client"]), (&none, &text("other"), &text("127.0.0.1")));
    assert_eq!((&all[2]["level"], &all[3]["level"]), (&text("WARN"), &text("INFO")));
    assert_eq!(all[3]["ttfb_ms"], none);
    assert_eq!(all[4]["path"].as_str().expect("a path").chars().count(), 257);
}

#[test]
fn text_has_the_same_in_other_clothes() {
    let upstream = app();
    let home = home_with_login();
    let socket = home.path().join("traffic.sock");
    let listen = format!("unix:{}", socket.display());
    let settings = with_access(&upstream).text("log.format", "text").text("proxy.listen", &listen);
    let mut command = Sidecar::command(home.path(), &settings);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("a sidecar");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.next().is_some_and(|line| line.contains(" INFO started ")));
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("a connection");
    std::io::Write::write_all(&mut stream, b"GET /404?secret HTTP/1.0\r\nhost: a\r\n\r\n").expect("a request");
    let line = said.find(|line| line.contains(" request ")).expect("a line");
    let (time, rest) = line.split_at(27);
    assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
    let begin = "  INFO request method=GET path=/404 protocol=HTTP/1.0 status=404 duration_ms=";
    assert!(rest.starts_with(begin), "{line}");
    assert!(rest.ends_with(" bytes_in=0 bytes_out=5 failure=http_4xx"), "{line}");
    child.kill().expect("a sidecar to end");
    child.wait().expect("its end");
}

#[test]
fn slow_and_failed_requests_are_logged_by_themselves() {
    let (wait, waits) = mpsc::channel::<()>();
    let waits = std::sync::Mutex::new(waits);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        match exchange.seen.target.as_str() {
            "/slow" => {
                let _ = waits.lock().expect("the channel").recv_timeout(Duration::from_millis(300));
                exchange.answer(200, &[], b"at last")
            }
            "/cut" => {
                exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
                Next::Close
            }
            path => {
                let code = path[1..].parse().unwrap_or(200);
                exchange.answer(code, &[], b"")
            }
        }
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("log.slow_requests", "250ms"));
    // Nobody wants to hear of these.
    for code in [200, 404, 429, 529] {
        assert_eq!(sidecar.get(&format!("/{code}")).status, code);
    }
    assert_eq!(sidecar.get("/slow").status, 200);
    let slow = await_lines(&sidecar, 1).remove(0);
    assert_eq!((&slow["path"], &slow["slow"], &slow["level"]), (&"/slow".into(), &true.into(), &"WARN".into()));
    assert_eq!(sidecar.get("/500").status, 500);
    await_lines(&sidecar, 2);
    assert!(Client::connect(sidecar.traffic).ask("GET", "/cut", &[], b"").is_err());
    let failed = await_lines(&sidecar, 3);
    assert_eq!((&failed[1]["status"], &failed[1]["failure"]), (&500.into(), &"http_5xx".into()));
    assert_eq!((&failed[2]["path"], &failed[2]["failure"]), (&"/cut".into(), &"upstream_reset".into()));
    drop(wait);

    let quiet = Sidecar::bare(&upstream).raw("log.failed_requests", "false").text("log.slow_requests", "0");
    let mut quiet = Sidecar::start(&quiet);
    assert_eq!(quiet.get("/500").status, 500);
    quiet.terminate();
    assert_eq!(quiet.wait(PATIENCE).code(), Some(0));
    assert_eq!(lines(&quiet), [Value::Null; 0]);
}

#[test]
fn a_storm_of_failures_is_counted_and_not_written_out() {
    let settings =
        Sidecar::bare_for(crate::support::CLOSED_PORT).raw("proxy.retry.attempts", "0").raw("proxy.threads", "1");
    let sidecar = Sidecar::start(&settings);
    let mut client = Client::connect(sidecar.traffic);
    let mut ask = |times: usize| {
        for _ in 0..times {
            assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 502);
        }
    };
    ask(500);
    let left_out = |sidecar: &Sidecar| -> u64 {
        let said = sidecar.process.said();
        let lines = said.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter_map(|line| line["requests"].as_u64()).sum()
    };
    let mut asked = 500;
    // A next request after the second tells what was left out in it.
    eventually(PATIENCE, "it is told how many were left out", || {
        ask(1);
        asked += 1;
        left_out(&sidecar) > 0
    });
    // Counted is each when its answer has left.
    let counted = || sidecar.metric("pulsegate_errors_total", &["type=\"upstream_connect\""]);
    eventually(PATIENCE, "all are counted", || counted() == f64::from(asked));
    let written = lines(&sidecar).len() as u64;
    let seconds = left_out(&sidecar);
    assert!(written < 100 && seconds > 300, "{written} lines, {seconds} left out");
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let upstream = app();
    let home = home_with_login();
    let mut command = Sidecar::command(home.path(), &with_access(&upstream));
    let mut child = command.stderr(Stdio::piped()).spawn().expect("a sidecar");
    let mut said = BufReader::with_capacity(1, child.stderr.take().expect("a pipe"));
    let (traffic, admin) = addresses(&mut said);

    // From here on nobody reads. A pipe holds 64 KiB, the queue a mebibyte.
    let path = format!("/{}", "p".repeat(250));
    let dropped = || dropped(admin);
    assert_eq!(dropped(), 0.0);
    let mut client = Client::connect(traffic);
    for _ in 0..4000 {
        assert_eq!(client.ask("GET", &path, &[], b"").expect("an answer").status, 200);
    }
    let lost = dropped();
    assert!(lost > 100.0, "{lost}");
    let status = crate::support::get(admin, "/readyz").status;
    assert_eq!(status, 200);

    // Whoever reads again is told, and of all of them.
    let mut told = None;
    let mut whole = 0;
    while told.is_none() {
        let mut line = String::new();
        assert!(said.read_line(&mut line).expect("a line") > 0, "the log goes on");
        let line: Value = serde_json::from_str(&line).expect("no line is torn");
        whole += 1;
        told = line["lines"]
            .as_f64()
            .filter(|_| line["message"].as_str().is_some_and(|text| text.starts_with("log lines were dropped")));
    }
    assert_eq!(told, Some(lost));
    assert!(whole > 1000, "{whole} lines were kept");

    // And nobody waits at the end either, for long.
    for _ in 0..4000 {
        assert_eq!(client.ask("GET", &path, &[], b"").expect("an answer").status, 200);
    }
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let status = eventually_some(PATIENCE, "it ends", || child.try_wait().expect("a status"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let upstream = app();
    let home = home_with_login();
    let mut command = Sidecar::command(home.path(), &with_access(&upstream));
    let mut sidecar = Running(command.stderr(Stdio::piped()).spawn().expect("a sidecar"));
    let mut said = BufReader::with_capacity(1, sidecar.0.stderr.take().expect("a pipe"));
    let (traffic, admin) = addresses(&mut said);
    // The last that it says of itself.
    let mut line = String::new();
    while !line.contains("check changed") {
        line.clear();
        assert!(said.read_line(&mut line).expect("a line") > 0, "it runs");
    }
    // From here on nobody can read.
    drop(said);
    let mut client = Client::connect(traffic);
    let mut ask =
        |times| (0..times).for_each(|_| assert_eq!(client.ask("GET", "/", &[], b"").expect("one").status, 200));
    ask(200);
    eventually(PATIENCE, "200 lines are lost", || dropped(admin) == 200.0);
    // And no line is written about them, which would be lost as well.
    ask(1);
    eventually(PATIENCE, "one more is lost", || dropped(admin) == 201.0);
}

/// A sidecar that is killed with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a sidecar listens, by its first line.
fn addresses(said: &mut impl BufRead) -> (SocketAddr, SocketAddr) {
    let mut started = String::new();
    said.read_line(&mut started).expect("a line");
    let started: Value = serde_json::from_str(&started).expect("JSON");
    let address = |name: &str| started[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
    (address("listen"), address("admin"))
}

fn dropped(admin: SocketAddr) -> f64 {
    let text = crate::support::get(admin, "/metrics").text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("pulsegate_log_lines_dropped_total "));
    line.and_then(|count| count.parse::<f64>().ok()).expect("the metric")
}
