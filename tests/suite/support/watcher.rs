use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use super::http::Head;
use super::{Client, PATIENCE, Wire, eventually};

/// A client of server-sent events that takes the format literally, and each piece as it comes.
pub(crate) struct Watcher {
    pub(crate) head: Head,
    heard: Arc<Mutex<Heard>>,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Value,
}

#[derive(Default)]
struct Heard {
    text: String,
    events: Vec<Told>,
    comments: usize,
    /// How it ended.
    end: Option<Result<(), String>>,
}

impl Watcher {
    /// Begins to watch.
    #[track_caller]
    pub(crate) fn start(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Self {
        Self::over(Client::connect(address), path, fields)
    }

    /// The same on a connection that is there already.
    #[track_caller]
    pub(crate) fn over_wire(wire: Wire, path: &str) -> Self {
        Self::over(Client::over(wire), path, &[])
    }

    fn over(mut client: Client, path: &str, fields: &[(&str, &str)]) -> Self {
        client.write("GET", path, fields, b"").expect("a request");
        let head = client.read_head().expect("a head");
        assert_eq!(head.status, 200, "{head:?}");
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let (socket, listening, of) = (client.stream(), heard.clone(), head.clone());
        // Silence is what a watcher mostly hears.
        socket.set_read_timeout(Some(2 * PATIENCE)).expect("a timeout");
        let thread = std::thread::spawn(move || {
            let mut pieces = client.pieces(&of).expect("a body");
            let end = loop {
                match pieces.next() {
                    Ok(Some(piece)) => listening.lock().expect("what was heard").take(&piece),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error.to_string()),
                }
            };
            listening.lock().expect("what was heard").end = Some(end);
        });
        Self { head, heard, socket, thread: Some(thread) }
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.heard.lock().expect("what was heard").events.clone()
    }

    /// Each event in short: `transition app unhealthy`.
    pub(crate) fn short(&self) -> Vec<String> {
        self.told().iter().map(Told::short).collect()
    }

    /// All of the text.
    pub(crate) fn text(&self) -> String {
        self.heard.lock().expect("what was heard").text.clone()
    }

    pub(crate) fn comments(&self) -> usize {
        self.heard.lock().expect("what was heard").comments
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<Result<(), String>> {
        self.heard.lock().expect("what was heard").end.clone()
    }

    /// Waits until it was told this last.
    #[track_caller]
    pub(crate) fn await_last(&self, expected: &str) -> Told {
        let mut told = Vec::new();
        let last = || {
            told = self.short();
            told.last().is_some_and(|last| last == expected)
        };
        eventually(PATIENCE, &format!("it is told {expected:?}"), last);
        self.told().pop().expect("an event")
    }

    /// Waits for the end, which must be a proper one.
    #[track_caller]
    pub(crate) fn await_end(&self) {
        eventually(PATIENCE, "it ends", || self.end().is_some());
        assert_eq!(self.end(), Some(Ok(())), "{}", self.text());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Told {
    fn short(&self) -> String {
        let word = |name: &str| self.data[name].as_str().map(|word| format!(" {word}")).unwrap_or_default();
        let what = [word("check"), word("group"), word("to"), word("status"), word("reason")].concat();
        match &*self.event {
            "snapshot" => format!("snapshot{}", word("status")),
            "transition" | "status" => format!("{}{}{}{}", self.event, word("check"), word("group"), word("to")),
            _ => format!("{}{what}", self.event),
        }
    }
}

impl Heard {
    /// Takes in a piece: every event is whole, and has every field once.
    fn take(&mut self, piece: &[u8]) {
        self.text.push_str(std::str::from_utf8(piece).expect("UTF-8"));
        let before = self.events.len() + self.comments;
        let blocks: Vec<&str> = self.text.split_inclusive("\n\n").filter(|block| block.ends_with("\n\n")).collect();
        let blocks = blocks.into_iter().filter(|block| !block.starts_with("retry: "));
        for block in blocks.skip(before).map(str::to_owned).collect::<Vec<_>>() {
            self.block(block.trim_end_matches('\n'));
        }
    }

    fn block(&mut self, block: &str) {
        if block.starts_with(':') {
            self.comments += 1;
            return;
        }
        let field = |name: &str| {
            let mut values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let value = values.next().unwrap_or_default().to_owned();
            assert!(values.next().is_none(), "{name} is there twice: {block}");
            value
        };
        let data = serde_json::from_str(&field("data")).expect("JSON");
        self.events.push(Told { id: field("id"), event: field("event"), data });
    }
}
