//! Answers that come before the request is whole.

use crate::support::http2::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, WINDOW_UPDATE, block};
use crate::support::{Settings, Sidecar, Upstream};

/// What is longer is refused.
fn limited(upstream: &Upstream) -> Settings {
    Sidecar::bare(upstream).text("proxy.limits.body_bytes", "100KiB")
}

/// A request that is refused for its length, of which nothing has come yet.
const LONG: [(&str, &str); 5] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("content-length", "200000")];

/// A request's body, as far as the stream's window lets it go.
struct Upload<'a> {
    frames: &'a mut Frames,
    window: usize,
    /// What came meanwhile, with its stream.
    seen: Vec<(u8, u32)>,
    answer: Vec<u8>,
}

impl<'a> Upload<'a> {
    fn begin(frames: &'a mut Frames) -> Self {
        frames.post(1, "/").expect("a request");
        Self { frames, window: 65_535, seen: Vec::new(), answer: Vec::new() }
    }

    /// Sends a piece, once there is a window for it.
    #[track_caller]
    fn send(&mut self, flags: u8) {
        const PIECE: usize = 16_000;
        while self.window < PIECE {
            self.look();
        }
        self.frames.send(DATA, flags, 1, &[b'x'; PIECE]).expect("data");
        self.window -= PIECE;
    }

    /// Takes the next frame.
    #[track_caller]
    fn look(&mut self) {
        let frame = self.frames.next().expect("a frame");
        match (frame.kind, frame.stream) {
            (WINDOW_UPDATE, 1) => {
                self.window += u32::from_be_bytes(frame.payload.try_into().expect("a number")) as usize;
            }
            (DATA, 1) => self.answer.extend_from_slice(&frame.payload),
            _ => {}
        }
        self.seen.push((frame.kind, frame.stream));
    }

    #[track_caller]
    fn look_until(&mut self, kind: u8, stream: u32) {
        while self.seen.last() != Some(&(kind, stream)) {
            self.look();
        }
    }
}

/// It may look at the answer only when it has sent all: as httpx does, and curl before 8, which takes a reset for a failure
/// whatever came before it.
#[test]
fn who_sends_all_before_looking_gets_an_early_answer() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&limited(&upstream));
    let mut frames = Frames::connect(sidecar.traffic);
    let mut upload = Upload::begin(&mut frames);
    (0..100).for_each(|_| upload.send(0));
    upload.send(END_STREAM);
    assert!(String::from_utf8_lossy(&upload.answer).contains("body_too_large"), "{:?}", upload.answer);
    upload.frames.get(3, "/").expect("the connection goes on");
    upload.look_until(HEADERS, 3);
    assert!(!upload.seen.contains(&(RST_STREAM, 1)), "{:?}", upload.seen);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"413\""], 1.0);
}

#[test]
fn who_says_nothing_after_an_early_answer_is_told_to_stop() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&limited(&upstream));
    let mut frames = Frames::connect(sidecar.traffic);
    let mut upload = Upload::begin(&mut frames);
    (0..8).for_each(|_| upload.send(0));
    upload.look_until(DATA, 1);
    assert!(String::from_utf8_lossy(&upload.answer).contains("body_too_large"), "{:?}", upload.answer);
    // Its request is over by then, whatever its stream is.
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"413\""], 1.0);
    assert_eq!(frames.wait_for(RST_STREAM).expect("no more of it").code(), 0, "NO_ERROR");
    frames.get(3, "/").expect("the connection goes on");
    assert_eq!(frames.wait_for(HEADERS).expect("an answer").stream, 3);
}

/// Streams that have their answers count for the limit until they end (RFC 9113 section 5.1.2); the client need not end them.
#[test]
fn uploads_that_have_their_answers_make_way_for_who_has_none() {
    let upstream = Upstream::hello();
    let settings = limited(&upstream).raw("proxy.limits.streams", "8");
    let sidecar = Sidecar::start(&settings);
    let mut frames = Frames::connect(sidecar.traffic);
    for stream in (1..).step_by(2).take(40) {
        frames.send(HEADERS, END_HEADERS, stream, &block(&LONG)).expect("a request");
        while !frames.wait_for(DATA).expect("an answer").ends() {}
    }
    frames.get(81, "/").expect("a request");
    assert_eq!(frames.wait_for(HEADERS).expect("an answer").stream, 81);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"413\""], 40.0);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"429\""], 0.0);
}

/// A client that ends its uploads with a reset once it has the answer does as it should, however often.
#[test]
fn uploads_that_end_with_their_answer_are_no_flood() {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&limited(&upstream));
    let mut frames = Frames::connect(sidecar.traffic);
    for stream in (1..).step_by(2).take(500) {
        frames.send(HEADERS, END_HEADERS, stream, &block(&LONG)).expect("a request");
        while !frames.wait_for(DATA).expect("an answer").ends() {}
        frames.send(RST_STREAM, 0, stream, &CANCEL).expect("a reset");
    }
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"413\""], 500.0);
}
