//! `grpc.health.v1` at the management port, by gRPC's own client, and by frames that no client of theirs would send.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use h2::client::SendRequest;
use serde_json::{Value, json};

use crate::support::http2::with_http2;
use crate::support::{
    Authority, PATIENCE, Process, SYSTEM_PATH, Settings, Sidecar, Upstream, eventually, get, run, tool,
};

fn client(sidecar: &Sidecar, arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/grpc/health_client.py");
    let mut command = Command::new(tool("grpc/bin/python"));
    command.env_clear().env("PATH", SYSTEM_PATH).arg(script).arg(sidecar.admin.to_string()).args(arguments);
    command
}

#[track_caller]
fn said(sidecar: &Sidecar, arguments: &[&str]) -> String {
    let ended = run(&mut client(sidecar, arguments));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout.trim().to_owned()
}

fn settings(upstream: &Upstream) -> Settings {
    Sidecar::bare(upstream)
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "200ms")
        .text("checks.database.tcp.address", &format!("127.0.0.1:{}", upstream.port()))
        .raw("checks.database.groups", "[\"storage\"]")
}

#[test]
fn check_and_list_speak_of_groups_and_checks() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&upstream)).ready();
    for service in ["", "readiness", "health", "liveness", "startup", "app", "event_loop"] {
        assert_eq!(said(&sidecar, &["check", service]), "SERVING", "{service}");
    }
    eventually(PATIENCE, "the database is asked", || said(&sidecar, &["check", "storage"]) == "SERVING");
    assert_eq!(said(&sidecar, &["check", "nobody"]), "NOT_FOUND");
    let listed = |serving: &str| {
        let fine = "SERVING";
        json!({ "": serving, "startup": fine, "liveness": fine, "readiness": serving, "health": serving,
                "storage": fine, "app": serving, "database": fine, "event_loop": fine })
    };
    let list = || serde_json::from_str::<Value>(&said(&sidecar, &["list"])).expect("JSON");
    assert_eq!(list(), listed("SERVING"));
    upstream.set_probe(500);
    eventually(PATIENCE, "it fails", || get(sidecar.admin, "/readyz").status == 503);
    assert_eq!(said(&sidecar, &["check", "app"]), "NOT_SERVING");
    assert_eq!(list(), listed("NOT_SERVING"));
}

#[test]
fn watch_tells_at_once_and_at_each_change() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&upstream)).ready();
    let watch = |service: &str| Process::start(client(&sidecar, &["watch", service]).stdout(Stdio::null()));
    let (ready, later) = (watch(""), watch("later"));
    let told = |watch: &Process, expected: &[&str]| {
        eventually(PATIENCE, &format!("it is told {expected:?}"), || watch.said() == expected);
    };
    told(&ready, &["SERVING"]);
    told(&later, &["SERVICE_UNKNOWN"]);
    upstream.set_probe(500);
    told(&ready, &["SERVING", "NOT_SERVING"]);
    // A check comes to be by a reload; nobody has to ask again.
    let file = sidecar.home().join("pulsegate.toml");
    let more = settings(&upstream).text("checks.later.tcp.address", &format!("127.0.0.1:{}", upstream.port()));
    std::fs::write(file, more.to_toml()).expect("a configuration");
    sidecar.process.signal(rustix::process::Signal::HUP);
    eventually(PATIENCE, "the new check is watched", || later.said().last().is_some_and(|last| last == "SERVING"));
    upstream.set_probe(200);
    told(&ready, &["SERVING", "NOT_SERVING", "SERVING"]);
    assert_eq!(get(sidecar.admin, "/readyz").status, 200);
    sidecar.terminate();
    eventually(PATIENCE, "the end is told, or the connection ends", || ready.said().len() >= 4);
}

const CALL: &str = "http://a/grpc.health.v1.Health/";

/// Sends one call as it is; the code, gRPC's status wherever it stands, and the body.
async fn call(client: &mut SendRequest<Bytes>, method: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let request = hyper::Request::post(format!("{CALL}{method}")).header("content-type", kind).header("te", "trailers");
    let request = request.body(()).expect("a request");
    let mut ready = client.clone().ready().await.expect("a connection");
    let (answer, mut sending) = ready.send_request(request, false).expect("sent");
    // A stream may be refused before all of it is sent.
    let _ = sending.send_data(Bytes::copy_from_slice(body), true);
    let (head, mut stream) = answer.await.expect("an answer").into_parts();
    let mut all = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.ok().flatten().unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
    (head.status.as_u16(), status.map(|status| status.to_str().expect("text").to_owned()).unwrap_or_default(), all)
}

