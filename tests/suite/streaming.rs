//! Streams: server-sent events as they come, and WebSockets.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Client, Exchange, Next, PATIENCE, Sidecar, Upstream, eventually};

/// An app that sends one event each time the test says so.
fn events(chunked: bool) -> (Upstream, mpsc::Sender<Option<Vec<u8>>>) {
    let (sender, receiver) = mpsc::channel::<Option<Vec<u8>>>();
    let receiver = Mutex::new(receiver);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        let framing = if chunked { "transfer-encoding: chunked\r\n" } else { "" };
        exchange.write(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n").as_bytes());
        let receiver = receiver.lock().expect("the events");
        while let Ok(Some(event)) = receiver.recv_timeout(PATIENCE) {
            let framed = [format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat();
            if !exchange.write(if chunked { &framed } else { &event }) {
                return Next::Close;
            }
        }
        if chunked && exchange.write(b"0\r\n\r\n") { Next::Keep } else { Next::Close }
    });
    (upstream, sender)
}

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    for chunked in [true, false] {
        let (upstream, send) = events(chunked);
        let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", "/events", &[("accept", "text/event-stream")], b"").expect("a request");
        // The head comes before there is anything to say.
        let head = client.read_head().expect("a head");
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        let mut pieces = client.pieces(&head).expect("a body");
        let mut slowest = Duration::ZERO;
        for number in 0..50 {
            let event = format!("data: {number} {}\n\n", "x".repeat(number * 97)).into_bytes();
            let sent = Instant::now();
            send.send(Some(event.clone())).expect("an app");
            let mut got = Vec::new();
            while got.len() < event.len() {
                got.extend(pieces.next().expect("a piece").expect("no end"));
            }
            assert_eq!(got, event);
            slowest = slowest.max(sent.elapsed());
        }
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        send.send(None).expect("an app");
        assert!(pieces.next().expect("the end").is_none());
    }
}

