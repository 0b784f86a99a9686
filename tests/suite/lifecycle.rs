//! From the start to the end of the process: signals, lame duck, grace, exit codes.

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::failures::holding;
use crate::support::{
    Client, ClosedLoop, HttpError, Next, PATIENCE, Process, Settings, Sidecar, Upstream, always, eventually,
    eventually_some, home_with_login, local, run,
};

/// An app that answers `/hang` only when the other side has gone.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.seen.target == "/hang" {
            exchange.wait_until_gone();
            return Next::Close;
        }
        exchange.answer(200, &[], b"hello")
    })
}

fn lasting(settings: Settings, lame_duck: &str, grace: &str) -> Settings {
    settings.text("shutdown.lame_duck", lame_duck).text("shutdown.grace", grace)
}

#[test]
fn readiness_goes_first_and_the_traffic_goes_on() {
    let upstream = app();
    let mut sidecar = Sidecar::start(&lasting(Sidecar::full(&upstream), "2s", "20s")).ready();
    let (traffic, admin) = (sidecar.traffic, sidecar.admin);
    let signalled = Instant::now();
    sidecar.terminate();
    eventually(PATIENCE, "readiness says no", || crate::support::get(admin, "/readyz").status == 503);
    assert!(signalled.elapsed() < Duration::from_millis(250), "{:?}", signalled.elapsed());
    for address in [traffic, admin] {
        let ready = crate::support::get(address, "/readyz");
        assert_eq!(ready.status, 503);
        assert!(ready.text().contains("[-]lifecycle failed: draining"), "{}", ready.text());
        assert_eq!(crate::support::get(address, "/livez").status, 200);
        let health = crate::support::get(address, "/health");
        assert_eq!((health.status, &health.json()["error"]), (503, &json!("shutting down")));
    }
    sidecar.assert_metric("claude_proxy_draining", &[], 1.0);
    sidecar.assert_metric("claude_proxy_ready", &[], 0.0);
    let answer = sidecar.get("/still-served");
    assert_eq!((answer.status, answer.closes()), (200, true), "and told to come back on another connection");
    assert!(signalled.elapsed() < Duration::from_secs(2), "the machine is too slow for this test");

    let status = sidecar.wait(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0));
    let took = signalled.elapsed();
    assert!(took >= Duration::from_secs(2), "the lame duck lasts: {took:?}");
    assert!(took < Duration::from_secs(5), "with nothing in flight there is nothing to wait for: {took:?}");
}

#[test]
fn a_closed_loop_of_clients_sees_no_failed_request() {
    let upstream = app();
    let mut sidecar = Sidecar::start(&lasting(Sidecar::bare(&upstream), "1500ms", "20s")).ready();
    let clients = ClosedLoop::start(sidecar.traffic, 8, |client| client.ask("GET", "/", &[], b""));
    eventually(PATIENCE, "the loop runs", || clients.answered() >= 200);
    let before = clients.answered();
    sidecar.terminate();
    assert_eq!(sidecar.wait(Duration::from_secs(20)).code(), Some(0));
    eventually(PATIENCE, "every client is refused", || clients.refused() == 8);
    assert!(clients.answered() > before + 50, "the lame duck serves: {} more", clients.answered() - before);
    assert_eq!(clients.end(), Vec::<String>::new());
}

#[test]
fn what_is_in_flight_is_finished_after_the_lame_duck() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        let begun = exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
        // The second half comes long after the listener has closed.
        std::thread::park_timeout(Duration::from_millis(1500));
        if begun && exchange.write(b"later") { Next::Keep } else { Next::Close }
    });
    let mut sidecar = Sidecar::start(&lasting(Sidecar::bare(&upstream), "300ms", "20s")).ready();
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/", &[], b"").expect("a request");
    let head = client.read_head().expect("a head");
    let mut pieces = client.pieces(&head).expect("a body");
    assert_eq!(pieces.next().expect("a piece").as_deref(), Some(&b"first"[..]));
    sidecar.terminate();
    let mut rest = Vec::new();
    while let Some(piece) = pieces.next().expect("the answer goes on") {
        rest.extend(piece);
    }
    assert_eq!(rest, b"later");
    let answered = Instant::now();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(answered.elapsed() < Duration::from_secs(2), "then there is nothing to wait for");
}

