//! What one client, stream or request of HTTP/2 does costs the others nothing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;

use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block,
};
use crate::support::{Client, H2App, H2Rules, Next, PATIENCE, Settings, Sidecar, Upstream, eventually};

fn settings(app: &H2App) -> Settings {
    Sidecar::bare_for(app.port()).text("proxy.upstream", &app.url()).raw("proxy.threads", "1")
}

/// A call that streams small messages to an app that takes its time is what gRPC does.
#[test]
fn a_body_of_many_small_frames_arrives() {
    const FRAMES: usize = 3_000;
    let (ask, asked) = std::sync::mpsc::sync_channel::<()>(1);
    let asked = std::sync::Mutex::new(asked);
    let app = Upstream::start(move |exchange| {
        // Not before all of it is on its way, as far as windows go.
        let _ = asked.lock().expect("the word").recv_timeout(PATIENCE);
        exchange.read_body();
        let length = exchange.seen.body.len().to_string();
        exchange.answer(200, &[], length.as_bytes())
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&app).raw("proxy.threads", "1"));
    let mut frames = Frames::connect(sidecar.traffic);
    frames.post(1, "/").expect("a request");
    let small = Frames::frame(DATA, 0, 1, b"twenty bytes of data");
    frames.bytes(&small.repeat(FRAMES)).expect("a window's worth");
    frames.send(DATA, END_STREAM, 1, b"").expect("the end");
    let received = || sidecar.metric("pulsegate_bytes_total", &["direction=\"received\""]);
    eventually(PATIENCE, "some of it has come", || received() > 0.0);
    ask.send(()).expect("the word");
    let head = frames.wait_for(HEADERS).expect("an answer");
    assert_eq!(head.payload[0], 0x80 | 8, "200");
    assert_eq!(frames.wait_for(DATA).expect("its body").payload, (20 * FRAMES).to_string().into_bytes());
}

#[test]
fn a_client_that_reads_nothing_does_not_end_the_apps_connection() {
    const STALLED: u32 = 40;
    let app = H2App::start(|mut exchange| async move {
        if exchange.head.uri.path() == "/victim" {
            exchange.read().await;
            return exchange.answer(200, &[], b"unharmed").await;
        }
        let mut send = exchange.begin(200, &[], false);
        // Until its window is full.
        for _ in 0..12_000 {
            send.reserve_capacity(24);
            while send.capacity() < 24 {
                match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
                    Some(Ok(_)) => {}
                    _ => return,
                }
            }
            if send.send_data(Bytes::from_static(b"twenty-four bytes of it\n"), false).is_err() {
                return;
            }
        }
    });
    let sidecar = Sidecar::start(&settings(&app));
    let mut victim = Client::connect(sidecar.traffic);
    victim.send(b"POST /victim HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").expect("sent");
    eventually(PATIENCE, "the app is asked", || app.requests() == 1);
    let mut stalled = Frames::connect(sidecar.traffic);
    // SETTINGS_INITIAL_WINDOW_SIZE of 0.
    stalled.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).expect("settings");
    for number in 0..STALLED {
        stalled.get(2 * number + 1, "/stalled").expect("a request");
    }
    let count = STALLED as usize + 1;
    eventually(PATIENCE, "all are with the app", || app.requests() == count);
    for _ in 0..STALLED {
        stalled.wait_for(HEADERS).expect("an answer that begins");
    }
    // What comes for them in the meantime has its time: another one is served whole.
    assert_eq!(sidecar.ask("POST", "/victim", &[], b"x").text(), "unharmed");
    victim.send(b"x").expect("sent");
    victim.expect("POST");
    assert_eq!(victim.read().expect("an answer").text(), "unharmed");
    assert_eq!((app.connections(), app.resets()), (1, Vec::new()));
    assert!(sidecar.process.own_kib() < 64 * 1024, "{} KiB", sidecar.process.own_kib());
}

/// gRPC's servers end connections by age, while calls run on them.
#[test]
fn what_a_goaway_leaves_out_goes_to_the_next_connection_at_once() {
    const CALLS: usize = 5;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = std::thread::spawn(move || {
        let mut aged = ByHand::accept(&listener);
        let streams: Vec<u32> = (0..CALLS).map(|_| aged.head()).collect();
        // NO_ERROR, and nothing after the first call, which has stream 1.
        aged.send(GOAWAY, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let mut next = ByHand::accept(&listener);
        for _ in 1..CALLS {
            let stream = next.head();
            next.answer(stream);
        }
        aged.answer(streams[0]);
        // Closed only when all answers have arrived.
        (aged, next)
    });
    let sidecar = Sidecar::start(
        &Sidecar::bare_for(1).text("proxy.upstream", &format!("h2c://127.0.0.1:{port}")).raw("proxy.threads", "1"),
    );
    let mut calls: Vec<Client> = (0..CALLS).map(|_| Client::connect(sidecar.traffic)).collect();
    for call in &mut calls {
        call.write("POST", "/", &[], b"once").expect("sent");
    }
    for mut call in calls {
        assert_eq!(call.read().expect("an answer").status, 200);
    }
    drop(app.join().expect("an app"));
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0);
}