#[test]
fn an_upload_arrives_as_it_is_sent() {
    let arrived: Arc<Mutex<Vec<u8>>> = Arc::default();
    let arriving = arrived.clone();
    let upstream = Upstream::start(move |exchange| {
        while let Some(byte) = exchange.take(1) {
            arriving.lock().expect("the bytes").extend(&byte);
            if byte == b"!" {
                return exchange.answer(200, &[], b"all");
            }
        }
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    client.write("POST", "/", &[("content-length", "6")], b"").expect("a head");
    for length in 1..=6 {
        client.send(&b"hello!"[length - 1..length]).expect("a byte");
        eventually(PATIENCE, "it has arrived", || arrived.lock().expect("the bytes").len() == length);
    }
    assert_eq!(client.read().expect("an answer").text(), "all");
}

#[test]
fn a_request_may_wait_for_leave_to_send_its_body() {
    let upstream = Upstream::start(|exchange| {
        if exchange.seen.field("expect").is_some() {
            exchange.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close }
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.limits.body_bytes", "100"));
    let mut client = Client::connect(sidecar.traffic);
    client.write("POST", "/", &[("expect", "100-continue"), ("content-length", "4")], b"").expect("a head");
    assert_eq!(client.read_head().expect("leave").status, 100);
    client.send(b"body").expect("a body");
    assert_eq!(client.read().expect("an answer").text(), "ok");
    assert_eq!(upstream.seen().pop().expect("a request").body, b"body");
    // A body that would be refused is never asked for.
    let mut client = Client::connect(sidecar.traffic);
    client.write("POST", "/", &[("expect", "100-continue"), ("content-length", "101")], b"").expect("a head");
    assert_eq!(client.read_head().expect("an answer").status, 413);
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// RFC 6455 section 1.3 works this example out.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn agree(exchange: &mut Exchange) {
    let agreed = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {ACCEPT}\r\nsec-websocket-protocol: chat\r\n\r\n"
    );
    exchange.write(agreed.as_bytes());
}

/// An app that agrees to a WebSocket and sends every byte back until the other side ends.
fn echo_socket(exchange: &mut Exchange) -> Next {
    if exchange.seen.field("upgrade").is_none() {
        return exchange.answer(426, &[], b"this is a WebSocket");
    }
    agree(exchange);
    while let Some(bytes) = exchange.take_some() {
        if !exchange.write(&bytes) {
            break;
        }
    }
    Next::Close
}

const UPGRADE: [(&str, &str); 5] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "chat"),
];

/// A masked frame of a client (RFC 6455 section 5.2).
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65535 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [7, 77, 177, 27];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[track_caller]
fn open(sidecar: &Sidecar) -> Client {
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/socket", &UPGRADE, b"").expect("a request");
    let head = client.read_head().expect("a head");
    assert_eq!(head.status, 101);
    assert_eq!(head.field("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(head.field("sec-websocket-protocol"), Some("chat"));
    assert!(head.field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
    assert!(head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    client
}

#[test]
fn a_websocket_passes_both_ways() {
    let upstream = Upstream::start(echo_socket);
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = open(&sidecar);
    let seen = upstream.only();
    assert!(seen.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{seen:?}");
    for (name, value) in [("sec-websocket-key", KEY), ("sec-websocket-version", "13"), ("x-forwarded-for", "127.0.0.1")]
    {
        assert_eq!(seen.field(name), Some(value));
    }
    let large = vec![b'L'; 1 << 20];
    for (opcode, payload) in [(1, &b"hello"[..]), (2, &[0, 255, 13, 10]), (9, b"ping"), (1, b""), (2, &large)] {
        let sent = frame(opcode, payload);
        let mut writing = client.stream();
        let length = sent.len();
        let whole = std::thread::scope(|scope| {
            let bytes = &sent;
            scope.spawn(move || std::io::Write::write_all(&mut writing, bytes).expect("a frame"));
            client.read_exact(length).expect("the same frame")
        });
        assert!(whole == sent, "opcode {opcode}, {} bytes", payload.len());
    }
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 1.0);
    client.shut_down(std::net::Shutdown::Write);
    assert!(client.is_closed(), "the end passes too");
    eventually(PATIENCE, "it is counted", || sidecar.metric("pulsegate_requests_total", &["code=\"101\""]) == 1.0);
    eventually(PATIENCE, "nothing is in flight", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0);
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0);
}

#[test]
fn a_websocket_that_is_refused_is_an_answer_like_any_other() {
    let upstream = Upstream::start(|exchange| exchange.answer(403, &[], b"not you"));
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for _ in 0..2 {
        let answer = client.ask("GET", "/socket", &UPGRADE, b"").expect("an answer");
        assert_eq!((answer.status, answer.text()), (403, "not you"));
    }
}

#[test]
fn other_upgrades_are_not_passed_on() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let fields =
        [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAAP__")];
    let answer = sidecar.ask("GET", "/", &fields, b"");
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    let seen = upstream.only();
    assert_eq!((seen.field("upgrade"), seen.field("http2-settings")), (None, None));
}

#[test]
fn an_open_websocket_lives_through_the_lame_duck_and_ends_with_the_grace() {
    let upstream = Upstream::start(echo_socket);
    let settings = Sidecar::bare(&upstream).text("shutdown.lame_duck", "200ms").text("shutdown.grace", "1500ms");
    let mut sidecar = Sidecar::start(&settings);
    let mut client = open(&sidecar);
    sidecar.terminate();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(800) {
        let sent = frame(1, b"still here");
        client.send(&sent).expect("a frame");
        assert_eq!(client.read_exact(sent.len()).expect("the same frame"), sent);
    }
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(client.is_closed());
}

/// Nothing is read from a client while the app takes nothing: so its reset has to be looked for.
#[test]
fn a_websocket_whose_client_is_reset_ends_although_the_app_takes_nothing() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |exchange| {
        agree(exchange);
        let _ = told.lock().expect("who tells").recv_timeout(PATIENCE);
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let client = open(&sidecar);
    let mut stream = client.stream();
    stream.set_nonblocking(true).expect("a socket");
    let (piece, mut stuck) = (vec![b'x'; 65_536], Instant::now());
    while stuck.elapsed() < Duration::from_millis(300) {
        match std::io::Write::write(&mut stream, &piece) {
            Ok(_) => stuck = Instant::now(),
            Err(_) => std::thread::yield_now(),
        }
    }
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 1.0);
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop((client, stream));
    eventually(PATIENCE, "it is counted", || {
        sidecar.metric("pulsegate_errors_total", &["type=\"client_closed\""]) == 1.0
    });
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
    drop(go_on);
}

/// Who closes while the other side is still speaking has been cut off by nobody: what it said last arrives.
#[test]
fn the_last_words_of_an_app_that_closes_a_busy_websocket_arrive() {
    const LAST: usize = 300;
    let upstream = Upstream::start(|exchange| {
        agree(exchange);
        exchange.take_some();
        exchange.write(&[b'L'; LAST]);
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    for run in 0..30 {
        let client = open(&sidecar);
        let (mut reading, mut writing) = (client.stream(), client.stream());
        let mut said = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || while std::io::Write::write_all(&mut writing, &[b'x'; 4096]).is_ok() {});
            // It may end with a reset.
            let _ = std::io::Read::read_to_end(&mut reading, &mut said);
            let _ = reading.shutdown(std::net::Shutdown::Both);
        });
        assert_eq!(said.len(), LAST, "in run {run}");
    }
}