/// Whoever hangs before its first request might never make one.
#[test]
fn who_has_not_come_through_the_door_does_not_hold_up_the_end() {
    let (upstream, authority) = (app(), crate::support::Authority::new());
    authority.serve(&authority.issue("a.example"));
    let introduced = Sidecar::bare(&upstream).raw("proxy.proxy_protocol", "true");
    let secured = Sidecar::bare(&upstream)
        .text("proxy.tls.cert", &authority.path("tls.crt").display().to_string())
        .text("proxy.tls.key", &authority.path("tls.key").display().to_string());
    for (settings, first) in [(introduced, &b"PROXY T"[..]), (secured, b"\x16\x03\x01")] {
        let settings = lasting(settings, "100ms", "120s").text("proxy.timeouts.request_header", "120s");
        let mut sidecar = Sidecar::start(&settings);
        let mut client = Client::connect(sidecar.traffic);
        client.send(first).expect("sent");
        sidecar.terminate();
        assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    }
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let upstream = app();
    let mut sidecar = Sidecar::start(&lasting(Sidecar::bare(&upstream), "300ms", "20s")).ready();
    let mut client = Client::connect(sidecar.traffic);
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    let signalled = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(3), "{:?}", signalled.elapsed());
    assert!(client.is_closed());
}

