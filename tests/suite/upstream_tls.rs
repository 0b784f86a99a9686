//! An app behind TLS: verified, told apart by what is wrong with its certificate, and asked as any other.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::support::{
    AppCertificates, CertificateFiles, Client, PATIENCE, Process, Random, Response, SYSTEM_PATH, Settings, Sidecar,
    TlsFront, Upstream, Validity, ask, eventually, home_with_login, tls_config,
};

fn settings(port: u16, ca: &Path) -> Settings {
    Sidecar::bare_for(port)
        .text("proxy.upstream", &format!("https://localhost:{port}"))
        .text("proxy.upstream_tls.ca", &ca.display().to_string())
}

fn with_client(settings: Settings, issued: &CertificateFiles) -> Settings {
    settings
        .text("proxy.upstream_tls.cert", &issued.cert.display().to_string())
        .text("proxy.upstream_tls.key", &issued.key.display().to_string())
}

#[track_caller]
fn assert_refused(answer: &Response, code: &str, proxy_status: &str) {
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (502, Some(code)), "{answer:?}");
    let field = answer.field("proxy-status").expect("Proxy-Status");
    assert!(field.contains(&format!("error={proxy_status}")), "{field}");
}

#[test]
fn an_app_behind_tls_is_asked_as_any_other() {
    let authority = AppCertificates::new();
    let app = Upstream::start(|exchange| {
        exchange.read_body();
        let body = exchange.seen.body.clone();
        exchange.answer(200, &[], &body)
    });
    let front = TlsFront::start(app.port(), &authority.issue("localhost", Validity::Now), None, &[]);
    let sidecar = Sidecar::start(&settings(front.port(), &authority.file()).raw("proxy.threads", "1"));
    let mut client = Client::connect(sidecar.traffic);
    // Larger than any buffer on the way, in both directions.
    let body = Random(7).bytes(3_000_000);
    for _ in 0..3 {
        let answer = client.ask("POST", "/echo", &[], &body).expect("an answer");
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "the body came back changed");
    }
    assert_eq!(front.handshakes(), 1, "the connection is kept");
    assert_eq!(app.seen().len(), 3);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"idle\""], 1.0);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 0.0);
}

#[test]
fn each_trouble_with_a_certificate_has_its_own_code() {
    let (authority, stranger) = (AppCertificates::new(), AppCertificates::new());
    let app = Upstream::hello();
    for (issued, code) in [
        (authority.issue("localhost", Validity::Past), "upstream_certificate_expired"),
        (authority.issue("localhost", Validity::Future), "upstream_certificate_not_yet_valid"),
        (authority.issue("elsewhere.example", Validity::Now), "upstream_certificate_wrong_name"),
        (stranger.issue("localhost", Validity::Now), "upstream_certificate_unknown_issuer"),
        (stranger.self_signed("localhost"), "upstream_certificate_unknown_issuer"),
    ] {
        let front = TlsFront::start(app.port(), &issued, None, &[]);
        let sidecar = Sidecar::start(&settings(front.port(), &authority.file()));
        assert_refused(&sidecar.get("/"), code, "tls_certificate_error");
        assert_refused(&sidecar.get("/"), code, "tls_certificate_error");
        eventually(PATIENCE, "two failures to connect", || {
            sidecar.metric("pulsegate_errors_total", &["type=\"upstream_connect\""]) == 2.0
        });
        assert!(sidecar.log().contains(code), "the operator is told: {}", sidecar.log());
    }
    assert!(app.seen().is_empty(), "nothing of a request goes to an app that is not verified");
}

#[test]
fn without_a_file_the_authorities_of_the_system_decide() {
    let authority = AppCertificates::new();
    let app = Upstream::hello();
    let front = TlsFront::start(app.port(), &authority.issue("localhost", Validity::Now), None, &[]);
    let settings = settings(front.port(), &authority.file()).without("proxy.upstream_tls.ca");
    let system = AppCertificates::new();
    let sidecar = Sidecar::start_in(home_with_login(), &settings, |command| {
        // Where this system looks for its authorities.
        command.env("SSL_CERT_FILE", system.file());
    });
    assert_refused(&sidecar.get("/"), "upstream_certificate_unknown_issuer", "tls_certificate_error");
    let sidecar = Sidecar::start_in(home_with_login(), &settings, |command| {
        command.env("SSL_CERT_FILE", authority.file());
    });
    assert_eq!(sidecar.get("/").text(), "hello");
}

