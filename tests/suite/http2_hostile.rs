//! HTTP/2 clients that attack, stall or contradict themselves: each flood ends the connection and nothing else, at flat
//! memory; nothing that HTTP/1.1 would read differently reaches the app.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;

use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, with_http2,
};
use crate::support::{Next, PATIENCE, Sidecar, Upstream, eventually};

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// An app that never answers.
fn silent() -> Upstream {
    Upstream::start(|exchange| {
        exchange.wait_until_gone();
        Next::Close
    })
}

/// Writes until it cannot, or so often; then reads to the end. The code of the GOAWAY, if there was one.
fn flood(frames: &mut Frames, times: u32, bytes: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    for time in 0..times {
        if frames.bytes(&bytes(time)).is_err() {
            break;
        }
    }
    frames.wait_for_end()
}

/// Another client is served as if nothing had happened, and nothing of the attack is left.
#[track_caller]
fn is_well(sidecar: &Sidecar, before: u64) {
    assert_eq!(sidecar.get("/livez").status, 200);
    eventually(PATIENCE, "nothing is in flight", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0);
    eventually(PATIENCE, "nobody is connected", || sidecar.metric("pulsegate_connections", &[]) == 0.0);
    assert!(!sidecar.log().contains("WARN"), "a client writes no lines into the log: {}", sidecar.log());
    let after = sidecar.process.own_kib();
    assert!(after < before + 16 * 1024, "memory went from {before} to {after} KiB");
}

fn request_block(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

#[test]
fn floods_end_the_connection_and_nothing_else() {
    let upstream = silent();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    let cancel = 8_u32.to_be_bytes();

    // CVE-2023-44487: a request, taken back at once, as often as possible.
    let code = flood(&mut Frames::connect(sidecar.traffic), 100_000, |time| {
        let begun = Frames::frame(HEADERS, END_HEADERS | END_STREAM, 2 * time + 1, &request_block("/"));
        [begun, Frames::frame(RST_STREAM, 0, 2 * time + 1, &cancel)].concat()
    });
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "rapid reset: {code:?}");
    let asked = sidecar.metric("pulsegate_requests_total", &[]);
    assert!(asked < 5_000.0, "{asked} requests got through");
    is_well(&sidecar, memory);

    // CVE-2024-27316: a head without end.
    let part = block(&[("x-a", &"x".repeat(1000))]);
    let mut frames = Frames::connect(sidecar.traffic);
    frames.send(HEADERS, 0, 1, &request_block("/")).expect("a head");
    let code = flood(&mut frames, 100_000, |_| Frames::frame(CONTINUATION, 0, 1, &part));
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM || code == 6), "CONTINUATION: {code:?}");
    is_well(&sidecar, memory);

    // CVE-2019-9518: DATA without data.
    let mut frames = Frames::connect(sidecar.traffic);
    frames.post(1, "/").expect("a request");
    let code = flood(&mut frames, 100_000, |_| Frames::frame(DATA, 0, 1, b""));
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "empty DATA: {code:?}");
    is_well(&sidecar, memory);

    // Streams that we must reset, because what comes on them makes no sense (CVE-2025-8671).
    let wrong = block(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), ("connection", "x")]);
    let code = flood(&mut Frames::connect(sidecar.traffic), 100_000, |time| {
        Frames::frame(HEADERS, END_HEADERS | END_STREAM, 2 * time + 1, &wrong)
    });
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "malformed heads: {code:?}");
    is_well(&sidecar, memory);

    let code = flood(&mut Frames::connect(sidecar.traffic), 100_000, |time| {
        let begun = Frames::frame(HEADERS, END_HEADERS, 2 * time + 1, &request_block("/"));
        [begun, Frames::frame(WINDOW_UPDATE, 0, 2 * time + 1, &0x7fff_ffff_u32.to_be_bytes())].concat()
    });
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "resets that are made to happen: {code:?}");
    is_well(&sidecar, memory);
}

