use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::account::{Account, Outcome};
use super::streams::streams;
use crate::support::{Client, HttpError, PATIENCE, Random};

/// One kind of client, which does the same again and again.
pub(super) struct Work {
    pub(super) name: &'static str,
    /// Between two rounds, so that the machine is not full of it.
    pause: Duration,
    round: fn(&mut Worker<'_>),
}

/// What one client of the soak has.
pub(super) struct Worker<'a> {
    pub(super) name: &'static str,
    pub(super) traffic: SocketAddr,
    pub(super) account: &'a Account,
    pub(super) random: Random,
    kept: Option<Client>,
}

const fn work(name: &'static str, milliseconds: u64, round: fn(&mut Worker<'_>)) -> Work {
    Work { name, pause: Duration::from_millis(milliseconds), round }
}

pub(super) const WORKS: [Work; 15] = [
    work("kept GET", 2, |worker| worker.on_kept("GET", "/bytes/200", &[])),
    work("kept GET, chunks", 5, |worker| worker.on_kept("GET", "/chunks/20", &[])),
    work("kept POST", 2, |worker| worker.on_kept("POST", "/echo", &[b'x'; 4096])),
    work("kept, any code", 10, |worker| {
        let code = ["204", "304", "404", "429", "500", "503", "529"][worker.random.below(7)];
        worker.on_kept("GET", &format!("/code/{code}"), &[]);
    }),
    work("new connection", 5, |worker| worker.on_new("GET", "/bytes/200", &[])),
    work("large down", 200, |worker| worker.on_kept("GET", "/bytes/4194304", &[])),
    work("large up", 200, |worker| worker.on_kept("POST", "/echo", &vec![b'x'; 4 << 20])),
    work("events", 50, |worker| worker.on_new("GET", "/events/25", &[])),
    work("faulty app", 50, |worker| {
        let target = ["/half", "/garbage"][worker.random.below(2)];
        worker.on_new("GET", target, &[]);
    }),
    work("WebSocket", 50, upgrade),
    work("leaves", 20, leave),
    work("malformed", 20, malformed),
    work("slow client", 100, slowly),
    work("HTTP/2 streams", 50, streams),
    work("waits", 20, |worker| worker.on_kept("GET", "/slow", &[])),
];

/// Works until it is told to stop.
pub(super) fn run(work: &Work, seed: u64, traffic: SocketAddr, account: &Account, stop: &AtomicBool) {
    let random = Random(0x5eed_1000 + seed);
    let mut worker = Worker { name: work.name, traffic, account, random, kept: None };
    while !stop.load(SeqCst) {
        (work.round)(&mut worker);
        std::thread::sleep(work.pause);
    }
}

impl Worker<'_> {
    fn on_kept(&mut self, method: &str, target: &str, body: &[u8]) {
        let mut client = self.kept.take().unwrap_or_else(|| Client::connect(self.traffic));
        if self.ask(&mut client, method, target, body) {
            self.kept = Some(client);
        }
    }

    fn on_new(&mut self, method: &str, target: &str, body: &[u8]) {
        let mut client = Client::connect(self.traffic);
        self.ask(&mut client, method, target, body);
    }

    /// Asks and notes what came of it; tells whether the connection can be used again.
    fn ask(&mut self, client: &mut Client, method: &str, target: &str, body: &[u8]) -> bool {
        self.account.sent(self.name);
        // An early answer ends the connection while the body is still being written: it is there to be read.
        let _ = client.write(method, target, &[], body);
        self.read(client)
    }

    fn read(&mut self, client: &mut Client) -> bool {
        let head = loop {
            match client.read_head() {
                Ok(head) if head.status < 200 => {}
                Ok(head) => break head,
                Err(HttpError::Truncated(_)) => {
                    self.account.ended(self.name, Outcome::Unanswered);
                    return false;
                }
                Err(error) => panic!("{}: {error}", self.name),
            }
        };
        let mut pieces = client.pieces(&head).expect("a body of one length");
        loop {
            match pieces.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(HttpError::Truncated(_)) => {
                    self.account.ended(self.name, Outcome::Cut(head.status));
                    return false;
                }
                Err(error) => panic!("{}: {error}", self.name),
            }
        }
        self.account.ended(self.name, Outcome::Answered(head.status));
        head.field("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"))
    }
}

/// A WebSocket that says something and closes.
fn upgrade(worker: &mut Worker<'_>) {
    let mut client = Client::connect(worker.traffic);
    let fields = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("sec-websocket-version", "13"),
    ];
    worker.account.sent(worker.name);
    client.write("GET", "/upgrade", &fields, &[]).expect("a request");
    let Ok(head) = client.read_head() else {
        return worker.account.ended(worker.name, Outcome::Unanswered);
    };
    if head.status != 101 {
        return worker.account.ended(worker.name, Outcome::Answered(head.status));
    }
    for _ in 0..10 {
        let message = worker.random.bytes(1000);
        let echoed = client.send(&message).is_ok().then(|| client.read_exact(message.len()));
        match echoed {
            Some(Ok(echo)) => assert_eq!(echo, message, "a tunnel changes nothing"),
            // The app died with it.
            _ => break,
        }
    }
    worker.account.ended(worker.name, Outcome::Answered(101));
}

/// Leaves somewhere on the way.
fn leave(worker: &mut Worker<'_>) {
    let mut client = Client::connect(worker.traffic);
    let (bytes, takes) = match worker.random.below(4) {
        0 => (&b"GET /half HT"[..], 0),
        1 => (&b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"[..], 0),
        2 => (&b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nsome"[..], 0),
        _ => (&b"GET /bytes/4194304 HTTP/1.1\r\nhost: a\r\n\r\n"[..], 10_000),
    };
    worker.account.sent(worker.name);
    client.send(bytes).expect("bytes");
    let _ = client.read_exact(takes);
    if worker.random.below(2) == 0 {
        let _ = socket2::SockRef::from(&client.stream()).set_linger(Some(Duration::ZERO));
    }
    worker.account.ended(worker.name, Outcome::Left);
}

fn malformed(worker: &mut Worker<'_>) {
    let requests = [
        &b"NOT HTTP\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
        b"GET / HTTP/1.1\nhost: a\n\n",
    ];
    let mut client = Client::connect(worker.traffic);
    worker.account.sent(worker.name);
    client.send(requests[worker.random.below(requests.len())]).expect("bytes");
    worker.read(&mut client);
}

/// Writes its request byte by byte, or reads its answer a little at a time.
fn slowly(worker: &mut Worker<'_>) {
    let mut stream = TcpStream::connect(worker.traffic).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    worker.account.sent(worker.name);
    for part in b"GET /bytes/262144 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".chunks(3) {
        std::thread::sleep(Duration::from_millis(5));
        stream.write_all(part).expect("bytes");
    }
    let (mut answer, mut part) = (Vec::new(), [0; 8192]);
    loop {
        std::thread::sleep(Duration::from_millis(3));
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{}: {error}", worker.name),
        }
    }
    let code = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| code.parse().ok());
    let outcome = match code {
        Some(200) if answer.len() < 262_144 => Outcome::Cut(200),
        Some(code) => Outcome::Answered(code),
        None => Outcome::Unanswered,
    };
    worker.account.ended(worker.name, outcome);
}
