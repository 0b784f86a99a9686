//! Ten thousand generated exchanges, once direct and once through the sidecar: the app and the client receive the same
//! bytes, but for what [`rules`] names.

mod generate;
mod message;
mod rules;

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use self::generate::{Exchange, exchange};
use self::message::Message;
use crate::support::{PATIENCE, Sidecar};

const EXCHANGES: usize = 10_000;

/// Clients at the same time, each on its own connection.
const LANES: usize = 4;

/// Messages by the number of their exchange.
type Received = BTreeMap<usize, Message>;

#[test]
fn the_app_and_the_client_receive_what_they_would_receive_without_a_sidecar() {
    let app = App::start();
    let sidecar = Sidecar::start(&Sidecar::bare_for(app.address.port())).ready();
    let direct = run(app.address, true);
    let direct_at_app = app.take();
    let proxied = run(sidecar.traffic, false);
    let proxied_at_app = app.take();
    assert_eq!((direct.len(), direct_at_app.len(), proxied.len()), (EXCHANGES, EXCHANGES, EXCHANGES));
    let lost: Vec<_> = (0..EXCHANGES).filter(|number| !proxied_at_app.contains_key(number)).collect();
    let lost: Vec<_> = lost.iter().map(|number| (number, &direct_at_app[number], &proxied[number])).collect();
    assert!(lost.is_empty(), "requests that did not reach the app, and what was answered: {lost:#?}");

    let via = proxied_at_app[&0].values("via").last().and_then(|via| via.split(' ').nth(1)).expect("Via").to_owned();
    let mut different = Vec::new();
    for number in 0..EXCHANGES {
        let request = &direct_at_app[&number];
        let expected = rules::for_app(request, &via);
        if expected != rules::without_trace(&proxied_at_app[&number], request) {
            different
                .push(format!("request {number}:\n expected {expected:?}\n received {:?}", proxied_at_app[&number]));
        }
        let expected = rules::for_client(&direct[&number], request, &via);
        let received = rules::without_date(&proxied[&number], &direct[&number]);
        if expected != received {
            different.push(format!("answer {number}:\n expected {expected:?}\n received {received:?}"));
        }
    }
    let few: Vec<&String> = different.iter().take(5).collect();
    assert!(different.is_empty(), "{} differences that no rule names: {few:#?}", different.len());
}

/// Every exchange with whoever listens there, which is the app itself or the sidecar; what the clients received.
fn run(address: SocketAddr, direct: bool) -> Received {
    let received = Mutex::new(Received::new());
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let received = &received;
            scope.spawn(move || {
                let mut kept = None;
                for number in (lane..EXCHANGES).step_by(LANES) {
                    let exchange = exchange(number);
                    let answer = ask(address, &mut kept, number, &exchange);
                    // An answer of HTTP/1.0, or one to HEAD, need not say it.
                    if direct && exchange.app_closes {
                        kept = None;
                    }
                    received.lock().expect("the answers").insert(number, answer);
                }
            });
        }
    });
    received.into_inner().expect("the answers")
}

fn ask(address: SocketAddr, kept: &mut Option<BufReader<TcpStream>>, number: usize, exchange: &Exchange) -> Message {
    let mut reader = kept.take().unwrap_or_else(|| {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        BufReader::new(stream)
    });
    reader.get_mut().write_all(&exchange.request).expect("a request");
    let answer = Message::read_answer(&mut reader, exchange.to_head)
        .unwrap_or_else(|error| panic!("exchange {number} with {address}: {error}"));
    let ends = exchange.client_closes || answer.until_close || answer.lists("connection", "close");
    if !ends {
        assert!(reader.buffer().is_empty(), "exchange {number}: more than an answer: {:?}", reader.buffer());
        *kept = Some(reader);
    }
    answer
}

/// Answers by the exchange that a request names, and keeps what it received.
struct App {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

impl App {
    /// It ends with the test program.
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Received::new()));
        let noted = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = noted.clone();
                std::thread::spawn(move || converse(stream, &noted));
            }
        });
        Self { address, received }
    }

    fn take(&self) -> Received {
        std::mem::take(&mut self.received.lock().expect("the requests"))
    }
}

fn converse(stream: TcpStream, noted: &Mutex<Received>) {
    stream.set_nodelay(true).expect("an option");
    let mut reader = BufReader::new(stream);
    while let Ok(request) = Message::read_request(&mut reader) {
        let number: usize = request.values("x-exchange").first().and_then(|text| text.parse().ok()).expect("a number");
        let exchange = exchange(number);
        let ends = exchange.app_closes || request.lists("connection", "close");
        let known = noted.lock().expect("the requests").insert(number, request);
        assert!(known.is_none(), "exchange {number} came twice");
        // The last part is the body, which an answer to HEAD has not.
        for part in &exchange.answer[..exchange.answer.len() - usize::from(exchange.to_head)] {
            if reader.get_mut().write_all(part).is_err() {
                return;
            }
        }
        if ends {
            return;
        }
    }
}
