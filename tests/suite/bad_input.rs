//! Whatever comes in at the ports, or back from the app: a clear answer or an end, nothing lost, no panic (the harness
//! looks for panics in every test).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::support::{Client, PATIENCE, Random, Sidecar, Upstream, eventually, get, home_with_login, run};

/// Sends bytes in parts of a size, on as many connections as the other side makes of them.
fn pour(address: SocketAddr, bytes: &[u8], size: usize) {
    let mut left = bytes;
    while !left.is_empty() {
        let mut stream = TcpStream::connect(address).expect("it still accepts");
        stream.set_nodelay(true).expect("an option");
        let mut answer = [0; 4096];
        // At most so many bytes on one connection: the first bad line should already end it.
        for part in left[..left.len().min(20_000)].chunks(size) {
            left = &left[part.len()..];
            let written = stream.write_all(part);
            stream.set_nonblocking(true).expect("an option");
            let ended = matches!(stream.read(&mut answer), Ok(0));
            stream.set_nonblocking(false).expect("an option");
            if written.is_err() || ended {
                break;
            }
        }
    }
}

#[test]
fn a_hundred_thousand_random_bytes_at_both_ports() {
    let upstream = Upstream::hello();
    let settings = Sidecar::full(&upstream).text("proxy.timeouts.request_header", "1s");
    let sidecar = Sidecar::start(&settings).ready();
    let mut random = Random(0x5eed_0003);
    for address in [sidecar.traffic, sidecar.admin] {
        for size in [100_000, 4096, 61, 1] {
            let bytes = random.bytes(if size == 1 { 10_000 } else { 100_000 });
            pour(address, &bytes, size);
            assert_eq!(get(address, "/health").status, 200);
        }
    }
    assert_eq!(sidecar.get("/still-forwarded").text(), "hello");
    assert!(upstream.seen().iter().all(|seen| seen.target == "/still-forwarded"), "{:?}", upstream.seen());
    eventually(PATIENCE, "nothing is left of it", || {
        sidecar.metric("claude_proxy_requests_in_flight", &[]) == 0.0
            && sidecar.metric("claude_proxy_connections", &[]) == 0.0
    });
}

#[test]
fn requests_with_bytes_changed_at_random() {
    // The app answers each head at once, whatever body it promises: what was changed may still be a request.
    let upstream = Upstream::start(|exchange| {
        exchange.answer(200, &[("connection", "close")], b"hello");
        crate::support::Next::Close
    });
    let settings = Sidecar::full(&upstream)
        .text("proxy.timeouts.request_header", "300ms")
        .text("proxy.timeouts.stream_idle", "300ms")
        .text("proxy.timeouts.idle", "300ms");
    let sidecar = Sidecar::start(&settings).ready();
    let seeds = [
        &b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"[..],
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET /health?x=1 HTTP/1.1\r\nhost: a\r\nx-api-key: k\r\nconnection: close\r\n\r\n",
    ];
    let mut random = Random(0x5eed_0004);
    for round in 0..300 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = (random.next() >> 56) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n\0 :,;\x7f\xff0"[random.below(10)]),
            }
        }
        let address = if round % 5 == 0 { sidecar.admin } else { sidecar.traffic };
        let mut stream = TcpStream::connect(address).expect("it still accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // An answer, or an end; never silence.
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let silent = end
            .is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        assert!(!silent, "silence after {:?}", String::from_utf8_lossy(&bytes));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(sidecar.admin("/health").status, 200);
    eventually(PATIENCE, "nothing is left of it", || {
        sidecar.metric("claude_proxy_requests_in_flight", &[]) == 0.0
            && sidecar.metric("claude_proxy_connections", &[]) == 0.0
    });
}

#[test]
fn an_app_that_sends_random_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // Ends with the test's process at the latest; each answer is small.
    std::thread::spawn(move || {
        let mut random = Random(0x5eed_0005);
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let length = random.below(3000);
            let head: &[u8] = if length.is_multiple_of(2) { b"HTTP/1.1 200 OK\r\n" } else { b"" };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(&[head, &random.bytes(length)].concat());
        }
    });
    let settings = Sidecar::full_for(port).text("proxy.timeouts.response_header", "2s");
    let sidecar = Sidecar::start(&settings);
    for _ in 0..100 {
        // Its bytes may look like an answer for a while, and then break off.
        if let Ok(answer) = Client::connect(sidecar.traffic).ask("GET", "/", &[], b"") {
            assert!([200, 502, 504].contains(&answer.status), "{answer:?}");
        }
    }
    sidecar.await_detailed("the app is seen to speak something else", |body| {
        let server = &body["components"]["api_server"];
        server["status"] == "unhealthy" && server["error"] == "api_server does not answer in HTTP"
    });
    assert_eq!(sidecar.admin("/readyz").status, 503);
    assert_eq!(sidecar.admin("/livez").status, 200);
}

#[test]
fn a_flood_of_connections_that_say_nothing() {
    let upstream = Upstream::hello();
    let settings = Sidecar::full(&upstream)
        .raw("proxy.limits.connections", "200")
        .text("proxy.timeouts.idle", "1s")
        .text("proxy.timeouts.request_header", "1s");
    let sidecar = Sidecar::start(&settings).ready();
    let silent: Vec<Client> = (0..300).map(|_| Client::connect(sidecar.traffic)).collect();
    assert_eq!(sidecar.admin("/readyz").status, 200, "the management port is not held up");
    assert_eq!(sidecar.get("/in-its-turn").text(), "hello");
    drop(silent);
    eventually(PATIENCE, "they are gone", || sidecar.metric("claude_proxy_connections", &[]) == 0.0);
}

#[test]
fn files_that_cannot_be_read_are_told_before_anything_starts() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let missing = home.path().join("nothing-here");
    let directory = home.path().join(".claude");
    let empty = home.path().join("empty");
    std::fs::write(&empty, "\n").expect("a file");
    for (file, what) in [(&missing, "No such file"), (&directory, "cannot be read"), (&empty, "is empty")] {
        let path = file.display().to_string();
        let settings = Sidecar::bare(&upstream).raw("admin.api_keys", &format!("[{{ file = {path:?} }}]"));
        let ended = run(&mut Sidecar::command(home.path(), &settings));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(what) && ended.stderr.contains("admin.api_keys[0]"), "{}", ended.stderr);
        assert!(ended.stderr.contains("pulsegate.toml:"), "with its place: {}", ended.stderr);
    }
    for file in [&missing, &directory] {
        let mut command = Sidecar::command(home.path(), &Sidecar::bare(&upstream));
        let ended = run(command.args(["--config"]).arg(file).env("PULSEGATE_CONFIG", file));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let mut command = std::process::Command::new(crate::support::PULSEGATE);
        let ended = run(command.env_clear().arg("run").arg("--config").arg(file));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("the configuration cannot be read"), "{}", ended.stderr);
    }
    let binary = home.path().join("binary.toml");
    std::fs::write(&binary, Random(7).bytes(5000)).expect("a file");
    let mut command = std::process::Command::new(crate::support::PULSEGATE);
    let ended = run(command.env_clear().arg("run").arg("--config").arg(&binary));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.is_ascii(), "it is not quoted: {}", ended.stderr);
}
