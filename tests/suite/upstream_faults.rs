//! Connections to the app that end, or never begin, at moments when nobody looks.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{AppCertificates, Client, Next, PATIENCE, Sidecar, Upstream, always, eventually};

fn code(answer: &crate::support::Response) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn sockets_that_lead_nowhere_are_told_apart_from_an_app_that_is_slow() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("file"), "").expect("a file");
    drop(UnixListener::bind(path("left")).expect("a socket that its app left behind"));
    for name in ["missing", "file", "left"] {
        let sidecar = Sidecar::start(&Sidecar::bare_for(1).text("proxy.upstream", &format!("unix:{}", path(name))));
        assert_eq!(code(&sidecar.get("/")), (502, "upstream_connect_refused".into()), "{name}");
        eventually(PATIENCE, "it is counted", || {
            sidecar.metric("pulsegate_errors_total", &["type=\"upstream_connect\""]) == 1.0
        });
    }
    let nowhere = format!("unix:{}", folder.path().join("file/below").display());
    let sidecar = Sidecar::start(&Sidecar::bare_for(1).text("proxy.upstream", &nowhere));
    assert_eq!(code(&sidecar.get("/")), (502, "upstream_unreachable".into()));
}

/// An app's Unix socket with as much in its queue as there is room for.
fn full_socket(path: &Path) -> (UnixListener, Vec<Socket>) {
    let address = SockAddr::unix(path).expect("an address");
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.bind(&address).expect("a socket file");
    listener.listen(0).expect("listening");
    let knock = || {
        let knocking = socket();
        knocking.set_nonblocking(true).expect("an option");
        knocking.connect(&address).is_ok().then_some(knocking)
    };
    (listener.into(), std::iter::from_fn(knock).collect())
}

#[test]
fn a_full_queue_of_a_unix_socket_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app");
    let (listener, knocking) = full_socket(&path);
    let settings = Sidecar::bare_for(1)
        .text("proxy.upstream", &format!("unix:{}", path.display()))
        .text("proxy.timeouts.connect", "30s");
    let sidecar = Sidecar::start(&settings);
    let mut clients = ["GET", "POST"].map(|method| {
        let mut client = Client::connect(sidecar.traffic);
        client.write(method, "/", &[], if method == "POST" { b"once" } else { b"" }).expect("a request");
        client
    });
    always(Duration::from_millis(500), "they wait", || sidecar.metric("pulsegate_errors_total", &[]) == 0.0);
    drop(knocking);
    let app = std::thread::spawn(move || {
        let mut served = 0;
        while served < 2 {
            let (mut stream, _) = listener.accept().expect("a connection");
            // Those who knocked have gone without a word.
            if matches!(stream.read(&mut [0; 1024]), Ok(1..)) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nthere").expect("a sidecar");
                served += 1;
            }
        }
    });
    for client in &mut clients {
        assert_eq!(client.read().expect("an answer").text(), "there");
    }
    app.join().expect("the app");
    sidecar.assert_metric("pulsegate_retries_total", &[], 0.0);
}

#[test]
fn a_unix_socket_whose_queue_stays_full_is_a_504() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app");
    let _full = full_socket(&path);
    let settings = Sidecar::bare_for(1)
        .text("proxy.upstream", &format!("unix:{}", path.display()))
        .text("proxy.timeouts.connect", "300ms")
        .raw("checks.app.http", "{ path = \"/health\" }")
        .text("checks.app.interval", "200ms")
        .text("checks.app.timeout", "200ms");
    let sidecar = Sidecar::start(&settings);
    let begun = Instant::now();
    assert_eq!(code(&sidecar.get("/")), (504, "upstream_connect_timeout".into()));
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"upstream_timeout\""], 1.0);
    let said = "\"check\":\"app\",\"from\":\"unknown\",\"to\":\"unhealthy\",\"code\":\"timeout\"";
    eventually(PATIENCE, "its check says the same", || sidecar.log().contains(said));
}

