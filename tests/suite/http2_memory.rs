//! What streams of HTTP/2 cost whose clients do not take their answers: bounds with names, not a byte lost, and nobody else
//! held up.

use std::collections::HashMap;
use std::sync::LazyLock;

use hyper::Request;

use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, with_http2,
};
use crate::support::{Client, Next, PATIENCE, Settings, Sidecar, Upstream, eventually};

const STREAMS: u32 = 100;

/// `STEP`, `CONNECTION_MOST`, `WORKER_MOST` and `LEAST_STEP` of the proxy.
const STEP: usize = 64 * 1024;
const CONNECTION_MOST: usize = 256 * 1024;
const WORKER_MOST: usize = 8 * 1024 * 1024;
const LEAST_STEP: usize = 4 * 1024;

/// What a stream costs at most beside its answer, in a debug build: the exchange, the connection to the app, the library's
/// tables.
const STREAM: usize = 32 * 1024;

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 section 6.5.2).
fn window(size: u32) -> Vec<u8> {
    [&[0, 4][..], &size.to_be_bytes()].concat()
}

/// A body of which every byte has its place, of at most 1 MiB.
fn pattern(length: usize) -> &'static [u8] {
    static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..1 << 20).map(|at| (at % 251) as u8).collect());
    &WHOLE[..length]
}

/// An app that answers `/length/NUMBER` with so much of the pattern, with a length or, at `/chunks/NUMBER`, in chunks.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        let target = exchange.seen.target.clone();
        let (kind, length) = target[1..].split_once('/').expect("two parts");
        let body = pattern(length.parse().expect("a number"));
        if kind == "length" {
            return exchange.answer(200, &[], body);
        }
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n");
        let whole = body.chunks(10_000).all(|piece| {
            exchange.write(format!("{:x}\r\n", piece.len()).as_bytes())
                && exchange.write(piece)
                && exchange.write(b"\r\n")
        });
        exchange.write(b"0\r\nx-sum: 1\r\n\r\n");
        if whole { Next::Keep } else { Next::Close }
    })
}

fn settings(upstream: &Upstream) -> Settings {
    Sidecar::bare(upstream).raw("proxy.threads", "1")
}

/// Asks for it on so many streams.
fn ask(frames: &mut Frames, target: &str) {
    let block = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", target)]);
    for number in 0..STREAMS {
        frames.send(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block).expect("a request");
    }
}

/// A client that has asked for so much on all of its streams, each with this window, and a connection with a wide one.
fn asking(sidecar: &Sidecar, each: u32, length: usize) -> Frames {
    let mut frames = Frames::connect(sidecar.traffic);
    frames.send(SETTINGS, 0, 0, &window(each)).expect("settings");
    frames.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).expect("a window");
    ask(&mut frames, &format!("/length/{length}"));
    frames
}

fn sent(sidecar: &Sidecar) -> usize {
    sidecar.metric("pulsegate_bytes_total", &["direction=\"sent\""]) as usize
}

/// Waits until so many heads are there, and nothing more is read from the app.
fn come_to_rest(sidecar: &Sidecar, upstream: &Upstream, requests: usize) {
    let mut before = 0;
    eventually(PATIENCE, "all wait", || {
        let now = if upstream.seen().len() == requests { sent(sidecar) } else { 0 };
        std::mem::replace(&mut before, now) == now && now > 0
    });
}

#[track_caller]
fn assert_memory(sidecar: &Sidecar, before: u64, most: usize) {
    let now = sidecar.process.own_kib();
    assert!(now < before + most as u64 / 1024, "memory went from {before} to {now} KiB");
}

#[test]
fn a_stream_without_a_window_costs_a_step() {
    const LENGTH: usize = 1 << 20;
    let upstream = app();
    let sidecar = Sidecar::start(&settings(&upstream));
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    let most = CONNECTION_MOST + STEP + STREAMS as usize * LEAST_STEP;
    for (round, kind) in [(1.0, "length"), (2.0, "chunks")] {
        let mut frames = Frames::connect(sidecar.traffic);
        frames.send(SETTINGS, 0, 0, &window(0)).expect("settings");
        let begun = sent(&sidecar);
        ask(&mut frames, &format!("/{kind}/{LENGTH}"));
        for _ in 0..STREAMS {
            frames.wait_for(HEADERS).expect("a head");
        }
        let read = sent(&sidecar) - begun;
        assert!((1..=most).contains(&read), "{kind}: {read} bytes were read");
        assert_memory(&sidecar, memory, 2 * most + STREAMS as usize * STREAM);

        // One of them gets its window, byte by byte at first, and then all.
        let got = take(&mut frames, 51, LENGTH, &[1, 2, 4_095, 4_096, 4_097, 100_000]);
        assert!(got == pattern(LENGTH), "{kind}: not a byte is lost");
        drop(frames);
        eventually(PATIENCE, "the others are counted as given up", || {
            sidecar.metric("pulsegate_requests_total", &["code=\"499\""]) == round * f64::from(STREAMS - 1)
        });
        assert_eq!(sidecar.metric("pulsegate_requests_total", &["code=\"200\""]), round);
        assert_eq!(sidecar.metric("pulsegate_requests_in_flight", &[]), 0.0);
    }
}

