//! What RFC 9113 section 8 calls malformed and HTTP/1.1 would not notice: refused, counted, and never whole to the app.

use crate::support::http2::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block};
use crate::support::{Next, PATIENCE, Sidecar, Upstream, eventually};

/// An app that answers what is complete with its trailer.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            let Some(more) = exchange.take_some() else { return Next::Close };
            got.extend(more);
        }
        exchange.answer(200, &[], &got)
    })
}

fn post(sidecar: &Sidecar, trailer: &[(&str, &str)]) -> Frames {
    let mut frames = Frames::connect(sidecar.traffic);
    frames.post(1, "/").expect("a head");
    frames.send(DATA, 0, 1, b"body").expect("a body");
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(trailer)).expect("a trailer");
    frames
}

/// RFC 9113 sections 8.1 and 8.2.1: the fields after a body are fields like any other.
#[test]
fn a_trailer_that_is_malformed_is_refused() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    for (count, value) in [" 1", "1 ", "\t1", "1\t", " "].into_iter().enumerate() {
        let mut frames = post(&sidecar, &[("x-sum", value)]);
        let answer = frames.wait_for(HEADERS).expect("an answer");
        // The static table has an entry for 400 (RFC 7541 appendix A).
        assert_eq!((answer.stream, answer.payload[0]), (1, 0x80 | 12), "{value:?}");
        let body: serde_json::Value =
            serde_json::from_slice(&frames.wait_for(DATA).expect("a body").payload).expect("JSON");
        assert_eq!(body["error"]["code"], "bad_trailer");
        eventually(PATIENCE, "it is counted", || {
            sidecar.metric("pulsegate_errors_total", &["type=\"invalid_request\""]) == (count + 1) as f64
        });
    }
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 0.0);
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
}

/// The library drops them before anybody sees them (RFC 9113 section 8.1 would have the request refused): they reach nobody.
#[test]
fn a_pseudo_field_in_a_trailer_reaches_nobody() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut frames = post(&sidecar, &[(":path", "/other"), (":status", "200"), ("x-sum", "1")]);
    let mut got = Vec::new();
    loop {
        let frame = frames.wait_for(DATA).expect("data");
        got.extend_from_slice(&frame.payload);
        if frame.ends() {
            break;
        }
    }
    assert_eq!(String::from_utf8_lossy(&got), "4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(upstream.seen()[0].target, "/");
}