#[test]
fn grace_is_the_hard_end() {
    let upstream = app();
    let mut sidecar = Sidecar::start(&lasting(Sidecar::bare(&upstream), "200ms", "1500ms")).ready();
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/hang", &[], b"").expect("a request");
    eventually(PATIENCE, "the app is asked", || upstream.seen().len() == 1);
    let signalled = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    let took = signalled.elapsed();
    assert!(took >= Duration::from_millis(1500) && took < Duration::from_secs(4), "{took:?}");
    let left = client.read();
    assert!(matches!(left, Err(HttpError::Closed | HttpError::Truncated(_))), "an error, never an answer: {left:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let upstream = app();
    for second in [Signal::TERM, Signal::INT] {
        let mut sidecar = Sidecar::start(&lasting(Sidecar::bare(&upstream), "20s", "40s")).ready();
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", "/hang", &[], b"").expect("a request");
        eventually(PATIENCE, "the app is asked", || upstream.seen().iter().any(|seen| seen.target == "/hang"));
        sidecar.process.signal(Signal::INT);
        eventually(PATIENCE, "it drains", || crate::support::get(sidecar.admin, "/readyz").status == 503);
        let signalled = Instant::now();
        assert_eq!(sidecar.insist(second).code(), Some(0));
        assert!(signalled.elapsed() < Duration::from_secs(2), "{:?}", signalled.elapsed());
        assert!(sidecar.log().contains("told twice: stopping now"));
    }
}

/// `timeout` signals its child, and at once the group that the child is in.
#[test]
fn a_signal_that_comes_doubled_is_one() {
    let (upstream, home) = (app(), home_with_login());
    let settings = lasting(Sidecar::bare(&upstream), "1s", "20s");
    let direct = Sidecar::command(home.path(), &settings);
    let mut command = Command::new("timeout");
    // What is killed with the test takes its child along.
    command.args(["60", "setpriv", "--pdeathsig", "KILL"]).arg(direct.get_program()).args(direct.get_args());
    command.env_clear().env("PATH", crate::support::SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
    let mut sidecar = Sidecar::launch(home, command).ready();
    let signalled = Instant::now();
    sidecar.terminate();
    eventually(PATIENCE, "it drains", || crate::support::get(sidecar.admin, "/readyz").status == 503);
    let answer = sidecar.get("/still-served");
    assert_eq!((answer.status, answer.closes()), (200, true));
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(signalled.elapsed() >= Duration::from_secs(1), "the lame duck lasts: {:?}", signalled.elapsed());
    let log = sidecar.log();
    assert!(!log.contains("told twice") && log.contains("stopped: nothing was left in flight"), "{log}");
}

#[test]
fn a_signal_during_the_start_is_heard() {
    let upstream = app();
    // Not ready for a long time: the app's check hangs.
    let settings = lasting(Sidecar::full(&upstream), "0", "10s")
        .text("checks.api_server.http.path", "/hang")
        .text("checks.api_server.interval", "60s")
        .text("checks.api_server.timeout", "60s");
    let mut sidecar = Sidecar::start(&settings);
    assert_eq!(sidecar.admin("/readyz").status, 503);
    sidecar.terminate();
    assert_eq!(sidecar.wait(Duration::from_secs(5)).code(), Some(0));

    // And whenever it comes: before main, while binding, while the runtimes start.
    for delay in 0..12 {
        let home = home_with_login();
        let mut process = Process::start(&mut Sidecar::command(home.path(), &settings));
        std::thread::park_timeout(Duration::from_millis(delay * 4));
        process.signal(Signal::TERM);
        let status = process.wait(Duration::from_secs(5));
        let by_default = std::os::unix::process::ExitStatusExt::signal(&status) == Some(15);
        assert!(status.code() == Some(0) || by_default, "after {} ms: {status}", delay * 4);
        assert!(!process.said().join("\n").contains("panicked"));
    }
}

/// A configuration that is there only when somebody writes it holds the start for as long as the test likes.
#[test]
fn a_signal_that_means_no_end_is_none_during_the_start_either() {
    let (upstream, home) = (app(), home_with_login());
    let settings = Sidecar::bare(&upstream);
    let mut command = Sidecar::command(home.path(), &settings);
    let (text, pipe) = (settings.to_toml(), home.path().join("pulsegate.toml"));
    std::fs::remove_file(&pipe).expect("a file");
    assert!(run(Command::new("mkfifo").arg(&pipe)).code == Some(0));
    let mut process = Process::start(&mut command);
    // Open once the process reads: by then it keeps what comes.
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).expect("a reader");
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::WINCH] {
        process.signal(signal);
    }
    std::fs::remove_file(&pipe).expect("a file");
    std::fs::write(&pipe, &text).expect("a configuration");
    std::io::Write::write_all(&mut writer, text.as_bytes()).expect("a reader");
    drop(writer);
    for what in
        ["\"started\"", "SIGUSR1 means nothing here", "SIGUSR2 means nothing here", "reloaded: nothing has changed"]
    {
        eventually(PATIENCE, what, || process.said().join("\n").contains(what));
    }
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_configuration_that_cannot_be_read_any_more_does_not_hold_up_the_end() {
    let mut sidecar = Sidecar::start(&Sidecar::bare(&app())).ready();
    // A pipe in which nothing comes stands for a file of a dead mount.
    let pipe = sidecar.home().join("pulsegate.toml");
    std::fs::remove_file(&pipe).expect("a file");
    assert!(run(Command::new("mkfifo").arg(&pipe)).code == Some(0));
    sidecar.process.signal(Signal::HUP);
    let mut writing = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(writing.write(true), rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let _held = eventually_some(PATIENCE, "somebody reads", || writing.open(&pipe).ok());
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}

#[test]
fn without_a_word_about_readiness_it_stays_ready_until_the_listener_closes() {
    let upstream = app();
    let settings = lasting(Sidecar::full(&upstream), "1s", "10s").raw("shutdown.fail_readiness", "false");
    let mut sidecar = Sidecar::start(&settings).ready();
    sidecar.terminate();
    always(Duration::from_millis(500), "still ready", || sidecar.admin("/readyz").status == 200);
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}

#[test]
fn it_is_seen_to_be_alive_from_the_first_beat_on() {
    let upstream = app();
    for _ in 0..8 {
        let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
        let runs = |outcome: &str| sidecar.metric("pulsegate_check_runs_total", &["check=\"event_loop\"", outcome]);
        eventually(Duration::from_secs(3), "every event loop has answered the first beat", || {
            runs("outcome=\"pass\"") >= 1.0
        });
        assert_eq!(runs("outcome=\"fail\""), 0.0);
        assert!(sidecar.admin("/livez?verbose").text().contains("[+]event_loop ok\n"));
    }
}

/// Starts it with a port that somebody else has.
#[track_caller]
fn on_a_taken_port(setting: &str, format: &str, arguments: &[&str]) -> (crate::support::Ended, u16) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let upstream = Upstream::hello();
    let settings = Sidecar::bare(&upstream).text(setting, &format!("127.0.0.1:{port}")).text("log.format", format);
    let home = home_with_login();
    let mut command = Sidecar::command(home.path(), &settings);
    command.args(arguments.iter().map(|argument| argument.replace("PORT", &port.to_string())));
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.took < Duration::from_secs(1), "{ended:?}");
    (ended, port)
}