/// Opens a stream's window by so much at a time, in turns, and reads its body to the end.
fn take(frames: &mut Frames, stream: u32, length: usize, windows: &[u32]) -> Vec<u8> {
    let (mut got, mut open) = (Vec::new(), 0);
    let mut windows = windows.iter().cycle();
    loop {
        if got.len() == open && open < length {
            let more = *windows.next().expect("for ever");
            open += more as usize;
            for stream in [0, stream] {
                frames.send(WINDOW_UPDATE, 0, stream, &more.to_be_bytes()).expect("a window");
            }
        }
        let frame = frames.next().expect("a frame");
        assert!(frame.kind != DATA || frame.stream == stream, "data without a window");
        if frame.stream == stream {
            got.extend_from_slice(if frame.kind == DATA { &frame.payload } else { &[] });
            if frame.ends() {
                return got;
            }
        }
    }
}

#[test]
fn trailers_come_without_a_window() {
    let upstream = app();
    let sidecar = Sidecar::start(&settings(&upstream));
    let mut frames = Frames::connect(sidecar.traffic);
    // Exactly what the body takes; the fields after it take nothing.
    for (number, length) in [5, LEAST_STEP, 20_000, 65_000].into_iter().enumerate() {
        frames.send(SETTINGS, 0, 0, &window(length as u32)).expect("settings");
        frames.get(2 * number as u32 + 1, &format!("/chunks/{length}")).expect("a request");
        let mut data = 0;
        loop {
            let frame = frames.next().expect("a frame");
            data += if frame.kind == DATA { frame.payload.len() } else { 0 };
            if frame.kind == HEADERS && frame.ends() {
                break;
            }
        }
        assert_eq!(data, length);
        frames.send(WINDOW_UPDATE, 0, 0, &(length as u32).to_be_bytes()).expect("a window");
    }
}

/// Many connections together: the worker has one bound for all, and serves who takes his answers.
#[test]
fn all_connections_that_take_nothing_cost_one_bound() {
    const LENGTH: usize = 1 << 20;
    const CONNECTIONS: usize = 12;
    let upstream = app();
    let sidecar = Sidecar::start(&settings(&upstream));
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    // Half of them open windows and do not read, the others open none.
    let all: Vec<Frames> =
        (0..CONNECTIONS).map(|number| asking(&sidecar, if number % 2 == 0 { 0 } else { 1 << 30 }, LENGTH)).collect();
    come_to_rest(&sidecar, &upstream, CONNECTIONS * STREAMS as usize);
    let each = 2 * STEP + STREAMS as usize * (LEAST_STEP + STREAM);
    assert_memory(&sidecar, memory, 2 * WORKER_MOST + CONNECTIONS * each);
    // A few may have gone to the kernel whole.
    let gone = sidecar.metric("pulsegate_requests_total", &["code=\"200\""]);

    with_http2(sidecar.traffic, async |mut client| {
        for (kind, length) in [("length", LENGTH), ("chunks", 10), ("chunks", LENGTH)] {
            let request = Request::get(format!("http://a/{kind}/{length}")).body(()).expect("a request");
            let (answer, _) = client.send_request(request, true).expect("sent");
            let (mut body, mut got) = (answer.await.expect("an answer").into_body(), Vec::new());
            while let Some(data) = body.data().await {
                let data = data.expect("data");
                body.flow_control().release_capacity(data.len()).expect("released");
                got.extend_from_slice(&data);
            }
            assert!(got == pattern(length), "{kind}/{length}: not a byte is lost");
        }
    });
    drop(all);
    eventually(PATIENCE, "nothing is left", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], gone + 3.0);
    sidecar.assert_metric("pulsegate_requests_total", &[], (CONNECTIONS * STREAMS as usize + 3) as f64);
}

/// `MOST_OFFERED` of the proxy: answers of our own come whole.
#[test]
fn our_own_answers_that_are_not_taken_have_a_bound() {
    const MOST: usize = 1 << 20;
    let upstream = app();
    let sidecar = Sidecar::start(&settings(&upstream));
    let length = Client::connect(sidecar.traffic).ask("GET", "/metrics", &[], b"").expect("an answer").body.len();
    let mut frames = Frames::connect(sidecar.traffic);
    frames.send(SETTINGS, 0, 0, &window(0)).expect("settings");
    ask(&mut frames, "/metrics");
    let (mut heads, mut refused) = (0, 0);
    while heads + refused < STREAMS as usize {
        match frames.next().expect("a frame") {
            frame if frame.kind == HEADERS => heads += 1,
            // ENHANCE_YOUR_CALM (RFC 9113 section 7).
            frame if frame.kind == RST_STREAM => refused += usize::from(frame.code() == 11),
            _ => {}
        }
    }
    assert!(refused > 0 && heads * length < MOST + 2 * length + STREAMS as usize * 1024, "{heads} of {length} bytes");
    drop(frames);
    let mut frames = Frames::connect(sidecar.traffic);
    frames.get(1, "/metrics").expect("a request");
    assert!(frames.wait_for(HEADERS).is_some_and(|head| head.payload[0] == 0x80 | 8), "others are answered");
}

