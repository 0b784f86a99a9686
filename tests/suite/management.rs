//! The management port when strangers fill it: probes, scrapes and watchers get through all the same.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::support::{
    Authority, Client, HttpError, PATIENCE, Response, Settings, Sidecar, Upstream, Watcher, Wire, ask, eventually,
};

/// More than the port has places for.
const MANY: usize = 300;

/// A client that says nothing was waited for for 30 s: whatever takes a third of that is not waiting for one.
const SOON: Duration = Duration::from_secs(10);

/// Room for both ends of so many connections, where the soft limit is the usual 1024.
fn open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
}

fn settings(app: &Upstream) -> Settings {
    open_files();
    Sidecar::bare(app)
}

/// Asks on a connection of its own; how long it took.
fn probe(address: SocketAddr, path: &str) -> (Result<Response, HttpError>, Duration) {
    let asked = Instant::now();
    let answer = Client::try_connect(address).map_err(HttpError::Io).and_then(|mut client| {
        client.stream().set_read_timeout(Some(SOON)).expect("a timeout");
        client.ask("GET", path, &[], b"")
    });
    (answer, asked.elapsed())
}

#[track_caller]
fn assert_answers(address: SocketAddr, path: &str, when: &str) {
    let (answer, took) = probe(address, path);
    assert!(took < SOON && answer.as_ref().is_ok_and(|answer| answer.status == 200), "{when}: {answer:?} in {took:?}");
}

#[test]
fn probes_get_through_whatever_a_thousand_silent_neighbours_do() {
    const NEIGHBOURS: usize = 1000;
    const PROBES: usize = 50;
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    let (stop, rounds, begun) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    let flood = || {
        while !stop.load(SeqCst) && begun.elapsed() < PATIENCE {
            let silent: Vec<_> = (0..NEIGHBOURS).map(|_| TcpStream::connect_timeout(&sidecar.admin, SOON)).collect();
            rounds.fetch_add(1, SeqCst);
            drop(silent);
        }
    };
    let answers = std::thread::scope(|scope| {
        scope.spawn(flood);
        let mut answers = Vec::new();
        while (answers.len() < PROBES || rounds.load(SeqCst) < 3) && begun.elapsed() < PATIENCE {
            answers.push(probe(sidecar.admin, "/livez"));
        }
        stop.store(true, SeqCst);
        answers
    });
    let failed = answers.iter().filter(|(answer, _)| !answer.as_ref().is_ok_and(|answer| answer.status == 200));
    assert_eq!(failed.collect::<Vec<_>>().len(), 0, "{:?}", answers.iter().find(|(answer, _)| answer.is_err()));
    let mut times: Vec<Duration> = answers.iter().map(|(_, took)| *took).collect();
    times.sort_unstable();
    let (middle, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    eprintln!(
        "livez p50 {middle:?}, p99 {p99:?}, longest {:?} of {} answers, {} times a thousand connections",
        times[times.len() - 1],
        times.len(),
        rounds.load(SeqCst)
    );
    assert!(times.len() >= PROBES && rounds.load(SeqCst) >= 3, "{} answers, {rounds:?} rounds", times.len());
    assert!(middle < Duration::from_secs(1), "{middle:?}");
    assert!(sidecar.log().contains("no place is left: idle connections are closed for new ones"), "{}", sidecar.log());
}

#[test]
fn who_holds_a_connection_of_the_management_port_without_need_loses_it_to_a_newcomer() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    let unread = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let situations: [(&str, &[u8]); 4] = [
        ("they say nothing", b""),
        ("they are in the middle of a head", b"GET /livez HTTP/1.1\r\nHost: a\r\n"),
        ("they keep their connections after an answer", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("they do not read their answers", &unread),
    ];
    for (when, said) in situations {
        let held: Vec<Client> = (0..MANY)
            .map(|_| {
                let mut client = Client::connect(sidecar.admin);
                // Who is closed already has lost its place, as it must.
                let _ = client.send(said);
                client
            })
            .collect();
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_answers(sidecar.admin, path, when);
        }
        drop(held);
    }
}