#[test]
fn frames_that_want_an_answer_and_get_none_read_cost_no_memory() {
    let upstream = silent();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    for frame in [
        Frames::frame(PING, 0, 0, b"12345678"),
        Frames::frame(SETTINGS, 0, 0, b""),
        Frames::frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]),
    ] {
        let mut frames = Frames::connect(sidecar.traffic);
        frames.patience(Duration::from_millis(500));
        let many = frame.repeat(1000);
        // Nothing of what comes back is read, so at some point nothing more is taken either.
        let taken = (0..2_000).take_while(|_| frames.bytes(&many).is_ok()).count();
        assert!(taken < 2_000, "the client is held back");
        let now = sidecar.process.own_kib();
        assert!(now < memory + 8 * 1024, "memory went from {memory} to {now} KiB");
    }
    is_well(&sidecar, memory);
}

#[test]
fn broken_framing_is_a_connection_error() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let head = request_block("/");
    for (what, bytes) in [
        ("an even stream", Frames::frame(HEADERS, END_HEADERS | END_STREAM, 2, &head)),
        ("DATA without a stream", Frames::frame(DATA, 0, 0, b"x")),
        ("DATA on a stream that is idle", Frames::frame(DATA, 0, 5, b"x")),
        ("SETTINGS of a stream", Frames::frame(SETTINGS, 0, 1, b"")),
        ("SETTINGS of five bytes", Frames::frame(SETTINGS, 0, 0, b"12345")),
        ("PING of seven bytes", Frames::frame(PING, 0, 0, b"1234567")),
        ("a frame larger than allowed", Frames::frame(DATA, 0, 1, &vec![0; 16_385])),
        ("a window that overflows", Frames::frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("CONTINUATION of nothing", Frames::frame(CONTINUATION, END_HEADERS, 1, &head)),
        ("padding longer than the frame", Frames::frame(DATA, 8, 1, b"\xffabc")),
        ("a header block that is none", Frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff")),
        ("a push", Frames::frame(5, END_HEADERS, 1, &[&2_u32.to_be_bytes()[..], &head].concat())),
    ] {
        let mut frames = Frames::connect(sidecar.traffic);
        frames.bytes(&bytes).expect("a frame");
        let code = frames.wait_for_end();
        assert!(code.is_some_and(|code| code != 0), "{what}: {code:?}");
    }
    assert!(upstream.seen().is_empty());
    // No more than the beginning of a preface is HTTP/2.
    let mut frames = crate::support::Client::connect(sidecar.traffic);
    frames.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").expect("nearly a preface");
    assert_eq!(frames.read().expect("an answer of HTTP/1.1").status, 400);
}

#[test]
fn what_http_1_would_read_differently_never_reaches_the_app() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let with = |changed: &[(&'static str, &'static str)]| {
        let kept = base.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
        let mut fields: Vec<_> = kept.chain(changed).filter(|(_, value)| *value != "-").copied().collect();
        fields.sort_by_key(|(name, _)| !name.starts_with(':'));
        fields
    };
    let refused = [
        with(&[("host", "b")]),
        with(&[(":authority", "user@a")]),
        with(&[(":authority", "-")]),
        with(&[(":authority", "a b")]),
        with(&[(":authority", "a"), ("host", "a"), ("host", "b")]),
        with(&[(":path", "http://b/")]),
        with(&[(":path", "x")]),
        with(&[(":path", "*")]),
        with(&[(":path", "/a b")]),
        with(&[(":path", "/a\r\nx: y")]),
        with(&[(":path", "/\u{e9}")]),
        with(&[(":path", "")]),
        with(&[(":path", "-")]),
        with(&[(":method", "CONNECT"), (":path", "-"), (":scheme", "-"), (":authority", "a:443")]),
        with(&[(":method", "CONNECT"), (":protocol", "websocket")]),
        with(&[(":method", "GET /x HTTP/1.1")]),
        with(&[("x", "a\r\nb: c")]),
        with(&[("x", "a\0b")]),
        with(&[("x y", "a")]),
        with(&[("X-Upper", "a")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "+0")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        with(&[(":scheme", "-")]),
        with(&[(":scheme", "")]),
        with(&[(":scheme", "1http")]),
        with(&[(":scheme", "ht tp")]),
        with(&[("x", " a")]),
        with(&[("x", "a ")]),
        with(&[("x", "\ta")]),
        with(&[("x", "a\t")]),
        with(&[("x", " ")]),
        with(&[("cookie", "a=1; ")]),
        with(&[("host", "a ")]),
        with(&[("content-length", " 0")]),
    ];
    for fields in refused {
        let mut frames = Frames::connect(sidecar.traffic);
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)).expect("a request");
        frames.send(PING, 0, 0, b"the end.").expect("a ping");
        // An answer, a reset or the end of the connection: whatever, but not the app's.
        while let Some(frame) = frames.next() {
            match frame.kind {
                RST_STREAM | GOAWAY => break,
                // The static table has an entry for 400 (RFC 7541 appendix A).
                HEADERS => {
                    assert_eq!(frame.payload[0], 0x80 | 12, "400 for {fields:?}");
                    break;
                }
                _ => {}
            }
        }
        assert!(upstream.seen().is_empty(), "{fields:?}");
    }
    let mut frames = Frames::connect(sidecar.traffic);
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&with(&[("host", "A")]))).expect("a request");
    assert_eq!(frames.wait_for(HEADERS).expect("an answer").payload[0], 0x80 | 8, "a Host that agrees is no conflict");
}

