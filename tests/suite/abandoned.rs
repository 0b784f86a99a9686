//! What becomes of a request at the app when its client leaves: `proxy.finish_abandoned`.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::support::http2::{DATA, Frames, RST_STREAM};
use crate::support::{Client, Exchange, Next, PATIENCE, Sidecar, Upstream, eventually};

/// What is still to come of its answer when the app is told to go on.
const LATER: &[u8] = b"{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}";

/// An app that begins with its answers, and ends them when it is told to; it notes how that went.
fn app() -> (Upstream, Sender<()>) {
    let (go_on, told) = channel();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |exchange| {
        let whole = exchange.read_body();
        begin(exchange);
        if exchange.seen.target == "/hello" {
            return exchange.answer(200, &[], b"hello");
        }
        if !whole || told.lock().expect("who tells").recv_timeout(PATIENCE).is_err() {
            return Next::Close;
        }
        let went = end(exchange);
        exchange.seen.body = if went { b"ended".to_vec() } else { b"broken".to_vec() };
        if went { Next::Keep } else { Next::Close }
    });
    (upstream, go_on)
}

/// What leaves at once.
fn begin(exchange: &mut Exchange) {
    match exchange.seen.target.as_str() {
        "/chunked" => exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"),
        "/large" => {
            exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8000000\r\n\r\n")
                && exchange.write(&vec![b'x'; 100_000])
        }
        "/interim" => exchange.write(b"HTTP/1.1 102 Processing\r\n\r\n"),
        "/partial" => exchange.write(b"HTTP/1.1 200 O"),
        _ => true,
    };
}

fn end(exchange: &mut Exchange) -> bool {
    match exchange.seen.target.as_str() {
        "/chunked" => exchange.write(b"5\r\nlater\r\n0\r\n\r\n"),
        "/large" => (0..79).all(|_| exchange.write(&vec![b'x'; 100_000])),
        "/partial" => exchange.write(b"K\r\ncontent-length: 5\r\n\r\nlater"),
        _ => exchange.answer(200, &[("content-type", "application/json")], LATER) == Next::Keep,
    }
}

fn bodies(upstream: &Upstream) -> Vec<String> {
    upstream.seen().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
}

#[test]
fn the_app_may_finish_what_its_client_has_left() {
    let (upstream, go_on) = app();
    let settings = Sidecar::bare(&upstream).raw("proxy.threads", "1").text("proxy.finish_abandoned", "60s");
    let sidecar = Sidecar::start(&settings).ready();
    let targets = ["/waiting", "/interim", "/partial", "/chunked", "/large", "/v1/messages"];
    for (index, target) in targets.into_iter().enumerate() {
        let asked = index + 1;
        let mut client = Client::connect(sidecar.traffic);
        let (method, body) = if target == "/v1/messages" { ("POST", &b"{}"[..]) } else { ("GET", &b""[..]) };
        client.write(method, target, &[], body).expect("a request");
        eventually(PATIENCE, "the app is asked", || upstream.seen().len() == asked);
        if matches!(target, "/chunked" | "/large") {
            client.read_head().expect("a head");
        }
        // A reset: with an ordinary end it might still read, and would be sent what comes at once.
        let _ = socket2::SockRef::from(&client.stream()).set_linger(Some(Duration::ZERO));
        drop(client);
        // It is noticed that the client has gone, and that is no end.
        assert_eq!(sidecar.get("/readyz").status, 200);
        sidecar.assert_metric("pulsegate_requests_in_flight", &[], 1.0);
        go_on.send(()).expect("an app");
        eventually(PATIENCE, "the app ends", || bodies(&upstream)[index] == "ended");
        sidecar.assert_metric("pulsegate_requests_total", &["code=\"499\""], asked as f64);
        sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
        sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"idle\""], 1.0);
    }
    let all = targets.len() as f64;
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"client_closed\""], all);
    sidecar.assert_metric("pulsegate_errors_total", &[], all);
    sidecar.assert_metric("pulsegate_llm_tokens_total", &["kind=\"output\""], 7.0);
    assert_eq!(sidecar.get("/hello").text(), "hello");
    assert_eq!(upstream.accepted(), 1, "the connection was whole each time, and is used again");
}

