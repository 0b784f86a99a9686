//! Limits at their edges, and clients that are slow on purpose (dataplane.md, point 8): a clear status, a counter, never a
//! crash.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::failures::{assert_own, await_error, holding};
use crate::support::{
    Client, HttpError, Next, PATIENCE, Process, Response, Sidecar, Upstream, always, eventually, free_port, get, local,
};

fn app() -> Upstream {
    Upstream::start(|exchange| if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close })
}

/// Sends bytes again and again, with a pause between them in which an answer would be seen; tells what it was.
fn drip(client: &mut Client, bytes: &[u8], pause: Duration) -> Result<Response, HttpError> {
    let stream: TcpStream = client.stream();
    stream.set_read_timeout(Some(pause)).expect("an option");
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if stream.peek(&mut [0]).is_ok() || client.send(bytes).is_err() {
            break;
        }
    }
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    client.read()
}

const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn a_head_that_drips_ends_at_its_deadline() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.request_header", "700ms"));
    for (beginning, drop) in
        [("", "G"), ("GET / HTTP/1.1\r\nHost: a\r\nA: ", "x"), ("GET / HTTP/1.1\r\nHost: a\r\n", "A: b\r\n")]
    {
        let mut client = Client::connect(sidecar.traffic);
        client.send(beginning.as_bytes()).expect("bytes");
        let begun = Instant::now();
        let answer = drip(&mut client, drop.as_bytes(), PAUSE).expect("an answer");
        assert_own(&answer, 408, "request_header_timeout", "http_request_denied");
        assert!((600..3000).contains(&begun.elapsed().as_millis()), "{:?} for {beginning:?}", begun.elapsed());
        assert!(client.is_closed());
    }
    await_error(&sidecar, "rejected_limit", 3.0);
    // Empty lines are no head, and no way to stay for ever either.
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.idle", "700ms"));
    let begun = Instant::now();
    let ended = drip(&mut Client::connect(sidecar.traffic), b"\r\n", PAUSE);
    assert!(ended.is_err() && begun.elapsed() < Duration::from_secs(5), "{ended:?} after {:?}", begun.elapsed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_body_that_drips_ends_too_and_one_that_flows_does_not() {
    let upstream = app();
    let settings =
        Sidecar::bare(&upstream).text("proxy.timeouts.request_body", "500ms").raw("proxy.limits.body_min_rate", "2000");
    let sidecar = Sidecar::start(&settings);
    for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let mut client = Client::connect(sidecar.traffic);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).expect("a head");
        client.expect("POST");
        let drop: &[u8] = if framing.contains("Length") { b"x" } else { b"1\r\nx\r\n" };
        let begun = Instant::now();
        let answer = drip(&mut client, drop, PAUSE).expect("an answer");
        assert_own(&answer, 408, "request_body_timeout", "http_request_denied");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(client.is_closed());
    }
    await_error(&sidecar, "rejected_limit", 2.0);
    // Three times the grace at three times the rate.
    let mut client = Client::connect(sidecar.traffic);
    let pieces = 75;
    client.write("POST", "/", &[("content-length", &(pieces * 120).to_string())], b"").expect("a head");
    let stream = client.stream();
    stream.set_read_timeout(Some(PAUSE)).expect("an option");
    for _ in 0..pieces {
        assert!(stream.peek(&mut [0]).is_err(), "no answer yet");
        client.send(&[b'x'; 120]).expect("a piece");
    }
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    assert_eq!(client.read().expect("an answer").status, 200);
}

#[test]
fn what_the_app_lets_a_client_wait_is_not_the_clients_fault() {
    let upstream = Upstream::start(|exchange| {
        // Leave to send comes late, and the body is read later still.
        std::thread::park_timeout(Duration::from_millis(900));
        exchange.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close }
    });
    let settings = Sidecar::bare(&upstream)
        .text("proxy.timeouts.request_body", "400ms")
        .raw("proxy.limits.body_min_rate", "1000000");
    let sidecar = Sidecar::start(&settings);
    let mut client = Client::connect(sidecar.traffic);
    client.write("POST", "/", &[("expect", "100-continue"), ("content-length", "4")], b"").expect("a head");
    assert_eq!(client.read_head().expect("leave").status, 100);
    client.send(b"body").expect("a body");
    assert_eq!(client.read().expect("an answer").status, 200);
}

/// RFC 9110 section 10.1.1: it answers, or gives leave.
#[test]
fn an_app_that_gives_no_leave_is_not_the_clients_fault() {
    let upstream = Upstream::start(|exchange| {
        exchange.wait_until_gone();
        Next::Close
    });
    for (setting, code) in
        [("response_header", "upstream_response_timeout"), ("stream_idle", "upstream_response_timeout")]
    {
        let setting = format!("proxy.timeouts.{setting}");
        let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text(&setting, "400ms"));
        let mut client = Client::connect(sidecar.traffic);
        client.write("POST", "/", &[("expect", "100-continue"), ("content-length", "4")], b"").expect("a head");
        assert_own(&client.read().expect("an answer"), 504, code, "http_response_timeout");
        sidecar.assert_metric("pulsegate_errors_total", &["type=\"upstream_timeout\""], 1.0);
    }
}

