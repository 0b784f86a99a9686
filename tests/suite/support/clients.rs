use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

use super::{Client, HttpError, Response};

/// Clients that ask, wait for the answer and ask again, on a connection that they keep until they are told to close it.
pub(crate) struct ClosedLoop {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
    failed: std::sync::Mutex<Vec<String>>,
    refused: AtomicUsize,
}

/// How one client asks.
type Ask = dyn Fn(&mut Client) -> Result<Response, HttpError> + Send + Sync;

impl ClosedLoop {
    /// Starts so many clients. An answer must be a 200.
    pub(crate) fn start(
        address: SocketAddr,
        clients: usize,
        ask: impl Fn(&mut Client) -> Result<Response, HttpError> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            failed: std::sync::Mutex::default(),
            refused: AtomicUsize::new(0),
        });
        let ask: Arc<Ask> = Arc::new(ask);
        let threads = (0..clients).map(|_| {
            let (shared, ask) = (shared.clone(), ask.clone());
            std::thread::spawn(move || run(address, &shared, &*ask))
        });
        Self { threads: threads.collect(), shared }
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> usize {
        self.shared.answered.load(SeqCst)
    }

    /// Clients that have been refused a connection, which ends them.
    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.load(SeqCst)
    }

    /// Ends the clients after their present request, and tells what failed.
    pub(crate) fn end(self) -> Vec<String> {
        self.shared.stop.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("a client");
        }
        std::mem::take(&mut self.shared.failed.lock().expect("the failures"))
    }
}

fn run(address: SocketAddr, shared: &Shared, ask: &Ask) {
    let fail = |what: String| shared.failed.lock().expect("the failures").push(what);
    let mut connection: Option<Client> = None;
    while !shared.stop.load(SeqCst) {
        let mut client = match connection.take().map_or_else(|| Client::try_connect(address), Ok) {
            Ok(client) => client,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                shared.refused.fetch_add(1, SeqCst);
                return;
            }
            Err(error) => {
                fail(format!("connecting: {error}"));
                continue;
            }
        };
        match ask(&mut client) {
            Ok(answer) if answer.status == 200 => {
                shared.answered.fetch_add(1, SeqCst);
                if !answer.closes() {
                    connection = Some(client);
                }
            }
            Ok(answer) => fail(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))),
            Err(error) => fail(error.to_string()),
        }
    }
}