#[test]
fn the_name_can_be_another_than_the_hosts_and_a_certificate_can_be_trusted_by_itself() {
    let authority = AppCertificates::new();
    let app = Upstream::hello();
    let front = TlsFront::start(app.port(), &authority.issue("app.internal", Validity::Now), None, &[]);
    let named = settings(front.port(), &authority.file()).text("proxy.upstream_tls.server_name", "app.internal");
    assert_eq!(Sidecar::start(&named).get("/").text(), "hello");

    let own = authority.self_signed("localhost");
    let front = TlsFront::start(app.port(), &own, None, &[]);
    assert_eq!(Sidecar::start(&settings(front.port(), &own.cert)).get("/").text(), "hello");
    let wrong = settings(front.port(), &own.cert).text("proxy.upstream_tls.server_name", "other.internal");
    assert_refused(&Sidecar::start(&wrong).get("/"), "upstream_certificate_wrong_name", "tls_certificate_error");
}

#[test]
fn a_damaged_authority_is_refused_and_nothing_changes() {
    let (upstream, authority) = (Upstream::hello(), AppCertificates::new());
    let served = authority.issue("localhost", Validity::Now);
    let front = TlsFront::start(upstream.port(), &served, None, &[]);
    let home = home_with_login();
    let bundle = home.path().join("bundle.pem");
    let whole = std::fs::read_to_string(authority.file()).expect("a certificate");
    std::fs::write(&bundle, &whole).expect("a bundle");
    let settings = settings(front.port(), &bundle).raw("reload.watch", "false");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    assert_eq!(sidecar.get("/").status, 200);
    // Another authority, whole, and what is left of ours.
    let other = std::fs::read_to_string(AppCertificates::new().file()).expect("a certificate");
    let lines: Vec<&str> = whole.lines().collect();
    let cut = [&lines[..4], &lines[lines.len() - 1..]].concat().join("\n");
    std::fs::write(&bundle, format!("{other}{cut}\n")).expect("a bundle");
    let answer = ask(sidecar.admin, "POST", "/-/reload", &[], b"");
    assert_eq!(answer.status, 422);
    let said = format!("certificate 2 in {} is damaged", bundle.display());
    assert!(answer.text().contains(&said), "{}", answer.text());
    assert_eq!(sidecar.get("/").status, 200);
}

#[test]
fn an_app_that_asks_for_a_certificate_gets_ours() {
    let (authority, clients) = (AppCertificates::new(), AppCertificates::new());
    let app = Upstream::hello();
    let issued = authority.issue("localhost", Validity::Now);
    let front = TlsFront::start(app.port(), &issued, Some(&clients.file()), &[]);
    let base = settings(front.port(), &authority.file());
    assert_refused(&Sidecar::start(&base).get("/"), "upstream_tls_refused", "tls_alert_received");
    assert_refused(&Sidecar::start(&base).ask("POST", "/", &[], b"x"), "upstream_tls_refused", "tls_alert_received");
    let known = with_client(base.clone(), &clients.issue("sidecar", Validity::Now));
    assert_eq!(Sidecar::start(&known).get("/").text(), "hello");
    let stranger = with_client(base, &authority.issue("sidecar", Validity::Now));
    assert_refused(&Sidecar::start(&stranger).get("/"), "upstream_tls_refused", "tls_alert_received");
    assert_eq!(app.seen().len(), 1);
}

#[test]
fn an_app_that_speaks_no_tls_is_told_apart() {
    let authority = AppCertificates::new();
    // Speaks another protocol.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("an answer");
        // Until the sidecar has seen it.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let sidecar = Sidecar::start(&settings(port, &authority.file()));
    assert_refused(&sidecar.get("/"), "upstream_tls_failed", "tls_protocol_error");
    app.join().expect("the app");

    // Waits for a request in plain text, which never comes.
    let app = Upstream::hello();
    let settings = settings(app.port(), &authority.file()).text("proxy.timeouts.connect", "300ms");
    let sidecar = Sidecar::start(&settings);
    let answer = sidecar.get("/");
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["error"]["code"], "upstream_tls_timeout");
    eventually(PATIENCE, "a timeout", || {
        sidecar.metric("pulsegate_errors_total", &["type=\"upstream_timeout\""]) == 1.0
    });
}