#[test]
fn what_no_client_should_send_is_refused_and_the_next_call_answered() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&upstream)).ready();
    let large = [&b"\0\0\0\x20\0"[..], &[b'x'; 8192]].concat();
    with_http2(sidecar.admin, async |mut client| {
        for (method, kind, body, expected) in [
            ("Check", "application/grpc", &b"\0\0\0\0\0"[..], (200, "0")),
            ("Check", "application/grpc+proto", b"\0\0\0\0\x05\x0a\x03app", (200, "0")),
            ("Check", "application/grpc", b"\x01\0\0\0\0", (200, "12")),
            ("Check", "application/grpc", b"", (200, "13")),
            ("Check", "application/grpc", b"\0\0\0\0\x02\x0a\x09", (200, "13")),
            ("Check", "application/grpc", b"\0\0\0\0\x03\x0a\x01\xff", (200, "13")),
            ("Check", "application/grpc", &large, (200, "8")),
            ("Nope", "application/grpc", b"\0\0\0\0\0", (200, "12")),
            ("Check", "application/json", b"{}", (404, "")),
            ("Check", "application/grpcx", b"\0\0\0\0\0", (404, "")),
            ("List", "application/grpc", b"\0\0\0\0\0", (200, "0")),
        ] {
            let (code, status, _) = call(&mut client, method, kind, body).await;
            assert_eq!((code, &*status), expected, "{method} {kind} {:?}", &body[..body.len().min(10)]);
        }
        let (_, _, body) = call(&mut client, "Check", "application/grpc", b"\0\0\0\0\0").await;
        assert_eq!(body, b"\0\0\0\0\x02\x08\x01");
    });
    assert_eq!(get(sidecar.admin, "/grpc.health.v1.Health/Check").status, 404, "not over HTTP/1.1");
}

#[test]
fn watchers_are_bounded_and_places_given_back() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&upstream)).ready();
    let watch = async |client: &SendRequest<Bytes>| {
        let request = hyper::Request::post(format!("{CALL}Watch")).header("content-type", "application/grpc");
        let mut ready = client.clone().ready().await.expect("a connection");
        let (answer, mut sending) = ready.send_request(request.body(()).expect("a request"), false).expect("sent");
        sending.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).expect("sent");
        let (head, body) = answer.await.expect("an answer").into_parts();
        (head.headers.get("grpc-status").map(|status| status.to_str().expect("text").to_owned()), body)
    };
    with_http2(sidecar.admin, async |first| {
        let mut watching = Vec::new();
        for _ in 0..32 {
            let (status, mut body) = watch(&first).await;
            assert_eq!(status, None);
            assert_eq!(&body.data().await.expect("told").expect("at once")[..], b"\0\0\0\0\x02\x08\x01");
            watching.push(body);
        }
        let stream = tokio::net::TcpStream::connect(sidecar.admin).await.expect("a connection");
        let (second, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driving = tokio::spawn(connection);
        for _ in 0..32 {
            watching.push(watch(&second).await.1);
        }
        driving.abort();
        // The places of a connection that is gone are free again.
        let mut client = {
            let stream = tokio::net::TcpStream::connect(sidecar.admin).await.expect("a connection");
            let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            client
        };
        let mut refused = 0;
        let begun = std::time::Instant::now();
        let mut kept = Vec::new();
        while kept.len() < 20 {
            client = client.ready().await.expect("a connection");
            match watch(&client).await {
                (None, body) => kept.push(body),
                (Some(status), _) => {
                    assert_eq!(status, "8");
                    refused += 1;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{refused} were refused");
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn http2_is_for_everybody_at_the_management_port() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&upstream)).ready();
    with_http2(sidecar.admin, async |mut client| {
        for path in ["/readyz", "/metrics", "/nothing"] {
            let expected = get(sidecar.admin, path).status;
            let request = hyper::Request::get(format!("http://a{path}")).body(()).expect("a request");
            client = client.ready().await.expect("a connection");
            let (answer, _) = client.send_request(request, true).expect("sent");
            assert_eq!(answer.await.expect("an answer").status().as_u16(), expected, "{path}");
        }
    });
    let authority = Authority::new();
    authority.serve(&authority.issue("localhost"));
    let path = |name: &str| authority.path(name).display().to_string();
    let secure = settings(&upstream).text("admin.tls.cert", &path("tls.crt")).text("admin.tls.key", &path("tls.key"));
    let secure = Sidecar::start(&secure);
    eventually(PATIENCE, "it is ready", || {
        let ended = run(client(&secure, &["check", "readiness"]).env("AUTHORITY", path("ca.crt")));
        ended.stdout.trim() == "SERVING"
    });
    let off = Sidecar::start(&settings(&upstream).raw("admin.grpc", "false")).ready();
    assert_eq!(said(&off, &["check", ""]), "UNIMPLEMENTED");
}
