//! Checks of other servers: TLS, DNS, gRPC, and the health bodies of dependencies.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, ResourceRecord, TYPE};

use crate::local_checks::{KEY, await_status, await_told, telling};
use crate::support::{
    AppCertificates, CLOSED_PORT, CertificateFiles, Client, PATIENCE, Process, SYSTEM_PATH, Settings, Sidecar,
    TlsFront, Upstream, Validity, await_value, eventually, eventually_some, free_port, home_with_login, local, run,
    tool,
};

/// A check that is asked all the time, of something that takes a moment.
fn steady(settings: Settings, name: &str) -> Settings {
    ["interval", "fast_interval", "timeout"]
        .into_iter()
        .fold(settings, |settings, key| settings.text(&format!("checks.{name}.{key}"), "500ms"))
        .raw(&format!("checks.{name}.failure_threshold"), "1")
}

/// A server of another protocol, which speaks first.
fn babbler() -> u16 {
    let listener = TcpListener::bind(local(0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        // Ends with the test program.
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"220 mail.example ready\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    port
}

#[test]
fn a_certificate_is_judged_before_it_expires() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let (certificates, others) = (AppCertificates::new(), AppCertificates::new());
    let front = |issued: &CertificateFiles| TlsFront::start(upstream.port(), issued, None, &[]);
    let servers = [
        ("good", front(&certificates.issue("127.0.0.1", Validity::Now)), "healthy", ""),
        ("soon", front(&certificates.issue("127.0.0.1", Validity::Days(10))), "degraded", "that expires in 10 days"),
        ("expired", front(&certificates.issue("127.0.0.1", Validity::Past)), "unhealthy", "that has expired"),
        ("future", front(&certificates.issue("127.0.0.1", Validity::Future)), "unhealthy", "that is not valid yet"),
        ("name", front(&certificates.issue("other.example", Validity::Now)), "unhealthy", "for another name"),
        ("stranger", front(&others.issue("127.0.0.1", Validity::Now)), "unhealthy", "that is not trusted here"),
    ];
    let mut settings = telling(&upstream, &home.path().join("key"));
    let mut add = |name: &str, port: u16| {
        settings = steady(std::mem::take(&mut settings), name)
            .text(&format!("checks.{name}.tls.address"), &format!("127.0.0.1:{port}"))
            .text(&format!("checks.{name}.tls.ca"), &certificates.file().display().to_string());
    };
    servers.iter().for_each(|(name, front, ..)| add(name, front.port()));
    add("named", servers[4].1.port());
    add("plain", babbler());
    add("nobody", CLOSED_PORT);
    let settings = settings.text("checks.named.tls.server_name", "other.example");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    for (name, _, status, words) in &servers {
        let told = await_status(&sidecar, name, status);
        assert!(told["error"].as_str().unwrap_or_default().ends_with(words), "{name}: {told}");
        assert!(told["latency_ms"].is_number(), "{told}");
    }
    assert_eq!(await_status(&sidecar, "named", "healthy")["error"], Value::Null);
    assert_eq!(await_status(&sidecar, "soon", "degraded")["days_left"], 10);
    assert_eq!(await_status(&sidecar, "expired", "unhealthy")["certificate_expires"], "2001-01-01T00:00:00Z");
    assert_eq!(await_status(&sidecar, "plain", "unhealthy")["error"], "plain does not speak TLS as it should");
    assert_eq!(await_status(&sidecar, "nobody", "unhealthy")["error"], "nobody cannot connect");
    let expiry = sidecar.metric("pulsegate_certificate_expiry_timestamp_seconds", &["check=\"soon\""]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs() as f64;
    assert!((expiry - now - 10.0 * 86_400.0).abs() < 2.0 * 3600.0, "{expiry}");
}

/// An nginx with this certificate, and what it has at `/health`.
fn nginx(home: &Path, issued: &CertificateFiles, port: u16) -> Process {
    let config = format!(
        "daemon off; pid {home}/nginx.pid; error_log {home}/error.log; worker_processes 1; \
         events {{ worker_connections 64; }} http {{ access_log off; client_body_temp_path {home}/a; \
         proxy_temp_path {home}/b; fastcgi_temp_path {home}/c; uwsgi_temp_path {home}/d; scgi_temp_path {home}/e; \
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; \
         location /health {{ default_type application/json; return 200 '{{\"status\":\"UP\"}}'; }} }} }}",
        home = home.display(),
        cert = issued.cert.display(),
        key = issued.key.display(),
    );
    std::fs::write(home.join("nginx.conf"), config).expect("a configuration");
    let mut command = Command::new(tool("nginx/bin/nginx"));
    command.env_clear().env("PATH", SYSTEM_PATH).arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf"));
    Process::start(command.stdout(Stdio::null()))
}

#[test]
fn nginx_is_shaken_hands_with_and_asked() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let certificates = AppCertificates::new();
    let folder = tempfile::tempdir().expect("a directory");
    let (port, issued) = (free_port(), certificates.issue("127.0.0.1", Validity::Days(100)));
    let ca = certificates.file().display().to_string();
    let settings = steady(steady(telling(&upstream, &home.path().join("key")), "tls"), "http")
        .text("checks.tls.tls.address", &format!("127.0.0.1:{port}"))
        .text("checks.tls.tls.ca", &ca)
        .text("checks.http.http.url", &format!("https://127.0.0.1:{port}/health"))
        .text("checks.http.http.ca", &ca)
        .raw("checks.http.http.health", "true");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    await_status(&sidecar, "tls", "unhealthy");
    let mut nginx = nginx(folder.path(), &issued, port);
    let told = await_status(&sidecar, "tls", "healthy");
    assert_eq!(told["days_left"], 100);
    let asked = await_status(&sidecar, "http", "healthy");
    assert_eq!((&asked["health"], &asked["certificate_expires"]), (&json!("healthy"), &told["certificate_expires"]));
    nginx.signal(Signal::TERM);
    nginx.wait(PATIENCE);
    await_status(&sidecar, "tls", "unhealthy");
}

#[test]
fn without_descriptors_of_ours_nothing_is_said_of_others() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let key = home.path().join("key").display().to_string();
    let address = upstream.port();
    let settings = [
        ("app", "http.path", Upstream::PROBE.to_owned()),
        ("port", "tcp.address", format!("127.0.0.1:{address}")),
        ("name", "dns.name", "a.example".to_owned()),
        ("cache", "redis.url", format!("redis://127.0.0.1:{address}")),
        ("mysql", "mysql.url", format!("mysql://a@127.0.0.1:{address}")),
        ("remote", "grpc.url", format!("h2c://127.0.0.1:{address}")),
        ("front", "tls.address", format!("127.0.0.1:{address}")),
        ("file", "file.path", key),
        ("folder", "directory.path", home.path().display().to_string()),
        ("program", "process.name", "pulsegate".to_owned()),
        ("sums", "integrity.directory", home.path().display().to_string()),
    ];
    let sums = home.path().join("sums").display().to_string();
    let server = UdpSocket::bind(local(0)).expect("a port").local_addr().expect("an address").to_string();
    let settings = settings.iter().fold(telling(&upstream, &home.path().join("key")), |known, (name, key, value)| {
        steady(known, name).text(&format!("checks.{name}.{key}"), value)
    });
    let hashed = run(Command::new("sha256sum").arg("key").current_dir(home.path()));
    std::fs::write(&sums, hashed.stdout).expect("a manifest");
    let settings = settings.text("checks.name.dns.server", &server).text("checks.sums.integrity.manifest", &sums);
    let settings = settings.text("proxy.timeouts.idle", "0");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    let good = ["app", "port", "file", "folder", "program", "sums"];
    for name in good {
        await_status(&sidecar, name, "healthy");
    }
    let mut admin = Client::connect(sidecar.admin);
    let mut ask = |path: &str| admin.ask("GET", path, &[("X-API-Key", KEY)], b"").expect("an answer");
    assert_eq!(ask("/readyz").status, 503, "others are not there");
    let process = i32::try_from(sidecar.process.id()).ok().and_then(Pid::from_raw);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |most| prlimit(process, Resource::Nofile, Rlimit { current: Some(most), maximum }).expect("a limit");
    // Not one more than there are.
    limit(3);
    let sentence = "was not asked: pulsegate has no file descriptor, port or memory left";
    for name in ["name", "cache", "mysql", "remote", "front"] {
        let told = || ask("/told").json()["components"][name].clone();
        await_value(name, told, |told| told["error"] == format!("{name} {sentence}"));
    }
    for name in good {
        let series = format!("pulsegate_check_runs_total{{check=\"{name}\",outcome=\"inconclusive\"}} ");
        eventually(PATIENCE, "several runs", || {
            let text = ask("/metrics").text().to_owned();
            let runs = text.lines().find_map(|line| line.strip_prefix(&*series)?.parse().ok());
            runs.is_some_and(|runs: f64| runs >= 3.0)
        });
        assert_eq!(ask("/told").json()["components"][name]["status"], "healthy");
    }
    limit(1024);
    let log = sidecar.log();
    assert!(good.iter().all(|name| log.matches(&format!("\"check\":\"{name}\"")).count() == 1), "{log}");
}