#[test]
fn a_body_that_breaks_its_promise_is_never_complete() {
    let upstream =
        Upstream::start(
            |exchange| {
                if exchange.read_body() { exchange.answer(200, &[], b"complete") } else { Next::Close }
            },
        );
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let head = |length: &str| {
        let path = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        block(&[&path[..], &[("content-length", length)]].concat())
    };
    let mut clients = Vec::new();
    for (length, body, ends) in [("5", &b"four"[..], true), ("5", b"sixsix", false), ("5", b"sixsix", true)] {
        let mut frames = Frames::connect(sidecar.traffic);
        frames.send(HEADERS, END_HEADERS, 1, &head(length)).expect("a head");
        frames.send(DATA, if ends { END_STREAM } else { 0 }, 1, body).expect("a body");
        assert_eq!(frames.wait_for(RST_STREAM).expect("refused").code(), PROTOCOL_ERROR);
        clients.push(frames);
    }
    // The client is still there: it is what it has sent that was wrong.
    eventually(PATIENCE, "all three are counted as such", || {
        sidecar.metric("pulsegate_errors_total", &["type=\"invalid_request\""]) == 3.0
    });
    // In chunks, the end of the connection is not the end of the body.
    let mut frames = Frames::connect(sidecar.traffic);
    frames.post(1, "/").expect("a head");
    frames.send(DATA, 0, 1, b"half").expect("half a body");
    eventually(PATIENCE, "the app is asked", || !upstream.seen().is_empty());
    drop(frames);
    eventually(PATIENCE, "all are counted", || sidecar.metric("pulsegate_requests_total", &[]) == 4.0);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 0.0);
}