#[test]
fn a_taken_port_is_told_at_once() {
    for (setting, arguments) in
        [("proxy.listen", &[][..]), ("admin.listen", &[]), ("proxy.listen", &["--port", "PORT"])]
    {
        let (ended, port) = on_a_taken_port(setting, "json", arguments);
        let body: serde_json::Value = serde_json::from_str(&ended.stderr).expect("one line of JSON");
        assert_eq!(
            body,
            json!({
                "status": "unhealthy",
                "error": format!("Port {port} already in use"),
                "details": { "port": port, "host": "127.0.0.1" },
            })
        );
        let (ended, port) = on_a_taken_port(setting, "text", arguments);
        assert!(ended.stderr.contains(&format!("Port {port} already in use")), "{}", ended.stderr);
        assert!(ended.stderr.contains("--port"), "with the remedy: {}", ended.stderr);
        assert!(!ended.stderr.contains('{'), "{}", ended.stderr);
    }
}

#[test]
fn an_address_that_is_not_ours_is_told_too() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = Sidecar::bare(&upstream).text("proxy.listen", "192.0.2.1:0").text("log.format", "text");
    let ended = run(&mut Sidecar::command(home.path(), &settings));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("cannot listen at 192.0.2.1:0"), "{}", ended.stderr);
    assert!(ended.stderr.contains("this machine has no such address"), "with the remedy: {}", ended.stderr);
}

#[test]
fn a_unix_socket_left_behind_by_a_kill_is_no_obstacle() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let socket = home.path().join("socket");
    let settings = Sidecar::bare(&upstream)
        .raw("proxy.listen", &format!("[\"127.0.0.1:0\", {:?}]", format!("unix:{}", socket.display())));
    for _ in 0..2 {
        let mut process = Process::start(&mut Sidecar::command(home.path(), &settings));
        let curl = |path: &str| {
            let mut command = Command::new("curl");
            command.args(["-sS", "--max-time", "10", "--unix-socket"]).arg(&socket);
            command.arg(format!("http://app{path}"));
            run(&mut command)
        };
        eventually(PATIENCE, "it answers at the socket", || curl("/").stdout == "hello");
        assert!(socket.exists());
        process.kill();
    }
}

#[test]
fn the_end_leaves_a_replacements_unix_socket_alone() {
    let (upstream, home) = (app(), home_with_login());
    let socket = home.path().join("socket");
    let settings =
        lasting(Sidecar::bare(&upstream), "0", "20s").text("proxy.listen", &format!("unix:{}", socket.display()));
    let mut process = Process::start(&mut Sidecar::command(home.path(), &settings));
    eventually(PATIENCE, "it has started", || process.said().join("\n").contains("\"started\""));
    process.signal(Signal::TERM);
    let _replacement = eventually_some(PATIENCE, "the place is free", || UnixListener::bind(&socket).ok());
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
    assert!(UnixStream::connect(&socket).is_ok(), "the replacement is still found");
}