/// One connection of an app that writes its frames by hand.
struct ByHand(TcpStream);

impl ByHand {
    fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.read_exact(&mut [0; PREFACE.len()]).expect("the preface");
        let mut app = Self(stream);
        app.send(SETTINGS, 0, b"");
        app
    }

    fn send(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        let flags = if kind == HEADERS { END_HEADERS | END_STREAM } else { 0 };
        self.0.write_all(&Frames::frame(kind, flags, stream, payload)).expect("a frame");
    }

    /// The stream of the next request.
    fn head(&mut self) -> u32 {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).expect("a frame");
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).expect("its payload");
            match kind {
                HEADERS => return u32::from_be_bytes(stream),
                SETTINGS if flags & ACK == 0 => {
                    self.0.write_all(&Frames::frame(SETTINGS, ACK, 0, b"")).expect("an acknowledgement");
                }
                _ => {}
            }
        }
    }

    /// 200, by its place in HPACK's table.
    fn answer(&mut self, stream: u32) {
        self.send(HEADERS, stream, &[0x88]);
    }
}

/// The one that fills the app's connection is still on its way when the next one looks for a place there.
#[test]
fn a_body_behind_the_last_place_of_a_connection_arrives() {
    let app = H2App::start_with(H2Rules { most_streams: Some(1), ..H2Rules::default() }, |mut exchange| async move {
        let (body, _) = exchange.read().await;
        exchange.answer(200, &[], &body).await;
    });
    let sidecar = Sidecar::start(&settings(&app));
    let mut frames = Frames::connect(sidecar.traffic);
    frames.get(1, "/warm").expect("a request");
    frames.wait_for(HEADERS).expect("an answer");
    let head = block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]);
    let call = |stream| {
        [Frames::frame(HEADERS, END_HEADERS, stream, &head), Frames::frame(DATA, END_STREAM, stream, b"hello")].concat()
    };
    for round in 0..20 {
        let first = 4 * round + 3;
        // In one segment, and so in one turn of the loop.
        frames.bytes(&[call(first), call(first + 2)].concat()).expect("two calls");
        for _ in 0..2 {
            let head = frames.wait_for(HEADERS).expect("an answer");
            assert_eq!(head.payload[0], 0x80 | 8, "200");
        }
    }
}

/// It works on after its last byte; until it ends the stream, that has its place (RFC 9113 section 5.1.2).
#[test]
fn an_answer_whose_end_is_late_holds_up_no_other_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = std::thread::spawn(move || {
        let mut busy = ByHand::accept(&listener);
        // One stream at a time.
        busy.send(SETTINGS, 0, &[0, 3, 0, 0, 0, 1]);
        let stream = busy.head();
        let head = [&[0x88][..], &block(&[("content-length", "4")])].concat();
        busy.0.write_all(&Frames::frame(HEADERS, END_HEADERS, stream, &head)).expect("a head");
        busy.send(DATA, stream, b"body");
        let mut next = ByHand::accept(&listener);
        let second = next.head();
        next.answer(second);
        (busy, next)
    });
    let sidecar = Sidecar::start(
        &Sidecar::bare_for(1).text("proxy.upstream", &format!("h2c://127.0.0.1:{port}")).raw("proxy.threads", "1"),
    );
    assert_eq!(sidecar.get("/").text(), "body");
    assert_eq!(sidecar.get("/").status, 200);
    drop(app.join().expect("an app"));
}

#[test]
fn connections_on_which_an_app_allows_nothing_do_not_add_up() {
    let app = H2App::start_with(H2Rules { most_streams: Some(0), ..H2Rules::default() }, |_| async {});
    let sidecar = Sidecar::start(&settings(&app).text("proxy.timeouts.connect", "100ms"));
    for _ in 0..3 {
        assert_eq!(sidecar.get("/").status, 503);
    }
    assert_eq!(app.connections(), 1);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"idle\""], 1.0);
}

#[test]
fn uploads_that_an_app_does_not_read_leave_room_for_others() {
    let (done, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let app = Upstream::start(move |exchange| {
        if exchange.seen.target == "/stuck" {
            // Until the test is over.
            let _ = held.lock().expect("the word").recv_timeout(4 * PATIENCE);
            return Next::Close;
        }
        exchange.read_body();
        exchange.answer(200, &[], b"through")
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&app).raw("proxy.threads", "1"));
    let mut frames = Frames::connect(sidecar.traffic);
    frames.wait_at_most(Duration::from_millis(100));
    // The library opens the window by halves: seven streams' worth leave something of it.
    for number in 0..6 {
        frames.post(2 * number + 1, "/stuck").expect("a request");
        fill(&mut frames, 2 * number + 1);
    }
    frames.wait_at_most(PATIENCE);
    frames.post(101, "/").expect("a request");
    frames.send(DATA, END_STREAM, 101, &[0; 1000]).expect("a body");
    let head = frames.wait_for(HEADERS).expect("an answer");
    assert_eq!((head.stream, head.payload[0]), (101, 0x80 | 8));
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 6.0);
    drop(done);
}