#[test]
fn huge_heads_are_refused_and_counted() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.limits.header_bytes", "8KiB"));
    let big = "x".repeat(9_000);
    let many: Vec<(String, String)> = (0..150).map(|at| (format!("x-{at}"), "1".into())).collect();
    let mut fields: Vec<(&str, &str)> =
        vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let mut frames = Frames::connect(sidecar.traffic);
    let one = block(&[&fields[..], &[("x", &big)]].concat());
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &one).expect("a request");
    assert_eq!(frames.wait_for(HEADERS).expect("an answer").stream, 1);
    fields.extend(many.iter().map(|(name, value)| (&**name, &**value)));
    frames.send(HEADERS, END_HEADERS | END_STREAM, 3, &block(&fields)).expect("a request");
    assert_eq!(frames.wait_for(HEADERS).expect("an answer").stream, 3);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"431\""], 2.0);
    frames.get(5, "/").expect("the connection goes on");
    assert_eq!(frames.wait_for(HEADERS).expect("an answer").payload[0], 0x80 | 8);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_client_that_opens_no_window_holds_up_nobody_else() {
    let upstream = Upstream::start(|exchange| {
        let length = if exchange.seen.target == "/large" { 50_000_000 } else { 5 };
        exchange.answer(200, &[], &vec![b'x'; length])
    });
    let settings = Sidecar::bare(&upstream).text("proxy.timeouts.write", "2s");
    let sidecar = Sidecar::start(&settings);
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    let mut frames = Frames::connect(sidecar.traffic);
    for number in 0..50 {
        frames.get(2 * number + 1, "/large").expect("a request");
    }
    // All of the connection's window is used up; heads and what has no body need none.
    let mut come = 0;
    while come < 65_535 {
        come += frames.wait_for(DATA).expect("data").payload.len();
    }
    assert_eq!(come, 65_535, "not a byte more than the window");
    let head = [(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", "/small")];
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1001, &block(&head)).expect("a request");
    loop {
        let frame = frames.wait_for(HEADERS).expect("an answer");
        if frame.stream == 1001 {
            break;
        }
    }
    let now = sidecar.process.own_kib();
    assert!(now < memory + 24 * 1024, "memory went from {memory} to {now} KiB");
    eventually(PATIENCE, "nobody waits for ever", || {
        sidecar.metric("pulsegate_requests_total", &["code=\"499\""]) == 50.0
    });
    drop(frames);
    is_well(&sidecar, memory);
}

#[test]
fn large_bodies_pass_both_ways_at_flat_memory() {
    const LENGTH: usize = 100 << 20;
    let upstream = Upstream::start(|exchange| match exchange.count_body() {
        Some(length) => exchange.answer(200, &[], &vec![b'y'; length as usize]),
        None => Next::Close,
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    with_http2(sidecar.traffic, async |mut client| {
        let request =
            Request::post("http://a/").header("content-length", LENGTH.to_string()).body(()).expect("a request");
        let (answer, mut send) = client.send_request(request, false).expect("sent");
        let piece = Bytes::from(vec![b'x'; 1 << 16]);
        let mut left = LENGTH;
        while left > 0 {
            send.reserve_capacity(piece.len());
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await.expect("open").expect("room");
            let length = room.min(piece.len()).min(left);
            left -= length;
            send.send_data(piece.slice(..length), left == 0).expect("sent");
        }
        let mut body = answer.await.expect("an answer").into_body();
        let mut got = 0;
        while let Some(data) = body.data().await {
            let data = data.expect("data");
            assert!(data.iter().all(|byte| *byte == b'y'));
            body.flow_control().release_capacity(data.len()).expect("released");
            got += data.len();
        }
        assert_eq!(got, LENGTH);
    });
    let now = sidecar.process.own_kib();
    assert!(now < memory + 12 * 1024, "memory went from {memory} to {now} KiB");
    sidecar.assert_metric("pulsegate_bytes_total", &["sent"], LENGTH as f64);
    sidecar.assert_metric("pulsegate_bytes_total", &["received"], LENGTH as f64);
}

#[test]
fn sigterm_lets_open_streams_finish_and_tells_the_client() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
        std::thread::park_timeout(Duration::from_millis(1500));
        if exchange.write(b"later") { Next::Keep } else { Next::Close }
    });
    let settings = Sidecar::bare(&upstream).text("shutdown.lame_duck", "500ms").text("shutdown.grace", "20s");
    let mut sidecar = Sidecar::start(&settings);
    let mut frames = Frames::connect(sidecar.traffic);
    frames.get(1, "/").expect("a request");
    assert_eq!(frames.wait_for(DATA).expect("half").payload, b"first");
    let mut idle = Frames::connect(sidecar.traffic);
    assert!(idle.wait_for(SETTINGS).is_some());
    let begun = std::time::Instant::now();
    sidecar.terminate();
    // The second one comes when the first was seen: until then a request on its way is served.
    assert_eq!(frames.skip_to(GOAWAY).payload[..4], [0x7f, 0xff, 0xff, 0xff]);
    let ping = frames.skip_to(PING);
    frames.get(3, "/on-its-way").expect("a request that crossed it");
    frames.send(PING, ACK, 0, &ping.payload).expect("an answer");
    assert_eq!(frames.skip_to(GOAWAY).payload[..4], [0, 0, 0, 3]);
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let frame = frames.wait_for(DATA).expect("the rest of both");
        if frame.ends() {
            ended.push(frame.stream);
        }
    }
    // In which order is theirs.
    ended.sort_unstable();
    assert_eq!(ended, [1, 3]);
    assert_eq!(frames.next(), None, "and then the end");
    assert_eq!(idle.wait_for_end(), Some(0));
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(upstream.seen().len(), 2);
}