#[test]
fn an_empty_line_is_nothing_in_however_many_pieces_it_comes() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.request_header", "300ms"));
    let mut client = Client::connect(sidecar.traffic);
    for piece in [b"\r", b"\n"] {
        client.send(piece).expect("a byte");
        // On its own way each.
        assert_eq!(sidecar.admin("/livez").status, 200);
    }
    always(Duration::from_millis(600), "it stays, for longer than a head may take", || {
        sidecar.metric("pulsegate_connections", &[]) == 1.0
    });
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    sidecar.assert_metric("pulsegate_requests_total", &[], 1.0);
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let part = vec![b'x'; 1 << 16];
        while exchange.write(&part) {}
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.write", "500ms"));
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/", &[], b"").expect("a request");
    await_error(&sidecar, "client_closed", 1.0);
    eventually(PATIENCE, "nothing is left", || {
        sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
            && sidecar.metric("pulsegate_upstream_connections", &["state=\"active\""]) == 0.0
    });
    let head = client.read_head().expect("a head");
    let mut pieces = client.pieces(&head).expect("a body");
    let end = std::iter::repeat_with(|| pieces.next()).find(|piece| !matches!(piece, Ok(Some(_))));
    assert!(matches!(end, Some(Err(HttpError::Truncated(_)))), "{end:?}");
}

/// The kernel would take megabytes for it at once, and then nothing more until a third of them has left.
#[test]
fn a_client_that_reads_slowly_is_not_given_up() {
    const STEP: usize = 20_000;
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let part = vec![b'x'; 1 << 16];
        while exchange.write(&part) {}
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.write", "2s"));
    let mut client = TcpStream::connect(sidecar.traffic).expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    // The client's pace, 200 kB a second: what is wrong takes no more from the app for over four seconds.
    for _ in 0..60 {
        client.read_exact(&mut vec![0; STEP]).expect("more of the answer");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"client_closed\""], 0.0);
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 1.0);
}

/// A head of exactly so many bytes.
fn head_of(length: usize, target: &str) -> Vec<u8> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\nA: ");
    let filling = "x".repeat(length - head.len() - 4);
    format!("{head}{filling}\r\n\r\n").into_bytes()
}

#[test]
fn a_head_may_be_exactly_as_large_as_the_limit() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.limits.header_bytes", "8KiB"));
    let long = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1)).into_bytes();
    let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1)).into_bytes();
    for (head, status, code) in [
        (head_of(8192, "/"), 200, ""),
        (head_of(8193, "/"), 431, "head_too_large"),
        (head_of(30_000, "/"), 431, "head_too_large"),
        (long(8000), 200, ""),
        (long(8192), 414, "target_too_long"),
        (long(20_000), 414, "target_too_long"),
        (many(100), 200, ""),
        (many(101), 431, "head_too_large"),
        (many(1000), 431, "head_too_large"),
    ] {
        for size in [head.len(), 1000, 97] {
            let mut client = Client::connect(sidecar.traffic);
            // The rest of a refused head may find the connection closed.
            let sent = head.chunks(size).all(|part| client.send(part).is_ok());
            let answer =
                client.read().unwrap_or_else(|error| panic!("{error:?} for {} bytes, sent: {sent}", head.len()));
            assert_eq!(answer.status, status, "{} bytes in pieces of {size}", head.len());
            if status != 200 {
                assert_own(&answer, status, code, "http_request_denied");
                assert!(answer.closes());
            }
        }
    }
    await_error(&sidecar, "rejected_limit", 18.0);
}

#[test]
fn a_client_has_so_many_requests_at_once_and_no_more() {
    let upstream = holding();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.limits.concurrency_per_client", "2"));
    let hold = || {
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", "/hold", &[], b"").expect("a request");
        client
    };
    let mut held = [hold(), hold()];
    eventually(PATIENCE, "two are at the app", || upstream.seen().len() == 2);
    let mut third = Client::connect(sidecar.traffic);
    let refused = third.ask("GET", "/", &[], b"").expect("an answer");
    assert_own(&refused, 429, "concurrency_limited", "http_request_denied");
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert!(!refused.closes(), "it may ask again");
    assert_eq!(sidecar.get("/livez").status, 200, "endpoints are no traffic");
    // Another client, by the word of a trusted peer, has a number of its own.
    assert_eq!(sidecar.ask("GET", "/", &[("x-forwarded-for", "10.0.0.7")], b"").status, 200);
    assert_eq!(get(local(upstream.port()), "/release").status, 200);
    for client in &mut held {
        assert_eq!(client.read().expect("an answer").status, 200);
    }
    eventually(PATIENCE, "its turn comes", || third.ask("GET", "/", &[], b"").expect("an answer").status == 200);
    // A client that left has none under way.
    for _ in 0..5 {
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", "/gone", &[], b"").expect("a request");
    }
    eventually(PATIENCE, "they are forgotten", || third.ask("GET", "/", &[], b"").expect("an answer").status == 200);
}