/// A server that reads what it is asked, says this, and closes, or resets.
fn closer(says: &'static [u8], resets: bool) -> u16 {
    let listener = TcpListener::bind(local(0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        // Ends with the test program.
        for mut stream in listener.incoming().flatten() {
            // What is not read when a socket closes makes a reset of it.
            let room = if resets { 1 } else { 64 * 1024 };
            let _ = stream.read(&mut vec![0; room]);
            let _ = stream.write_all(says);
        }
    });
    port
}

#[test]
fn who_closes_without_an_answer_is_told_from_who_answers_in_another_protocol() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let servers: [(&str, &'static [u8], bool); 6] = [
        ("close", b"", false),
        ("reset", b"", true),
        ("head", b"HTTP/1.1 200 OK\r\nContent-", false),
        ("body", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot so much", false),
        ("garbage", b"220 mail.example ready\r\n", false),
        ("number", b"HTTP/1.1 abc OK\r\n\r\n", false),
    ];
    let key = home.path().join("key");
    let settings = servers.iter().fold(telling(&upstream, &key), |settings, (name, says, resets)| {
        let url = format!("http://127.0.0.1:{}/", closer(says, *resets));
        steady(settings, name).text(&format!("checks.{name}.http.url"), &url)
    });
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    for (name, ..) in &servers {
        await_status(&sidecar, name, "unhealthy");
    }
    for (name, ..) in &servers {
        let line =
            sidecar.log().lines().find(|line| line.contains(&format!("\"check\":\"{name}\""))).map(str::to_owned);
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let (code, sentence) = match *name {
            "garbage" | "number" => ("not_http", "does not answer in HTTP"),
            _ => ("connection_closed", "closes the connection before it has answered"),
        };
        assert_eq!((&line["code"], &line["sentence"]), (&json!(code), &json!(sentence)), "{line}");
    }
}

/// gRPC's own server, and its port.
fn grpc_server(arguments: &[&str]) -> (Process, u16) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/grpc/health_server.py");
    let mut command = Command::new(tool("grpc/bin/python"));
    command.env_clear().env("PATH", SYSTEM_PATH).arg(script).args(arguments).stdout(Stdio::null());
    let server = Process::start(&mut command);
    let port = eventually_some(PATIENCE, "the server listens", || server.said().first()?.parse().ok());
    (server, port)
}