/// Whatever becomes of a request, and of its connection, it is counted.
#[test]
fn requests_that_come_with_their_end_are_counted() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let cancel = Frames::frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let get = Frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_block("/"));
    let second = Frames::frame(HEADERS, END_HEADERS | END_STREAM, 3, &request_block("/"));
    let half = Frames::frame(HEADERS, END_STREAM, 3, &request_block("/"));
    let malformed = Frames::frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&[(":method", "GET")]));
    let wrong = Frames::frame(DATA, 0, 0, b"x");
    let cases = [
        ("closed", [&get[..], &second[..]].concat(), 2.0),
        ("taken back and closed", [&get[..], &cancel[..]].concat(), 1.0),
        ("a half one and closed", [&get[..], &half[..]].concat(), 2.0),
        ("a malformed one", [&get[..], &malformed[..]].concat(), 2.0),
        ("broken framing", [&get[..], &wrong[..]].concat(), 1.0),
    ];
    let mut sent = 0.0;
    for (what, bytes, requests) in cases {
        for _ in 0..20 {
            // In one piece: what is still to be read when a connection breaks may never be, and then there was no request.
            let all = [PREFACE, &Frames::frame(SETTINGS, 0, 0, b""), &bytes].concat();
            let mut client = std::net::TcpStream::connect(sidecar.traffic).expect("a connection");
            client.write_all(&all).expect("sent");
            drop(client);
            sent += requests;
        }
        let mut counted = -1.0;
        eventually(PATIENCE, what, || {
            counted = sidecar.metric("pulsegate_requests_total", &[]);
            counted == sent && sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
        });
    }
}

/// More than 20 requests that are taken back before any was seen are a flood, and counted as what a limit refused.
#[test]
fn requests_that_are_taken_back_at_once_are_the_clients_or_the_limits() {
    let upstream = silent();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let cancel = 8_u32.to_be_bytes();
    for (count, code, kind) in
        [(20, "499", "client_closed"), (25, "429", "rejected_limit"), (100, "429", "rejected_limit")]
    {
        let label = format!("code=\"{code}\"");
        let before = sidecar.metric("pulsegate_requests_total", &[&label]);
        let errors = sidecar.metric("pulsegate_errors_total", &[kind]);
        let mut frames = Frames::connect(sidecar.traffic);
        frames.wait_for(SETTINGS).expect("settings");
        let burst: Vec<u8> = (0..count)
            .flat_map(|number| {
                let get = Frames::frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &request_block("/"));
                [get, Frames::frame(RST_STREAM, 0, 2 * number + 1, &cancel)].concat()
            })
            .collect();
        frames.bytes(&burst).expect("sent");
        if code == "429" {
            assert_eq!(frames.wait_for_end(), Some(ENHANCE_YOUR_CALM), "{count} at once");
        }
        drop(frames);
        eventually(PATIENCE, "all are counted", || {
            sidecar.metric("pulsegate_requests_total", &[&label]) - before == f64::from(count)
        });
        assert_eq!(sidecar.metric("pulsegate_errors_total", &[kind]) - errors, f64::from(count));
    }
    sidecar.assert_metric("pulsegate_requests_total", &[], 145.0);
    sidecar.assert_metric("pulsegate_errors_total", &["invalid_request"], 0.0);
}

#[test]
fn a_head_that_does_not_end_is_not_waited_for_as_long_as_a_next_request() {
    let upstream = Upstream::hello();
    let settings = Sidecar::bare(&upstream).text("proxy.timeouts.request_header", "300ms");
    let sidecar = Sidecar::start(&settings);
    for (flags, cut) in [(END_STREAM, 0), (END_STREAM | END_HEADERS, 3)] {
        let mut frames = Frames::connect(sidecar.traffic);
        let head = Frames::frame(HEADERS, flags, 1, &request_block("/"));
        frames.bytes(&head[..head.len() - cut]).expect("sent");
        // Any other frame in the middle of a head would be an error of its own.
        assert_eq!(frames.skip_to(GOAWAY).code(), ENHANCE_YOUR_CALM);
    }
    eventually(PATIENCE, "both are counted", || sidecar.metric("pulsegate_requests_total", &["code=\"408\""]) == 2.0);
}

/// A reset reaches us before we have said our first word.
#[test]
fn a_request_whose_client_resets_at_once_is_counted() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let get = Frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &request_block("/"));
    let all = [PREFACE, &Frames::frame(SETTINGS, 0, 0, b"")[..], &get[..]].concat();
    for _ in 0..50 {
        let mut stream = std::net::TcpStream::connect(sidecar.traffic).expect("a connection");
        stream.write_all(&all).expect("sent");
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    eventually(PATIENCE, "all are counted", || sidecar.metric("pulsegate_requests_total", &[]) == 50.0);
}