/// Sends of a body what the stream's window and all buffers behind it take.
fn fill(frames: &mut Frames, stream: u32) {
    const PIECE: usize = 16_000;
    let mut window = 65_535;
    for _ in 0..2_000 {
        while window >= PIECE {
            window -= PIECE;
            frames.send(DATA, 0, stream, &[0; PIECE]).expect("a piece");
        }
        while window < PIECE {
            match frames.next() {
                Some(frame) if frame.kind == WINDOW_UPDATE && frame.stream == stream => {
                    window += u32::from_be_bytes(frame.payload[..4].try_into().expect("a number")) as usize;
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

#[test]
fn wrong_requests_now_and_then_cost_the_connection_nothing() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&app).raw("proxy.threads", "1"));
    let mut frames = Frames::connect(sidecar.traffic);
    let wrong =
        block(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a"), ("connection", "x")]);
    // In more than one second, so that they are no flood.
    let begun = std::time::Instant::now();
    for number in 0..400_u32 {
        frames.send(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &wrong).expect("a request");
        let reset = frames.wait_for(RST_STREAM).expect("a reset");
        assert_eq!((reset.stream, reset.code()), (2 * number + 1, 1), "PROTOCOL_ERROR");
        let due = Duration::from_millis(10) * number;
        eventually(PATIENCE, "a moment passes", || begun.elapsed() >= due);
    }
    frames.get(1001, "/").expect("a request");
    let head = frames.wait_for(HEADERS).expect("an answer");
    assert_eq!((head.stream, head.payload[0]), (1001, 0x80 | 8));
}

/// Requests that the client has given up run on at the app, and do not count among those that it may have.
#[test]
fn abandoned_requests_leave_room_for_others() {
    let app = Upstream::start(|exchange| {
        if exchange.seen.target == "/held" {
            exchange.wait_until_gone();
            return Next::Close;
        }
        exchange.answer(200, &[], b"next")
    });
    let settings = Sidecar::bare(&app)
        .raw("proxy.threads", "1")
        .raw("proxy.limits.streams", "3")
        .text("proxy.finish_abandoned", "60s");
    let sidecar = Sidecar::start(&settings);
    let mut frames = Frames::connect(sidecar.traffic);
    for number in 0..3 {
        frames.get(2 * number + 1, "/held").expect("a request");
    }
    eventually(PATIENCE, "all are with the app", || app.seen().len() == 3);
    // In one piece with the next request: there is no other occasion to begin with that.
    let resets = (0..3).map(|number| Frames::frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()));
    let next = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]);
    let next = Frames::frame(HEADERS, END_HEADERS | END_STREAM, 7, &next);
    frames.bytes(&resets.chain([next]).collect::<Vec<_>>().concat()).expect("three resets and a request");
    let head = frames.wait_for(HEADERS).expect("an answer");
    assert_eq!((head.stream, head.payload[0]), (7, 0x80 | 8));
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 1.0);
}

/// `WORKER_MOST_OF_HEADS` of the proxy: HPACK makes a large head of a few bytes.
#[test]
fn large_heads_of_many_connections_have_a_bound_together() {
    const CONNECTIONS: u32 = 30;
    const HEAD: usize = 60_000;
    let app = Upstream::start(|exchange| {
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&app).raw("proxy.threads", "1"));
    let value = "v".repeat(HEAD);
    let head =
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("x-large", &value)]);
    let mut all: Vec<Frames> = (0..CONNECTIONS).map(|_| Frames::connect(sidecar.traffic)).collect();
    for frames in &mut all {
        for number in 0..10 {
            let mut pieces = head.chunks(16_000).peekable();
            frames.send(HEADERS, END_STREAM, 2 * number + 1, pieces.next().expect("a piece")).expect("a request");
            while let Some(piece) = pieces.next() {
                let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
                frames.send(CONTINUATION, flags, 2 * number + 1, piece).expect("more of it");
            }
        }
    }
    let refused = || sidecar.metric("pulsegate_requests_total", &["code=\"429\""]);
    let running = || sidecar.metric("pulsegate_requests_in_flight", &[]);
    eventually(PATIENCE, "all have begun or were refused", || refused() + running() == f64::from(10 * CONNECTIONS));
    let most = (8.0 * 1024.0 * 1024.0 / HEAD as f64).ceil();
    assert!(running() <= most + f64::from(CONNECTIONS), "{} run", running());
    let mut late = Frames::connect(sidecar.traffic);
    late.get(1, "/livez").expect("a request");
    assert!(late.wait_for(HEADERS).is_some_and(|head| head.payload[0] == 0x80 | 8), "one of each is always served");
    // Who has done nothing wrong is not sent away for what others do.
    late.get(3, "/held").expect("a request");
    for number in 0..300 {
        late.get(2 * number + 5, "/livez").expect("a request");
        assert_eq!(late.wait_for(RST_STREAM).map(|reset| reset.code()), Some(7), "REFUSED_STREAM");
    }
}
