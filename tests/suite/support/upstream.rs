use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::PATIENCE;

/// An app that does what the test says, byte by byte, and remembers what it was asked.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    script: Box<dyn Fn(&mut Exchange) -> Next + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
    open: Mutex<Vec<(usize, TcpStream)>>,
    accepted: AtomicUsize,
    probe: AtomicU16,
    stopped: AtomicBool,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In the order in which they came; names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// Every value of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
    }

    /// The value of a field that must be there at most once.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there {} times", all.len());
        all.first().copied()
    }
}

/// What the app does with the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Waits for the next request.
    Keep,
    /// Closes it.
    Close,
    /// Resets it.
    Reset,
}

/// One request that is being answered.
pub(crate) struct Exchange {
    pub(crate) seen: Seen,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the request is remembered, and as which.
    noted: Option<(Arc<Shared>, usize)>,
}

impl Upstream {
    /// The path that the health check asks for: it is answered apart from the script and not remembered.
    pub(crate) const PROBE: &'static str = "/__probe";

    /// An app that follows a script.
    pub(crate) fn start(script: impl Fn(&mut Exchange) -> Next + Send + Sync + 'static) -> Self {
        Self::start_at(0, script)
    }

    /// The same at a port, for an app that comes back.
    pub(crate) fn start_at(port: u16, script: impl Fn(&mut Exchange) -> Next + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port for the app");
        // The library's 128 would have the kernel drop connections where hundreds come at once.
        rustix::net::listen(&listener, 4096).expect("a longer queue");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            open: Mutex::default(),
            accepted: AtomicUsize::new(0),
            probe: AtomicU16::new(200),
            stopped: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        let thread = std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared, thread: Some(thread) }
    }

    /// An app that reads each request and says `hello`.
    pub(crate) fn hello() -> Self {
        Self::start(|exchange| {
            exchange.read_body();
            exchange.answer(200, &[], b"hello")
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("the requests").clone()
    }

    /// The only request so far.
    #[track_caller]
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.lock().expect("the connections").len()
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// How the health check is answered from now on.
    pub(crate) fn set_probe(&self, code: u16) {
        self.shared.probe.store(code, SeqCst);
    }

    /// Closes every connection that is open; the listener stays.
    pub(crate) fn close_all(&self) {
        for (_, stream) in self.shared.open.lock().expect("the connections").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        self.close_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.close_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.accepted.fetch_add(1, SeqCst);
        if let Ok(handle) = stream.try_clone() {
            shared.open.lock().expect("the connections").push((number, handle));
        }
        let shared = shared.clone();
        std::thread::spawn(move || {
            serve(&stream, &shared);
            // Whoever sees that it is not open any more sees it closed.
            drop(stream);
            shared.open.lock().expect("the connections").retain(|(known, _)| *known != number);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(4 * PATIENCE));
    let _ = stream.set_write_timeout(Some(4 * PATIENCE));
    let mut buffer = Vec::new();
    loop {
        let Ok(handle) = stream.try_clone() else { return };
        let Some(mut exchange) = Exchange::read(handle, std::mem::take(&mut buffer)) else {
            return;
        };
        if exchange.seen.target == Upstream::PROBE {
            let code = shared.probe.load(SeqCst);
            exchange.answer(code, &[], b"probed");
            buffer = exchange.buffer;
            continue;
        }
        let index = {
            let mut seen = shared.seen.lock().expect("the requests");
            seen.push(exchange.seen.clone());
            seen.len() - 1
        };
        exchange.noted = Some((shared.clone(), index));
        let next = (shared.script)(&mut exchange);
        exchange.note();
        match next {
            Next::Keep => buffer = exchange.buffer,
            Next::Close => {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            Next::Reset => {
                // Lingering for no time at all makes the close a reset.
                let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
                return;
            }
        }
    }
}

impl Exchange {
    fn read(stream: TcpStream, buffer: Vec<u8>) -> Option<Self> {
        let seen = Seen { method: String::new(), target: String::new(), fields: Vec::new(), body: Vec::new() };
        let mut exchange = Self { seen, stream, buffer, noted: None };
        let mut lines = Vec::new();
        loop {
            let line = exchange.line()?;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut words = lines.first()?.split(' ');
        exchange.seen.method = words.next()?.to_owned();
        exchange.seen.target = words.next()?.to_owned();
        assert_eq!(words.next(), Some("HTTP/1.1"), "the app is spoken to in HTTP/1.1");
        for line in &lines[1..] {
            let (name, value) = line.split_once(':').expect("a field");
            exchange.seen.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(exchange)
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                true
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads so many bytes; `None` when the other side ends before.
    pub(crate) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill() {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Reads whatever has come; `None` at the end.
    pub(crate) fn take_some(&mut self) -> Option<Vec<u8>> {
        let some = !self.buffer.is_empty() || self.fill();
        some.then(|| std::mem::take(&mut self.buffer))
    }

    /// Reads the request's body to its end; false when it breaks off.
    pub(crate) fn read_body(&mut self) -> bool {
        if let Some(length) = self.seen.field("content-length").map(|length| length.parse().expect("a length")) {
            let Some(body) = self.take(length) else { return false };
            self.seen.body = body;
            return true;
        }
        if self.seen.field("transfer-encoding").is_none() {
            return true;
        }
        loop {
            let Some(line) = self.line() else { return false };
            let size = usize::from_str_radix(&line, 16).expect("a chunk's size");
            if size == 0 {
                // Trailers, then an empty line.
                while self.line().is_some_and(|line| !line.is_empty()) {}
                return true;
            }
            let Some(chunk) = self.take(size + 2) else { return false };
            self.seen.body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Reads and counts a body without keeping it; `None` when it breaks off.
    pub(crate) fn count_body(&mut self) -> Option<u64> {
        let length: u64 = self.seen.field("content-length")?.parse().expect("a length");
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && !self.fill() {
                return None;
            }
            left -= (self.buffer.len() as u64).min(left);
            self.buffer.clear();
        }
        Some(length)
    }

    /// Remembers what came of the body.
    fn note(&self) {
        if let Some((shared, index)) = &self.noted {
            shared.seen.lock().expect("the requests")[*index].body.clone_from(&self.seen.body);
        }
    }

    /// Writes bytes as they are; false when nobody is there any more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        // Whoever has an answer may look at what was asked.
        self.note();
        self.stream.write_all(bytes).is_ok()
    }

    /// A complete answer with its length.
    pub(crate) fn answer(&mut self, code: u16, fields: &[(&str, &str)], body: &[u8]) -> Next {
        let mut head = format!("HTTP/1.1 {code} Scripted\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let body = if self.seen.method == "HEAD" { b"" } else { body };
        let written = self.write(head.as_bytes()) && self.write(body);
        if written { Next::Keep } else { Next::Close }
    }

    /// Ends its own side, and goes on reading.
    pub(crate) fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether the other side has gone: waits until it has.
    pub(crate) fn wait_until_gone(&mut self) -> bool {
        while self.fill() {}
        true
    }
}
