//! Large answers of known length, which pass inside the kernel.

use std::time::Duration;

use crate::support::{Client, HttpError, Next, PATIENCE, Sidecar, Upstream, eventually};

const SIZE: usize = (1 << 20) + 7;

/// Bytes whose place can be told.
fn pattern(seed: usize) -> Vec<u8> {
    (0..SIZE).map(|at| ((at + seed) * 31 % 251) as u8).collect()
}

/// `/whole` is answered whole, `/broken` breaks off after a good part, `/small` is small.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        let path = exchange.seen.target.clone();
        if path == "/small" {
            return exchange.answer(200, &[], b"small");
        }
        let body = pattern(path.len());
        exchange.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes());
        if path == "/broken" {
            exchange.write(&body[..SIZE / 2]);
            return Next::Close;
        }
        if body.chunks(77_777).all(|part| exchange.write(part)) { Next::Keep } else { Next::Close }
    })
}

#[test]
fn large_answers_arrive_as_they_are_and_the_connection_goes_on() {
    let app = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&app));
    let mut client = Client::connect(sidecar.traffic);
    for path in ["/whole", "/small", "/whole/again", "/whole/and/again", "/small"] {
        let answer = client.ask("GET", path, &[], b"").expect("an answer");
        let expected = if path == "/small" { b"small".to_vec() } else { pattern(path.len()) };
        assert!(answer.body == expected, "{path}: {} bytes", answer.body.len());
    }
    // Also where the answer is looked at: that one is copied.
    let answer = client.ask("POST", "/v1/messages", &[], b"{}").expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.body == pattern("/v1/messages".len()));
    let sent = sidecar.metric("pulsegate_bytes_total", &["direction=\"sent\""]);
    assert_eq!(sent, (4 * SIZE + 2 * 5) as f64);
}

#[test]
fn a_large_answer_that_breaks_off_never_looks_whole_and_leaves_nothing_behind() {
    let app = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&app));
    for count in 1..=3 {
        let answer = Client::connect(sidecar.traffic).ask("GET", "/broken", &[], b"");
        assert!(matches!(answer, Err(HttpError::Truncated(_))), "{:?}", answer.map(|answer| answer.status));
        eventually(PATIENCE, "counted once, as the app's fault", || {
            sidecar.metric("pulsegate_errors_total", &["type=\"upstream_reset\""]) == f64::from(count)
        });
        let answer = Client::connect(sidecar.traffic).ask("GET", "/whole", &[], b"").expect("an answer");
        assert!(answer.body == pattern("/whole".len()));
    }
}

#[test]
fn who_takes_nothing_of_a_large_answer_is_given_up() {
    const LARGE: usize = 64 << 20;
    let app = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes());
        let part = vec![b'd'; 1 << 16];
        if (0..LARGE >> 16).all(|_| exchange.write(&part)) { Next::Keep } else { Next::Close }
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&app).text("proxy.timeouts.write", "400ms"));
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/", &[], b"").expect("a request");
    eventually(PATIENCE + Duration::from_secs(1), "counted once, as the client's leaving", || {
        sidecar.metric("pulsegate_errors_total", &["type=\"client_closed\""]) == 1.0
    });
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
    drop(client);
}