/// What waits for the socket, and is not read for meanwhile, waits for `timeouts.write`.
#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let upstream = app();
    let sidecar = Sidecar::start(&settings(&upstream).text("proxy.timeouts.write", "1s"));
    let mut frames = Frames::connect(sidecar.traffic);
    frames.send(SETTINGS, 0, 0, &window(1 << 30)).expect("settings");
    frames.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).expect("a window");
    ask(&mut frames, "/length/1000000");
    let count = |code| sidecar.metric("pulsegate_requests_total", &[code]);
    eventually(PATIENCE, "all are given up", || {
        count("code=\"499\"") + count("code=\"200\"") == f64::from(STREAMS)
            && sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
    });
    assert!(count("code=\"499\"") > f64::from(STREAMS) / 2.0, "the kernel holds some, not all");
}

/// `MOST_OF_HEADS` of the proxy: heads are kept while the app has not answered.
#[test]
fn large_heads_of_many_requests_have_a_bound() {
    const HEAD: usize = 60_000;
    const MOST: usize = 1 << 20;
    let upstream = Upstream::start(|exchange| {
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = Sidecar::start(&settings(&upstream));
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    let mut frames = Frames::connect(sidecar.traffic);
    let value = "v".repeat(HEAD);
    let head =
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("x-large", &value)]);
    for number in 0..STREAMS {
        let mut pieces = head.chunks(16_000).peekable();
        frames.send(HEADERS, END_STREAM, 2 * number + 1, pieces.next().expect("a piece")).expect("a request");
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            frames.send(CONTINUATION, flags, 2 * number + 1, piece).expect("more of it");
        }
    }
    let accepted = MOST.div_ceil(HEAD) as u32;
    for number in accepted..STREAMS {
        let reset = frames.wait_for(RST_STREAM).expect("a reset");
        // REFUSED_STREAM: it may be sent again (RFC 9113 section 8.7).
        assert_eq!((reset.stream, reset.code()), (2 * number + 1, 7));
    }
    eventually(PATIENCE, "the others are with the app", || upstream.seen().len() == accepted as usize);
    assert_memory(&sidecar, memory, 2 * MOST + STREAMS as usize * STREAM);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"429\""], f64::from(STREAMS - accepted));
    drop(frames);
    eventually(PATIENCE, "all are counted", || {
        sidecar.metric("pulsegate_requests_total", &[]) == f64::from(STREAMS)
            && sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
    });
}

#[test]
fn a_client_that_reads_late_gets_every_byte() {
    const LENGTH: usize = 300_000;
    const CONNECTIONS: usize = 4;
    let upstream = app();
    let sidecar = Sidecar::start(&settings(&upstream));
    let _ = sidecar.get("/livez");
    let memory = sidecar.process.own_kib();
    let mut all: Vec<Frames> = (0..CONNECTIONS).map(|_| asking(&sidecar, 1 << 30, LENGTH)).collect();
    come_to_rest(&sidecar, &upstream, CONNECTIONS * STREAMS as usize);
    let each = 2 * STEP + STREAMS as usize * (LEAST_STEP + STREAM);
    // Twice, for what is given back while it waits is not always given back to the system.
    assert_memory(&sidecar, memory, 2 * WORKER_MOST + CONNECTIONS * each);
    for frames in &mut all {
        let mut got: HashMap<u32, Vec<u8>> = HashMap::new();
        let mut ended = 0;
        while ended < STREAMS {
            let frame = frames.next().expect("a frame");
            if frame.kind == DATA {
                got.entry(frame.stream).or_default().extend_from_slice(&frame.payload);
            }
            ended += u32::from(frame.stream > 0 && frame.ends());
            if frame.flags & ACK == 0 && matches!(frame.kind, SETTINGS | PING) {
                frames.send(frame.kind, ACK, 0, if frame.kind == PING { &frame.payload } else { b"" }).expect("sent");
            }
        }
        let whole = pattern(LENGTH);
        assert!(got.len() == STREAMS as usize && got.values().all(|body| *body == whole), "not a byte is lost");
    }
    let expected = (CONNECTIONS * STREAMS as usize) as f64;
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], expected);
    sidecar.assert_metric("pulsegate_requests_total", &[], expected);
}
