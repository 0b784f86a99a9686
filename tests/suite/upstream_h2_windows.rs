//! An app that speaks HTTP/2 and lets no more in: what it holds up is as little as can be.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::{Client, PATIENCE, Sidecar, eventually, local};

/// An app that never gives back what of its windows was used, as some do for streams that have ended. It answers 204 to a
/// small body and to none, to a large one 413 before it has come whole, or nothing.
struct Miser {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// Of bodies.
    bytes: AtomicUsize,
}

const LARGE: usize = 20_000;

impl Miser {
    fn start(refuses_large: bool) -> Self {
        let listener = TcpListener::bind(local(0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let seen = Arc::<Seen>::default();
        let shared = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = shared.clone();
                seen.connections.fetch_add(1, SeqCst);
                std::thread::spawn(move || converse(stream, refuses_large, &seen));
            }
        });
        Self { port, seen }
    }

    fn sidecar(&self) -> Sidecar {
        let url = format!("h2c://127.0.0.1:{}", self.port);
        Sidecar::start(&Sidecar::bare_for(self.port).text("proxy.upstream", &url).raw("proxy.threads", "1"))
    }
}

/// Until the other side ends the connection.
fn converse(mut stream: TcpStream, refuses_large: bool, seen: &Seen) -> Option<()> {
    stream.read_exact(&mut [0; 24]).ok()?;
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").ok()?;
    let mut come = BTreeMap::<[u8; 4], usize>::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).ok()?;
        // Of DATA, or HEADERS.
        let [_, _, _, kind @ 0..=1, flags, id @ ..] = head else { continue };
        let length = if kind == 0 { payload.len() } else { 0 };
        seen.bytes.fetch_add(length, SeqCst);
        let all = come.entry(id).or_default();
        let before = *all;
        *all += length;
        // HEADERS that end the stream, with `:status` of HPACK's table: 204, or 413 in words.
        if *all < LARGE && flags & 1 == 1 {
            stream.write_all(&[b"\0\0\x01\x01\x05", &id[..], b"\x89"].concat()).ok()?;
        } else if before < LARGE && *all >= LARGE && refuses_large {
            stream.write_all(&[b"\0\0\x05\x01\x05", &id[..], b"\x08\x03413"].concat()).ok()?;
        }
    }
}

#[test]
fn one_that_answers_before_a_body_is_whole_is_asked_elsewhere() {
    let app = Miser::start(true);
    let sidecar = app.sidecar();
    let body = vec![b'x'; 4 << 20];
    for round in 1..=5 {
        let refused = Client::connect(sidecar.traffic).ask("POST", "/", &[], &body).expect("an answer");
        assert_eq!(refused.status, 413);
        assert_eq!(sidecar.ask("POST", "/", &[], b"little").status, 204, "round {round}");
        assert_eq!(app.seen.connections.load(SeqCst), round + 1);
    }
    eventually(PATIENCE, "no connection is left behind", || {
        sidecar.metric("pulsegate_upstream_connections", &["state=\"idle\""]) == 1.0
    });
}

#[test]
fn one_that_lets_no_body_in_holds_up_those_that_are_with_it() {
    let app = Miser::start(false);
    let sidecar = app.sidecar();
    let mut stuck = Client::connect(sidecar.traffic);
    stuck.write("POST", "/", &[], &vec![b'x'; 100_000]).expect("sent");
    eventually(PATIENCE, "the window is used up", || app.seen.bytes.load(SeqCst) == 65_535);
    assert_eq!(sidecar.get("/").status, 204, "what has no body needs no window");
    assert_eq!(app.seen.connections.load(SeqCst), 1);
    // Those that come within a second wait with it.
    let mut waiting = Vec::new();
    eventually(PATIENCE, "others are served", || {
        let mut client = Client::connect(sidecar.traffic);
        client.write("POST", "/", &[], b"little").expect("sent");
        client.stream().set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let served = client.read().is_ok_and(|answer| answer.status == 204);
        waiting.push(client);
        served
    });
    assert_eq!(app.seen.connections.load(SeqCst), 2);
    // The first of them found the window used up; and it was not that a connection has so many streams.
    assert!((2..100).contains(&waiting.len()), "{} came before one was served", waiting.len());
    eventually(PATIENCE, "the log says so", || {
        sidecar.log().contains("the app takes in no body on a connection of HTTP/2")
    });
}