#[test]
fn a_grpc_server_is_asked_by_its_own_health_service() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let certificates = AppCertificates::new();
    let issued = certificates.issue("127.0.0.1", Validity::Now);
    let (mut server, port) = grpc_server(&["with"]);
    let (_without, other) = grpc_server(&["without"]);
    let (_secure, secure) =
        grpc_server(&["with", &issued.cert.display().to_string(), &issued.key.display().to_string()]);
    let mut settings = telling(&upstream, &home.path().join("key"));
    for (name, url, service) in [
        ("whole", format!("h2c://127.0.0.1:{port}"), ""),
        ("up", format!("h2c://127.0.0.1:{port}"), "app.Up"),
        ("down", format!("h2c://127.0.0.1:{port}"), "app.Down"),
        ("nobody", format!("h2c://127.0.0.1:{port}"), "app.Nobody"),
        ("without", format!("h2c://127.0.0.1:{other}"), ""),
        ("secure", format!("https://127.0.0.1:{secure}"), "app.Up"),
        ("http1", format!("h2c://127.0.0.1:{}", babbler()), ""),
    ] {
        settings = steady(settings, name)
            .text(&format!("checks.{name}.grpc.url"), &url)
            .text(&format!("checks.{name}.grpc.service"), service);
    }
    let settings = settings.text("checks.secure.grpc.ca", &certificates.file().display().to_string());
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    for name in ["whole", "up", "secure"] {
        let told = await_status(&sidecar, name, "healthy");
        assert_eq!((&told["serving_status"], &told["grpc_status"]), (&json!("SERVING"), &json!(0)), "{name}");
    }
    for (name, words) in [
        ("down", "down says that it does not serve"),
        ("nobody", "nobody does not know the service"),
        ("without", "without has no health service"),
        ("http1", "http1 does not answer in HTTP/2"),
    ] {
        assert_eq!(await_status(&sidecar, name, "unhealthy")["error"], words);
    }
    server.signal(Signal::USR1);
    assert_eq!(await_status(&sidecar, "up", "unhealthy")["serving_status"], "NOT_SERVING");
    server.signal(Signal::USR2);
    await_status(&sidecar, "up", "healthy");
    // It accepts and never answers.
    server.signal(Signal::STOP);
    assert_eq!(await_status(&sidecar, "up", "unhealthy")["error"], "up did not answer in time");
    server.signal(Signal::CONT);
    await_status(&sidecar, "up", "healthy");
    server.kill();
    assert_eq!(await_status(&sidecar, "up", "unhealthy")["error"], "up cannot connect");
}