#[test]
fn without_file_descriptors_it_refuses_and_recovers() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.idle", "0"));
    let mut admin = Client::connect(sidecar.admin);
    assert_eq!(admin.ask("GET", "/readyz", &[], b"").expect("an answer").status, 200);
    let process = i32::try_from(sidecar.process.id()).ok().and_then(Pid::from_raw);
    // The hard limit stays as it was inherited.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |most| {
        let changed = prlimit(process, Resource::Nofile, Rlimit { current: Some(most), maximum });
        assert!(changed.is_ok(), "{changed:?}");
    };
    let mut flood: Vec<Client> = (0..5).map(|_| Client::connect(sidecar.traffic)).collect();
    // Asked on the one connection: another would be among the descriptors, and gone a moment later.
    let mut metric = |name: &str| {
        let text = admin.ask("GET", "/metrics", &[], b"").expect("metrics").text().to_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        line.and_then(|value| value.trim().parse::<f64>().ok()).expect("a value")
    };
    eventually(PATIENCE, "they are accepted", || metric("pulsegate_connections ") == 5.0);
    let open = std::fs::read_dir(format!("/proc/{}/fd", sidecar.process.id())).expect("its descriptors");
    // Not one more than there are.
    limit(open.count() as u64);
    flood.extend((0..15).map(|_| Client::connect(sidecar.traffic)));
    eventually(PATIENCE, "accepting has failed", || metric("pulsegate_accept_failures_total ") > 0.0);
    assert_eq!(admin.ask("GET", "/livez", &[], b"").expect("an answer").status, 200);
    // Who was accepted is told that the app cannot be reached for want of a socket.
    let refused = flood[0].ask("GET", "/", &[], b"").expect("an answer");
    assert_own(&refused, 503, "no_sockets", "connection_limit_reached");
    assert!(refused.field("retry-after").is_some());
    limit(4096);
    for client in &mut flood {
        assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200, "who waited is served");
    }
    assert!(sidecar.log().contains("raise the limit of open files"));
}

#[test]
fn each_address_has_all_of_the_connections() {
    let upstream = app();
    let home = tempfile::tempdir().expect("a home");
    let address = local(free_port());
    let nobody_comes = format!("unix:{}", home.path().join("socket").display());
    let settings = Sidecar::bare(&upstream)
        .raw("proxy.listen", &format!("[\"{address}\", {nobody_comes:?}]"))
        .raw("proxy.threads", "4")
        .raw("proxy.defer_accept", "false")
        .raw("proxy.limits.connections", "3");
    let _process = Process::start(&mut Sidecar::command(home.path(), &settings));
    eventually(PATIENCE, "it listens", || TcpStream::connect(address).is_ok());
    for _ in 0..10 {
        assert_eq!(get(address, "/").status, 200, "one after the other");
    }
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200, "three at once");
    }
}

#[test]
fn a_flood_of_requests_on_one_connection_waits_in_the_kernel() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    assert_eq!(sidecar.get("/").status, 200);
    let before = sidecar.process.own_kib();
    const REQUESTS: usize = 20_000;
    let mut client = Client::connect(sidecar.traffic);
    let mut writing = client.stream();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write as _;
            let many = "GET /many HTTP/1.1\r\nHost: a\r\nA: bcdefghijklmnopqrstuvwxyz\r\n\r\n".repeat(100);
            (0..REQUESTS / 100).for_each(|_| writing.write_all(many.as_bytes()).expect("requests"));
        });
        for _ in 0..REQUESTS {
            assert_eq!(client.read().expect("an answer").status, 200);
        }
    });
    let after = sidecar.process.own_kib();
    assert!(after < before + 8 * 1024, "{before} KiB before, {after} KiB after");
    eventually(PATIENCE, "all are counted", || {
        sidecar.metric("pulsegate_requests_total", &["code=\"200\""]) == REQUESTS as f64 + 1.0
    });
}

/// Whether the kernel has made a connection of what this client began, or keeps it back: the state of the server's side.
fn is_accepted(client: &Client) -> bool {
    const SYN_RECEIVED: &str = "03";
    let port = |address: std::io::Result<std::net::SocketAddr>| format!(":{:04X}", address.expect("an address").port());
    let socket = client.stream();
    let (server, client) = (port(socket.peer_addr()), port(socket.local_addr()));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let ends = |row: &&str| {
        let mut words = row.split_whitespace().skip(1);
        words.next().is_some_and(|word| word.ends_with(&server))
            && words.next().is_some_and(|word| word.ends_with(&client))
    };
    let row = table.lines().find(ends).expect("the server's side");
    row.split_whitespace().nth(3) != Some(SYN_RECEIVED)
}

#[test]
fn a_connection_of_which_nothing_comes_is_the_kernels_for_a_second() {
    let upstream = Upstream::hello();
    let deferring = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(deferring.traffic);
    assert!(!is_accepted(&client));
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    assert!(is_accepted(&client));
    assert!(is_accepted(&Client::connect(deferring.admin)), "the management port has rules of its own");
    let silent = Client::connect(deferring.traffic);
    eventually(PATIENCE, "it is accepted", || is_accepted(&silent));

    let plain = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.defer_accept", "false"));
    assert!(is_accepted(&Client::connect(plain.traffic)));
}
