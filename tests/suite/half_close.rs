//! Clients that end their side behind their request, and read on (RFC 9293 section 3.6).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Next, PATIENCE, Sidecar, Upstream, eventually};

const LARGE: usize = 3_000_000;

/// More than the kernels of both sides take.
const HUGE: usize = 40_000_000;

fn app() -> Upstream {
    Upstream::start(|exchange| {
        if !exchange.read_body() {
            return Next::Close;
        }
        match exchange.seen.target.as_str() {
            "/hang" => {
                exchange.wait_until_gone();
                Next::Close
            }
            "/huge" => exchange.answer(200, &[], &vec![b'x'; HUGE]),
            "/large" => exchange.answer(200, &[], &vec![b'x'; LARGE]),
            _ => exchange.answer(200, &[], b"hello"),
        }
    })
}

/// Says it and nothing more, and reads to the end.
fn say(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    say_and_wait(address, bytes, Duration::ZERO)
}

/// The same, but does something else before it reads.
fn say_and_wait(address: SocketAddr, bytes: &[u8], pause: Duration) -> Vec<u8> {
    let mut client = TcpStream::connect(address).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.write_all(bytes).expect("a request");
    client.shutdown(Shutdown::Write).expect("an end");
    std::thread::park_timeout(pause);
    let mut answer = Vec::new();
    // The connection may end in a reset once all has come.
    let _ = client.read_to_end(&mut answer);
    answer
}

#[test]
fn who_has_said_all_gets_the_answer() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    for round in 1..=20 {
        let get = say(sidecar.traffic, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(get.ends_with(b"\r\n\r\nhello"), "{round}: {}", String::from_utf8_lossy(&get));
        let post = say(sidecar.traffic, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert!(post.ends_with(b"\r\n\r\nhello"), "{round}: {}", String::from_utf8_lossy(&post));
    }
    let three = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3);
    let answers = say(sidecar.traffic, &three);
    assert_eq!(answers.windows(9).filter(|part| part == b"\r\n\r\nhello").count(), 3, "several at once");
    let large = say(sidecar.traffic, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(large.len() > LARGE && large.ends_with(b"xxxx"), "{} bytes", large.len());
    // Longer than one is waited for of whom nobody knows whether it is there: this one has to be sent something.
    let slow = say_and_wait(sidecar.traffic, b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n", Duration::from_millis(1200));
    assert!(slow.len() > HUGE && slow.ends_with(b"xxxx"), "{} bytes", slow.len());
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 45.0);
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0);
}

/// Who has gone looks the same, and is not worked for.
#[test]
fn what_takes_long_is_given_up() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    assert_eq!(say(sidecar.traffic, b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"), b"");
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"client_closed\""], 1.0);
    eventually(PATIENCE, "the app is told", || {
        sidecar.metric("pulsegate_upstream_connections", &["state=\"active\""]) == 0.0
    });
}