#[test]
fn the_health_check_verifies_the_app_as_its_traffic_is() {
    let authority = AppCertificates::new();
    let app = Upstream::hello();
    let front = TlsFront::start(app.port(), &authority.issue("localhost", Validity::Now), None, &[]);
    let settings = settings(front.port(), &authority.file())
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "200ms")
        .raw("checks.app.groups", "[\"readiness\"]");
    drop(Sidecar::start(&settings).ready());
    let stranger = AppCertificates::new();
    let settings = settings.text("proxy.upstream_tls.ca", &stranger.file().display().to_string());
    let sidecar = Sidecar::start(&settings.raw("checks.app.failure_threshold", "1"));
    eventually(PATIENCE, "the check fails", || {
        sidecar.log().contains("\"check\":\"app\",\"from\":\"unknown\",\"to\":\"unhealthy\"")
    });
}

/// Nothing can be written to such an app any more, and what it said before is there to be read.
#[test]
fn an_app_that_refuses_a_body_and_closes_is_heard() {
    const ANSWER: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig";
    const RUNS: usize = 15;
    let authority = AppCertificates::new();
    let config = Arc::new(tls_config(&authority.issue("localhost", Validity::Now), None));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = std::thread::spawn(move || {
        for stream in listener.incoming().take(RUNS) {
            let stream = stream.expect("a client");
            // Else the answer may wait behind the session tickets, and go down with the connection.
            stream.set_nodelay(true).expect("a socket");
            let session = rustls::ServerConnection::new(config.clone()).expect("a session");
            let mut stream = rustls::StreamOwned::new(session, stream);
            let mut some = [0; 10_000];
            let _ = stream.read(&mut some).and_then(|_| stream.read(&mut some));
            let _ = stream.write_all(ANSWER).and_then(|()| stream.flush());
        }
    });
    let sidecar = Sidecar::start(&settings(port, &authority.file()));
    for run in 0..RUNS {
        let mut client = Client::connect(sidecar.traffic);
        let mut writing = client.stream();
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n").expect("a head");
        client.expect("POST");
        std::thread::scope(|scope| {
            scope.spawn(move || (0..300).all(|_| writing.write_all(&b"u".repeat(65_536)).is_ok()));
            let answer = client.read().expect("an answer");
            assert_eq!((answer.status, answer.text()), (413, "big"), "in run {run}");
            client.shut_down(std::net::Shutdown::Both);
        });
    }
    app.join().expect("the app");
}

/// An app that wants to renegotiate is told at once that we do not, before it says another word (RFC 5246 section 7.2.2).
#[test]
fn an_app_that_wants_to_renegotiate_is_refused_and_not_waited_for() {
    const APP: &str = "
        const [, cert, key] = process.argv, { readFileSync } = require('fs'), only = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' };
        const app = require('tls').createServer({ cert: readFileSync(cert), key: readFileSync(key), ...only }, (connection) => {
            connection.on('error', (error) => console.error(error.code));
            connection.once('data', () => connection.renegotiate({}, () => {}));
        });
        app.listen(0, '127.0.0.1', () => console.error(app.address().port));";
    let authority = AppCertificates::new();
    let issued = authority.issue("localhost", Validity::Now);
    let mut node = Command::new("node");
    node.env_clear().env("PATH", SYSTEM_PATH).args(["-e", APP]).args([&issued.cert, &issued.key]);
    let node = Process::start(&mut node);
    eventually(PATIENCE, "the app listens", || !node.said().is_empty());
    let port = node.said()[0].parse().expect("a port");
    let sidecar = Sidecar::start(&settings(port, &authority.file()));
    assert_eq!(sidecar.get("/").status, 502, "such an app gives up");
    eventually(PATIENCE, "it was told", || node.said().iter().any(|line| line == "ERR_SSL_NO_RENEGOTIATION"));
}

/// RFC 8446 section 6.1: else the app could not tell an end from a cut.
#[test]
fn connections_that_end_in_good_order_say_so() {
    let authority = AppCertificates::new();
    let config = Arc::new(tls_config(&authority.issue("localhost", Validity::Now), None));
    for field in ["connection: close\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let config = config.clone();
        let app = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let session = rustls::ServerConnection::new(config).expect("a session");
            let mut stream = rustls::StreamOwned::new(session, stream);
            let mut some = [0; 10_000];
            assert!(stream.read(&mut some).expect("a request") > 0);
            let answer = format!("HTTP/1.1 200 OK\r\n{field}content-length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).expect("an answer");
            stream.read(&mut some)
        });
        let settings = settings(port, &authority.file()).text("shutdown.lame_duck", "0s");
        let mut sidecar = Sidecar::start(&settings);
        assert_eq!(sidecar.get("/").text(), "ok");
        if field.is_empty() {
            sidecar.terminate();
            sidecar.wait(PATIENCE);
        }
        assert_eq!(app.join().expect("the app").expect("a proper end"), 0, "{field:?}");
    }
}
