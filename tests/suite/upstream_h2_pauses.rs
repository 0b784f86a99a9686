//! An app that speaks HTTP/2 and stands still for a while: what can wait waits.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::{Client, H2App, PATIENCE, Sidecar, always, eventually, local};

/// A sidecar for an app at this listener, and how long connecting may take.
fn sidecar(listener: &TcpListener, connect: &str) -> Sidecar {
    let address = listener.local_addr().expect("an address");
    let settings = Sidecar::bare_for(address.port())
        .text("proxy.upstream", &format!("h2c://{address}"))
        .text("proxy.timeouts.connect", connect)
        .raw("proxy.threads", "1");
    Sidecar::start(&settings)
}

/// Whether all of them wait, for much longer than connecting may take.
fn wait_on(sidecar: &Sidecar, clients: usize) {
    let in_flight = || sidecar.metric("pulsegate_requests_in_flight", &[]);
    eventually(PATIENCE, "all are in flight", || in_flight() == clients as f64);
    always(Duration::from_millis(900), "all wait", || in_flight() == clients as f64);
}

#[test]
fn one_that_greets_late_is_waited_for() {
    let app = H2App::echo();
    let front = TcpListener::bind(local(0)).expect("a port");
    let sidecar = sidecar(&front, "300ms");
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(sidecar.traffic)).collect();
    for client in &mut clients {
        client.write("POST", "/", &[], b"here").expect("a request");
    }
    wait_on(&sidecar, 3);
    // Its kernel has accepted; now it goes on.
    let (mut theirs, _) = front.accept().expect("a connection");
    let mut apps = TcpStream::connect(local(app.port())).expect("the app");
    let (mut from, mut to) = (theirs.try_clone().expect("a socket"), apps.try_clone().expect("a socket"));
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::thread::spawn(move || std::io::copy(&mut apps, &mut theirs));
    for client in &mut clients {
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.text()), (200, "here"));
    }
    assert_eq!(app.connections(), 1);
}

/// SETTINGS with SETTINGS_MAX_CONCURRENT_STREAMS.
fn most_streams(most: u8) -> [u8; 15] {
    [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, most]
}

/// Waits for a request.
fn await_request(app: &mut TcpStream) {
    loop {
        let mut head = [0; 9];
        app.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        app.read_exact(&mut payload).expect("its payload");
        if head[3] == 1 {
            break;
        }
    }
}

/// Answers 204 on a stream.
fn answer(app: &mut TcpStream, stream: u8) {
    // HEADERS that end the stream, with `:status: 204` of HPACK's table.
    app.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, stream, 0x89]).expect("an answer");
}

#[test]
fn one_that_takes_no_streams_for_a_moment_is_not_stormed() {
    let listener = TcpListener::bind(local(0)).expect("a port");
    let sidecar = sidecar(&listener, "2s");
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/", &[], b"").expect("a request");
    let (mut app, _) = listener.accept().expect("a connection");
    app.read_exact(&mut [0; 24]).expect("a preface");
    app.write_all(&most_streams(0)).expect("a greeting");
    // As long as connecting may take, and no longer.
    let refused = client.read().expect("an answer");
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (503, Some("upstream_stream_refused")));
    client.write("GET", "/", &[], b"").expect("a request");
    eventually(PATIENCE, "it waits", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 1.0);
    app.write_all(&most_streams(1)).expect("settings");
    await_request(&mut app);
    answer(&mut app, 1);
    assert_eq!(client.read().expect("an answer").status, 204);
    listener.set_nonblocking(true).expect("a listener");
    let another = listener.accept().expect_err("no other connection");
    assert_eq!(another.kind(), ErrorKind::WouldBlock);
}

/// As a hung process does behind a port that it shares with one that is well.
#[test]
fn a_further_connection_that_is_not_greeted_keeps_nobody_from_the_one_that_is() {
    let listener = TcpListener::bind(local(0)).expect("a port");
    let sidecar = sidecar(&listener, "300ms");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(sidecar.traffic)).collect();
    let ask = |client: &mut Client| client.write("POST", "/", &[], b"").expect("a request");
    ask(&mut clients[0]);
    let (mut app, _) = listener.accept().expect("a connection");
    app.read_exact(&mut [0; 24]).expect("a preface");
    app.write_all(&most_streams(1)).expect("a greeting");
    await_request(&mut app);
    clients[1..].iter_mut().for_each(ask);
    let (_silent, _) = listener.accept().expect("another connection");
    eventually(PATIENCE, "they wait", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 4.0);
    for stream in [1, 3, 5, 7] {
        if stream > 1 {
            await_request(&mut app);
        }
        answer(&mut app, stream);
    }
    for client in &mut clients {
        assert_eq!(client.read().expect("an answer").status, 204);
    }
}
