//! The end of a connection of HTTP/2 whose client has not got all of its answers yet.

use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::http2::{DATA, Frames, GOAWAY, SETTINGS, WINDOW_UPDATE};
use crate::support::{PATIENCE, Sidecar, Upstream, Wire, always, eventually};

/// More than a client takes that does not read, and no more than the kernel takes for it.
const SIZE: usize = 250_000;

/// A client whose answer is on its way, all of it in our kernel: it has opened its windows, and reads nothing.
fn slow(sidecar: &Sidecar, upstream: &Upstream) -> Frames {
    // Its kernel takes little for it.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a buffer");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.connect(&SockAddr::from(sidecar.traffic)).expect("a connection");
    let mut frames = Frames::begin(Wire::Plain(socket.into()));
    // INITIAL_WINDOW_SIZE of 1 MiB, and as much for the connection.
    frames.send(SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0]).expect("settings");
    frames.send(WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0]).expect("a window");
    frames.get(1, "/").expect("a request");
    eventually(PATIENCE, "the app has answered", || upstream.seen().len() == 1);
    eventually(PATIENCE, "all of it is on its way", || {
        sidecar.metric("pulsegate_bytes_total", &["sent"]) == SIZE as f64
    });
    frames
}

/// Each frame that a client sends to a closed connection is answered with a reset, which takes back what it has not read.
fn assert_whole(frames: &mut Frames) {
    let mut got = 0;
    while got < SIZE {
        let frame = frames.wait_for(DATA).unwrap_or_else(|| panic!("more than {got} bytes"));
        got += frame.payload.len();
        let length = u32::try_from(frame.payload.len()).expect("short").to_be_bytes();
        // A reset that came meanwhile shows itself by what is missing.
        let _ = frames.send(WINDOW_UPDATE, 0, 0, &length);
    }
}

#[test]
fn who_reads_slowly_gets_all_of_it_although_the_process_ends() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], &vec![b'x'; SIZE]));
    let settings = Sidecar::bare(&upstream).text("shutdown.lame_duck", "0").text("shutdown.grace", "20s");
    let mut sidecar = Sidecar::start(&settings);
    let mut frames = slow(&sidecar, &upstream);
    sidecar.terminate();
    always(Duration::from_millis(2500), "it waits for the client", || sidecar.process.status().is_none());
    assert_whole(&mut frames);
    drop(frames);
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}

#[test]
fn who_says_good_bye_gets_all_that_it_asked_for() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], &vec![b'x'; SIZE]));
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut frames = slow(&sidecar, &upstream);
    frames.send(GOAWAY, 0, 0, &[0; 8]).expect("good-bye");
    always(Duration::from_millis(500), "the connection is kept", || {
        sidecar.metric("pulsegate_connections", &[]) == 1.0
    });
    assert_whole(&mut frames);
}