/// What happens to a kept connection between two requests costs nobody anything, a POST included.
#[test]
fn a_kept_connection_may_end_in_any_way() {
    for (how, next) in [("closed", Next::Close), ("reset", Next::Reset), ("garbage", Next::Keep)] {
        let app = Upstream::start(move |exchange| {
            exchange.read_body();
            if how == "garbage" {
                exchange.write(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello\
                      HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
                );
            } else {
                exchange.answer(200, &[], b"hello");
            }
            next
        });
        let sidecar = Sidecar::start(&Sidecar::bare(&app).raw("proxy.threads", "1"));
        let mut client = Client::connect(sidecar.traffic);
        for round in 1..=5 {
            let method = if round % 2 == 0 { "POST" } else { "GET" };
            let answer = client.ask(method, "/", &[], if method == "POST" { b"body" } else { b"" }).expect("an answer");
            assert_eq!((answer.status, answer.text()), (200, "hello"), "{how}, round {round}");
            // A POST that meets an end that is only beginning could not be saved by anybody.
            eventually(PATIENCE, "the app has closed it, or was left by us", || app.open() == 0);
        }
        assert_eq!(app.seen().len(), 5, "{how}: nothing is sent twice");
        eventually(Duration::from_secs(15), "what has ended is not counted", || {
            sidecar.metric("pulsegate_upstream_connections", &[]) == 0.0
        });
    }
}

#[test]
fn a_body_that_comes_later_is_at_hand_for_a_second_connection() {
    let asked = AtomicUsize::new(0);
    let app = Upstream::start(move |exchange| {
        exchange.read_body();
        if asked.fetch_add(1, SeqCst) == 1 { Next::Reset } else { exchange.answer(200, &[], b"there") }
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&app).raw("proxy.threads", "1"));
    let mut client = Client::connect(sidecar.traffic);
    assert_eq!(client.ask("GET", "/warm", &[], b"").expect("an answer").status, 200);
    client.send(b"PUT / HTTP/1.1\r\nhost: app\r\ncontent-length: 11\r\n\r\n").expect("a head");
    eventually(PATIENCE, "the app has the head", || app.seen().len() == 2);
    client.send(b"all of ").expect("a part");
    client.send(b"this").expect("the rest");
    client.expect("PUT");
    let answer = client.read().expect("an answer");
    assert_eq!((answer.status, answer.text()), (200, "there"));
    assert!(app.seen()[1..].iter().all(|seen| seen.body == b"all of this"), "{:?}", app.seen());
    assert_eq!(app.seen().len(), 3);
}

/// What HTTP/1.0 can be told by a reset alone is prepared when such an answer begins, and must end with it.
#[test]
fn an_answer_after_a_broken_one_arrives_whole() {
    let large = vec![b'x'; 2_000_000];
    let expected = large.clone();
    let app = Upstream::start(move |exchange| {
        if exchange.seen.target == "/large" {
            return exchange.answer(200, &[], &large);
        }
        exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&app));
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"GET /broken HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").expect("sent");
    client.expect("GET");
    assert_eq!(code(&client.read().expect("an answer")), (502, "upstream_invalid_response".into()));
    client.send(b"GET /large HTTP/1.0\r\n\r\n").expect("sent");
    client.expect("GET");
    let answer = client.read().expect("an answer");
    assert!(answer.status == 200 && answer.body == expected, "{} bytes", answer.body.len());
}

/// Who asks for leave and gets an answer may have its body taken for the next request, by an app that did not read it.
#[test]
fn an_app_that_answers_in_place_of_giving_leave_gets_a_new_connection() {
    for (field, kept) in [("", 1.0), ("Expect: 100-continue\r\n", 0.0)] {
        let app = Upstream::start(|exchange| {
            exchange.read_body();
            exchange.answer(200, &[], b"done")
        });
        let sidecar = Sidecar::start(&Sidecar::bare(&app).raw("proxy.threads", "1"));
        let mut client = Client::connect(sidecar.traffic);
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{field}Content-Length: 4\r\n\r\nbody");
        client.send(request.as_bytes()).expect("sent");
        client.expect("POST");
        assert_eq!(client.read().expect("an answer").text(), "done");
        sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 0.0);
        sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"idle\""], kept);
    }
}

/// An app that goes down between accepting and speaking has not seen the request: that is no broken answer.
#[test]
fn an_app_that_accepts_and_closes_is_knocked_at_once_more() {
    let authority = AppCertificates::new();
    for (scheme, expected) in [("https", "upstream_tls_closed"), ("h2c", "upstream_unreachable")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = std::thread::spawn(move || {
            for _ in 0..2 {
                drop(listener.accept().expect("a connection"));
            }
        });
        let mut settings = Sidecar::bare_for(1).text("proxy.upstream", &format!("{scheme}://{address}"));
        if scheme == "https" {
            settings = settings.text("proxy.upstream_tls.ca", &authority.file().display().to_string());
        }
        let sidecar = Sidecar::start(&settings);
        assert_eq!(code(&sidecar.ask("POST", "/", &[], b"x")), (502, expected.into()));
        app.join().expect("two attempts");
    }
}