/// A name server that knows so many addresses of every name, and none of IPv6; with more than there is room for, it says so.
fn name_server(addresses: Arc<AtomicUsize>) -> u16 {
    let socket = UdpSocket::bind(local(0)).expect("a port");
    let port = socket.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        // Ends with the test program.
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let Ok(query) = Packet::parse(&buffer[..length]) else { continue };
            let is_v4 = query.questions.iter().any(|question| question.qtype == TYPE::A.into());
            let count = if is_v4 { addresses.load(SeqCst) } else { 0 };
            let mut reply = query.into_reply();
            if count > 100 {
                reply.set_flags(PacketFlag::TRUNCATION);
            }
            for number in 1..=count.min(5) {
                let data = RData::A(A { address: 0x7f00_0000 + number as u32 });
                reply.answers.push(ResourceRecord::new(Name::new_unchecked("app.example"), CLASS::IN, 1, data));
            }
            let _ = socket.send_to(&reply.build_bytes_vec().expect("bytes"), peer);
        }
    });
    port
}

#[test]
fn names_are_looked_up() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let known = Arc::new(AtomicUsize::new(2));
    let server = format!("127.0.0.1:{}", name_server(known.clone()));
    let silent = UdpSocket::bind(local(0)).expect("a port");
    let mut settings = telling(&upstream, &home.path().join("key"))
        .text("checks.system.dns.name", "localhost")
        .text("checks.app.dns.name", "app.example")
        .text("checks.app.dns.server", &server)
        .raw("checks.app.dns.min_count", "2")
        .raw("checks.app.dns.expect", "[\"127.0.0.2\"]")
        .text("checks.silent.dns.name", "app.example")
        .text("checks.silent.dns.server", &format!("127.0.0.1:{}", silent.local_addr().expect("an address").port()));
    for name in ["system", "app", "silent"] {
        settings = steady(settings, name);
    }
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    let told = await_status(&sidecar, "system", "healthy");
    assert!(told["addresses"].as_array().is_some_and(|list| list.contains(&json!("127.0.0.1"))), "{told}");
    let told = await_status(&sidecar, "app", "healthy");
    assert_eq!((&told["count"], &told["addresses"]), (&json!(2), &json!(["127.0.0.1", "127.0.0.2"])));
    assert!(!sidecar.admin("/told").text().contains("127.0.0.2"), "a stranger learns how many");
    known.store(1, SeqCst);
    assert_eq!(await_status(&sidecar, "app", "unhealthy")["error"], "app has 1 addresses, 2 are needed");
    known.store(0, SeqCst);
    await_told(&sidecar, "app", |told| told["count"] == 0);
    known.store(1000, SeqCst);
    await_told(&sidecar, "app", |told| told["error"] == "app cannot be resolved");
    assert_eq!(await_status(&sidecar, "silent", "unhealthy")["error"], "silent did not answer in time");
    known.store(3, SeqCst);
    await_status(&sidecar, "app", "healthy");
}