#[test]
fn not_for_longer_than_allowed_and_not_what_it_has_in_part() {
    let (upstream, _go_on) = app();
    let settings = Sidecar::bare(&upstream).text("proxy.finish_abandoned", "400ms");
    let sidecar = Sidecar::start(&settings).ready();
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/chunked", &[], b"").expect("a request");
    client.read_head().expect("a head");
    let left = Instant::now();
    drop(client);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"499\""], 1.0);
    assert!(left.elapsed() >= Duration::from_millis(400), "{:?}", left.elapsed());
    sidecar.assert_metric("pulsegate_upstream_connections", &[], 0.0);

    // The rest of this body will never come.
    let settings = Sidecar::bare(&upstream).text("proxy.finish_abandoned", "60s");
    let sidecar = Sidecar::start(&settings).ready();
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"POST /part HTTP/1.1\r\nhost: app\r\ncontent-length: 10\r\n\r\npart").expect("a part");
    eventually(PATIENCE, "the app is asked", || upstream.seen().iter().any(|seen| seen.target == "/part"));
    drop(client);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"499\""], 1.0);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 0.0);
}

#[test]
fn a_stream_that_is_reset_is_finished_too() {
    let (upstream, go_on) = app();
    let settings = Sidecar::bare(&upstream).text("proxy.finish_abandoned", "60s");
    let sidecar = Sidecar::start(&settings).ready();
    let mut frames = Frames::connect(sidecar.traffic);
    frames.get(1, "/waiting").expect("a request");
    eventually(PATIENCE, "the app is asked", || upstream.seen().len() == 1);
    frames.send(RST_STREAM, 0, 1, &8u32.to_be_bytes()).expect("a reset");
    frames.get(3, "/hello").expect("another request");
    assert_eq!(frames.wait_for(DATA).map(|frame| frame.stream), Some(3));
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 1.0);
    go_on.send(()).expect("an app");
    eventually(PATIENCE, "the app ends", || bodies(&upstream)[0] == "ended");
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"499\""], 1.0);
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
}

#[test]
fn the_end_of_the_process_waits_for_it_within_the_grace() {
    let (upstream, go_on) = app();
    let settings = Sidecar::bare(&upstream).text("proxy.finish_abandoned", "60s").text("shutdown.grace", "30s");
    let mut sidecar = Sidecar::start(&settings).ready();
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/waiting", &[], b"").expect("a request");
    eventually(PATIENCE, "the app is asked", || upstream.seen().len() == 1);
    drop(client);
    sidecar.terminate();
    eventually(PATIENCE, "it drains", || sidecar.admin("/readyz").status == 503);
    go_on.send(()).expect("an app");
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert_eq!(bodies(&upstream), ["ended"]);
    assert!(sidecar.log().contains("stopped: nothing was left in flight"), "{}", sidecar.log());
}

/// Ends a client's connection as a process does that is killed with something unread.
fn reset(client: &Client) {
    let stream = client.stream();
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// From whom nothing can be read, because nobody takes it, may be gone all the same.
#[test]
fn a_client_from_whom_nothing_is_read_is_missed_when_it_leaves() {
    let (done, held) = channel::<()>();
    let held = Mutex::new(held);
    let upstream = Upstream::start(move |_| {
        // Reads nothing until the test is over.
        let _ = held.lock().expect("the word").recv_timeout(4 * PATIENCE);
        Next::Close
    });
    let settings = Sidecar::bare(&upstream).raw("proxy.limits.in_flight", "2").raw("proxy.limits.queue", "10");
    let sidecar = Sidecar::start(&settings.text("proxy.limits.queue_timeout", "60s"));
    let gone = || sidecar.metric("pulsegate_requests_total", &["code=\"499\""]);
    let running = || sidecar.metric("pulsegate_requests_in_flight", &[]);

    // An upload to an app that does not read.
    let mut uploading = Client::connect(sidecar.traffic);
    uploading.send(b"POST /stuck HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").expect("sent");
    let stream = uploading.stream();
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let full = (0..1_000).any(|_| uploading.send(&[0; 16_000]).is_err());
    assert!(full, "all buffers are full");
    drop(stream);

    // More behind a request that waits than is kept.
    let mut pipelining = Client::connect(sidecar.traffic);
    pipelining.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    pipelining.send(&vec![b'x'; 70_000]).expect("sent");
    eventually(PATIENCE, "both are in flight", || running() == 2.0);

    // A part of a body, before there is a place.
    let mut queued = Client::connect(sidecar.traffic);
    queued.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").expect("sent");
    eventually(PATIENCE, "it waits", || sidecar.metric("pulsegate_requests_queued", &[]) == 1.0);

    for (count, client) in [queued, pipelining, uploading].into_iter().enumerate() {
        reset(&client);
        drop(client);
        eventually(PATIENCE, "it is missed", || gone() == (count + 1) as f64);
    }
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"client_closed\""], 3.0);
    sidecar.assert_metric("pulsegate_requests_total", &[], 3.0);
    drop(done);
}