/// A sidecar with room for two connections, and the clients that have them.
fn full(upstream: &Upstream, grace: &str) -> (Sidecar, [Client; 2]) {
    let settings = lasting(Sidecar::bare(upstream), "0", grace).raw("proxy.limits.connections", "2");
    let sidecar = Sidecar::start(&settings).ready();
    let held = [(); 2].map(|()| asking(&sidecar, "/hold"));
    eventually(PATIENCE, "both are at the app", || upstream.seen().len() == 2);
    (sidecar, held)
}

/// A client that has sent its request.
fn asking(sidecar: &Sidecar, path: &str) -> Client {
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", path, &[("connection", "close")], b"").expect("a request");
    client
}

/// Whether nothing has come yet, no end either.
fn waits(client: &Client) -> bool {
    let stream = client.stream();
    stream.set_nonblocking(true).expect("an option");
    let looked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("an option");
    looked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn who_waits_for_a_place_when_the_listener_closes_still_gets_one() {
    let upstream = holding();
    let (mut sidecar, held) = full(&upstream, "20s");
    let waiting = [(); 3].map(|()| asking(&sidecar, "/"));
    sidecar.terminate();
    always(Duration::from_secs(1), "they wait", || waiting.iter().all(waits));
    assert_eq!(crate::support::get(local(upstream.port()), "/release").status, 200);
    for mut client in held.into_iter().chain(waiting) {
        assert_eq!(client.read().expect("an answer").status, 200);
    }
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(sidecar.log().contains("stopped: nothing was left in flight"));
}

#[test]
fn who_waits_for_a_place_does_not_hold_up_the_end() {
    let upstream = holding();
    let (mut sidecar, _held) = full(&upstream, "1s");
    let _waiting = asking(&sidecar, "/");
    let signalled = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    let took = signalled.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");

    let upstream = holding();
    let (mut sidecar, _held) = full(&upstream, "60s");
    let _waiting = asking(&sidecar, "/");
    sidecar.terminate();
    assert_eq!(sidecar.insist(Signal::TERM).code(), Some(0));
}

#[test]
fn the_listener_closes_when_nobody_waits_although_no_place_is_free() {
    let upstream = holding();
    let (sidecar, _held) = full(&upstream, "60s");
    sidecar.terminate();
    // By the kernel's table: who connected to see would be somebody who waits.
    let port = format!(":{:04X}", sidecar.traffic.port());
    eventually(PATIENCE, "nobody listens", || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        !table.lines().any(|row| {
            let words: Vec<&str> = row.split_whitespace().collect();
            words[1].ends_with(&port) && words[3] == "0A"
        })
    });
}

/// One end after another under load: half of the clients keep their connection until told to close it, half make a new
/// one for each request.
#[test]
fn no_request_is_lost_over_twenty_signals_under_load() {
    let upstream = app();
    let lame_duck = Duration::from_millis(300);
    let mut answered = 0;
    for round in 0..20 {
        let mut sidecar = Sidecar::start(&lasting(Sidecar::bare(&upstream), "300ms", "20s")).ready();
        let keeping = ClosedLoop::start(sidecar.traffic, 4, |client| client.ask("POST", "/", &[], b"something"));
        let anew =
            ClosedLoop::start(sidecar.traffic, 4, |client| client.ask("GET", "/", &[("connection", "close")], b""));
        eventually(PATIENCE, "the loops run", || keeping.answered() > 20 && anew.answered() > 20);
        let signalled = Instant::now();
        sidecar.terminate();
        eventually(PATIENCE, "somebody is refused", || keeping.refused() + anew.refused() > 0);
        assert!(signalled.elapsed() >= lame_duck, "nobody is refused before: {:?}", signalled.elapsed());
        assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
        eventually(PATIENCE, "every client is refused", || keeping.refused() + anew.refused() == 8);
        answered += keeping.answered() + anew.answered();
        let failed = [keeping.end(), anew.end()].concat();
        assert_eq!(failed, Vec::<String>::new(), "in round {round}, after {answered} answers");
    }
    println!("{answered} answers, none lost");
}