#[test]
fn a_dependency_tells_of_its_own_health() {
    // The dependency is an app behind a sidecar that answers in every dialect that it knows; others are written down.
    let app = Upstream::start(|exchange| {
        exchange.read_body();
        let (code, body) = match exchange.seen.target.as_str() {
            "/pass" => (200, r#"{"status":"pass","checks":{"db:rows":[{"status":"pass"}]}}"#),
            "/warn" => (200, r#"{"status":"warn","checks":{"db:rows":[{"status":"warn"}]}}"#),
            "/down" => (503, r#"{"status":"DOWN","components":{"db":{"status":"DOWN"},"disk":{"status":"UP"}}}"#),
            "/liar" => (503, r#"{"status":"healthy"}"#),
            "/html" => (200, "<html>fine</html>"),
            _ => (200, ""),
        };
        if exchange.seen.target == "/large" {
            let body = format!("{{\"status\":\"UP\",\"pad\":\"{}\"}}", "x".repeat(100 << 20));
            return exchange.answer(200, &[], body.as_bytes());
        }
        exchange.answer(code, &[], body.as_bytes())
    });
    let dependency = Sidecar::start(&Sidecar::bare(&app)).ready();
    let home = home_with_login();
    let mut settings = telling(&app, &home.path().join("key"));
    let mut add = |name: &str, port: u16, path: &str| {
        settings = steady(std::mem::take(&mut settings), name)
            .text(&format!("checks.{name}.http.url"), &format!("http://127.0.0.1:{port}{path}"))
            .raw(&format!("checks.{name}.http.health"), "true");
    };
    for name in ["pass", "warn", "down", "liar", "html", "large", "empty"] {
        add(name, app.port(), &format!("/{name}"));
    }
    add("kubernetes", dependency.admin.port(), "/readyz?verbose");
    let settings = settings.text("checks.large.interval", "5s").text("checks.large.timeout", "5s");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});

    assert_eq!(await_status(&sidecar, "pass", "healthy")["components"], json!({ "db:rows": "healthy" }));
    await_status(&sidecar, "empty", "healthy");
    let warn = await_status(&sidecar, "warn", "degraded");
    assert_eq!((&warn["health"], &warn["error"]), (&json!("degraded"), &json!("warn says that it is degraded")));
    let down = await_status(&sidecar, "down", "unhealthy");
    assert_eq!(
        (&down["error"], &down["error_detail"]),
        (&json!("down says that it is unhealthy"), &json!("db unhealthy"))
    );
    assert_eq!(down["components"], json!({ "db": "unhealthy", "disk": "healthy" }));
    assert_eq!(await_status(&sidecar, "liar", "unhealthy")["error"], "liar answers with status 503");
    let html = await_status(&sidecar, "html", "unhealthy");
    assert_eq!((&html["health"], &html["components"]), (&Value::Null, &Value::Null));
    assert_eq!(html["error"], "html does not tell of its health in a way that is known");
    let large = await_status(&sidecar, "large", "unhealthy");
    assert_eq!(large["error"], "large answers with a body of more than 256 KiB");
    assert!(sidecar.process.resident_kib() < 96 * 1024, "{} KiB", sidecar.process.resident_kib());
    let kubernetes = await_status(&sidecar, "kubernetes", "healthy");
    assert_eq!(kubernetes["components"]["engine"], "healthy", "{kubernetes}");
    assert!(!sidecar.admin("/told").text().contains("disk"), "a stranger does not learn of what it is made");
}