#[test]
fn a_handshake_that_does_not_go_on_holds_up_nobody_at_the_management_port() {
    let authority = Authority::new();
    authority.serve(&authority.issue("localhost"));
    let path = |name: &str| authority.path(name).display().to_string();
    let app = Upstream::hello();
    let secure = settings(&app).text("admin.tls.cert", &path("tls.crt")).text("admin.tls.key", &path("tls.key"));
    let sidecar = Sidecar::start(&secure);
    let _held: Vec<TcpStream> = (0..MANY).map(|_| Wire::connect(sidecar.admin).expect("a connection")).collect();
    let begun = Instant::now();
    let wire = authority.client(sidecar.admin, &["http/1.1"], None).expect("a handshake");
    let answer = Client::over(wire).ask("GET", "/livez", &[], b"").expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn who_is_being_answered_keeps_its_connection() {
    let app = Upstream::hello();
    let sidecar =
        Sidecar::start(&settings(&app).raw("endpoints.\"/health/events\"", "{ dialect = \"events\" }")).ready();
    let watchers: Vec<Watcher> = (0..4).map(|_| Watcher::start(sidecar.admin, "/health/events", &[])).collect();
    watchers.iter().for_each(|watcher| drop(watcher.await_last("snapshot healthy")));
    let mut waiter = Client::connect(sidecar.admin);
    waiter.write("GET", "/-/wait-for-drain?timeout=60s", &[], b"").expect("a request");
    for _ in 0..3 {
        let _held: Vec<Client> = (0..MANY).map(|_| Client::connect(sidecar.admin)).collect();
        assert_answers(sidecar.admin, "/livez", "they say nothing");
    }
    assert!(watchers.iter().all(|watcher| watcher.end().is_none()), "nobody was cut");
    assert_eq!(ask(sidecar.admin, "POST", "/-/drain", &[], b"").status, 200);
    for watcher in &watchers {
        watcher.await_end();
        assert_eq!(watcher.short().last().map(String::as_str), Some("end draining"));
    }
    assert_eq!(waiter.read().expect("an answer").status, 200);
}

#[test]
fn long_answers_leave_room_for_short_ones_at_the_management_port() {
    let app = Upstream::hello();
    let all = settings(&app)
        .raw("events.watchers", "200")
        .raw("endpoints.\"/health/events\"", "{ dialect = \"events\" }")
        .raw("endpoints.\"/rpc\"", "{ dialect = \"avalanche\" }");
    let sidecar = Sidecar::start(&all).ready();
    // As many of each as may be.
    let slow = "POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    let said = [
        (64, "GET /-/wait-for-drain?timeout=60s HTTP/1.1\r\nHost: a\r\n\r\n"),
        (128, "GET /health/events HTTP/1.1\r\nHost: a\r\n\r\n"),
        (128, slow),
    ];
    let held = said.iter().flat_map(|(count, said)| std::iter::repeat_n(said, *count)).map(|said| {
        let mut client = Client::connect(sidecar.admin);
        let _ = client.send(said.as_bytes());
        client
    });
    let held: Vec<Client> = held.collect();
    eventually(SOON, "probes are answered", || {
        (0..50).all(|_| probe(sidecar.admin, "/livez").0.is_ok_and(|answer| answer.status == 200))
    });
    let _silent: Vec<Client> = (0..MANY).map(|_| Client::connect(sidecar.admin)).collect();
    assert_answers(sidecar.admin, "/readyz", "all that can be held is held");
    drop(held);
}

#[test]
fn a_request_to_the_management_port_says_for_which_host_it_is() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    let ask = |head: &str| {
        let mut client = Client::connect(sidecar.admin);
        client.send(head.as_bytes()).expect("a request");
        client.read().expect("an answer")
    };
    for path in ["/livez", "/metrics", "/-/wait-for-drain", "/nothing-here"] {
        for hosts in
            ["", "Host:\r\n", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: u@a\r\n"]
        {
            let refused = ask(&format!("GET {path} HTTP/1.1\r\n{hosts}\r\n"));
            assert_eq!(refused.status, 400, "{path} {hosts:?}");
            assert_eq!(refused.json()["error"]["code"], "bad_host");
        }
    }
    let not_drained = ask("POST /-/drain HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((not_drained.status, sidecar.admin("/readyz").status), (400, 200));
    for hosts in ["Host: a\r\n", "host: 10.0.0.1:9000\r\n", "Host: [::1]:9000\r\n", "HOST: a_b.example:\r\n"] {
        assert_eq!(ask(&format!("GET /livez HTTP/1.1\r\n{hosts}\r\n")).status, 200, "{hosts:?}");
    }
    for (hosts, status) in [("", 200), ("Host:\r\n", 200), ("Host: a\r\n", 200), ("Host: a\r\nHost: a\r\n", 400)] {
        let mut client = Client::connect(sidecar.admin);
        client.send(format!("GET /livez HTTP/1.0\r\n{hosts}\r\n").as_bytes()).expect("a request");
        let answer = client.read_to_end().expect("an answer");
        assert!(answer.starts_with(format!("HTTP/1.0 {status} ").as_bytes()), "{hosts:?}: {answer:?}");
    }
}
