//! What breaks around the sidecar, beside `failures` and `restarts`. The table of all of it is `docs/reliability.md`.

use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::restarts::App;
use crate::support::{
    Client, Next, PATIENCE, Process, Settings, Sidecar, Upstream, always, ask, eventually, free_port, get,
    home_with_login, local, run,
};

#[test]
fn every_test_of_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/reliability.md")).expect("the table");
    let named: Vec<&str> = table.split('`').filter(|word| word.contains("::") && !word.contains(' ')).collect();
    assert!(named.len() >= 25, "the table names its tests: {named:?}");
    for name in named {
        let (module, test) = name.split_once("::").expect("a module and a test");
        let file = root.join("tests/suite").join(module).with_extension("rs");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains(&format!("#[test]\nfn {test}() {{")), "{name} is no test");
    }
}

fn health(settings: Settings) -> Settings {
    settings
        .raw("checks.app.http", "{ path = \"/health\" }")
        .text("checks.app.interval", "200ms")
        .text("checks.app.fast_interval", "100ms")
        .text("checks.app.timeout", "200ms")
        .raw("checks.app.failure_threshold", "2")
}

/// `SIGSTOP`: the kernel goes on accepting for it.
#[test]
fn an_app_that_stands_still_is_told_apart_and_goes_on() {
    let app = App::start("");
    let impatient =
        Sidecar::start(&health(Sidecar::bare_for(app.port)).text("proxy.timeouts.response_header", "500ms")).ready();
    let patient = Sidecar::start(&Sidecar::bare_for(app.port)).ready();
    assert_eq!(patient.get("/warm").status, 200);
    app.signal(Signal::STOP);
    let mut waiting = Client::connect(patient.traffic);
    waiting.write("POST", "/patient", &[], b"once").expect("a request");
    let begun = Instant::now();
    let answer = impatient.get("/impatient");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (504, &"upstream_response_timeout".into()));
    assert!(answer.field("proxy-status").is_some_and(|field| field.contains("error=http_response_timeout")));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    impatient.await_code("/readyz", 503);
    assert_eq!(impatient.admin("/livez").status, 200);
    impatient.assert_metric("pulsegate_errors_total", &["type=\"upstream_timeout\""], 1.0);
    patient.assert_metric("pulsegate_requests_in_flight", &[], 1.0); // without a limit it waits
    app.signal(Signal::CONT);
    assert_eq!(waiting.read().expect("an answer").text(), "/patient");
    impatient.await_code("/readyz", 200);
    assert_eq!(impatient.get("/again").status, 200);
    patient.assert_metric("pulsegate_errors_total", &[], 0.0);
}

#[test]
fn an_app_that_half_closes_before_its_answer_is_a_502() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.half_close();
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    for (method, body) in [("GET", &b""[..]), ("POST", b"once")] {
        let answer = sidecar.ask(method, "/", &[], body);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (502, &"upstream_closed".into()), "{method}");
    }
    let counted = || sidecar.metric("pulsegate_errors_total", &["type=\"upstream_reset\""]);
    eventually(PATIENCE, "both are counted", || counted() == 2.0);
    assert_eq!(upstream.seen().len(), 2, "on a new connection nothing is sent twice");
}

/// Like other proxies we take the end of the client's side for the client's leaving.
#[test]
fn a_client_that_half_closes_is_taken_for_gone() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/", &[], b"").expect("a request");
    eventually(PATIENCE, "the app is asked", || upstream.seen().len() == 1);
    client.shut_down(Shutdown::Write);
    assert!(client.is_closed(), "no answer comes any more");
    eventually(PATIENCE, "it is counted", || sidecar.metric("pulsegate_requests_total", &["code=\"499\""]) == 1.0);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 0.0);
}

/// Has a command run with this limit of open files.
fn with_open_files(command: &mut Command, most: u32) {
    let line = format!(
        "ulimit -n {most}; exec {} {}",
        command.get_program().display(),
        command.get_args().map(|word| format!("'{}'", word.display())).collect::<Vec<_>>().join(" ")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().expect("a directory"));
    *command = shell;
}

/// Health would not miss a worker: it has a thread of its own.
#[test]
fn with_too_few_open_files_all_workers_start_or_nothing_does() {
    let upstream = Upstream::hello();
    let settings = Sidecar::bare(&upstream).text("control.socket", "off");
    let (mut refused, mut started) = (0, 0);
    for most in 12..36 {
        let home = home_with_login();
        let mut command = Sidecar::command(home.path(), &settings);
        with_open_files(&mut command, most);
        let mut process = Process::start(&mut command);
        let said = |process: &Process| process.said().join("\n");
        eventually(PATIENCE, "it has started or ended", || {
            process.status().is_some() || said(&process).contains("\"started\"")
        });
        let workers = || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).into_iter().flatten().flatten();
            let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
            names.filter(|name| name.starts_with("worker-")).count()
        };
        if said(&process).contains("\"started\"") {
            started += 1;
            always(Duration::from_millis(50), "both workers are there", || workers() == 2);
        } else {
            let status = process.wait(PATIENCE);
            let said = said(&process);
            assert!(matches!(status.code(), Some(1 | 2)) && said.contains("os error 24"), "{most}: {status}: {said}");
            refused += usize::from(said.contains("raise the limit of open files") && status.code() == Some(1));
        }
    }
    assert!(refused > 0 && started > 0, "{refused} had too few, {started} enough");
}

/// A limit that is low from the start, and cannot be raised.
#[test]
fn a_low_limit_of_open_files_costs_connections_and_nothing_else() {
    let upstream = Upstream::hello();
    let settings = Sidecar::bare(&upstream).text("proxy.timeouts.idle", "0");
    let mut sidecar = Sidecar::start_in(home_with_login(), &settings, |command| with_open_files(command, 64));
    assert!(sidecar.log().contains("the limit of open files has no room"), "it says so: {}", sidecar.log());
    let room = sidecar.metric("pulsegate_connections_limit", &[]);
    assert!((4.0..64.0).contains(&room), "{room}");
    let mut first = Client::connect(sidecar.traffic);
    assert_eq!(first.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    let mut flood: Vec<Client> = (0..200).map(|_| Client::connect(sidecar.traffic)).collect();
    for client in &mut flood {
        client.write("GET", "/", &[], b"").expect("a request");
    }
    eventually(PATIENCE, "there is no more room", || sidecar.metric("pulsegate_connections", &[]) == room);
    // Whoever looks after it has a new connection each time, as a kubelet has.
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(sidecar.admin(path).status, 200, "{path}");
    }
    assert_eq!(first.ask("GET", "/", &[], b"").expect("an answer").status, 200, "and who is there is served");
    sidecar.assert_metric("pulsegate_accept_failures_total", &[], 0.0);
    drop(flood);
    eventually(PATIENCE, "it recovers by itself", || {
        Client::try_connect(sidecar.traffic)
            .is_ok_and(|mut client| client.ask("GET", "/", &[], b"").is_ok_and(|answer| answer.status == 200))
    });
    assert_eq!(sidecar.admin("/readyz").status, 200);
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}

/// As `docker pause` does it, a debugger, or a machine that sleeps: what came meanwhile came in time.
#[test]
fn what_came_while_the_process_stood_still_is_served() {
    let upstream = Upstream::hello();
    let settings = Sidecar::bare(&upstream).text("proxy.timeouts.idle", "500ms").raw("proxy.threads", "1");
    let mut sidecar = Sidecar::start(&settings).ready();
    for _ in 0..5 {
        let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(sidecar.traffic)).collect();
        for client in &mut clients {
            assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200);
        }
        sidecar.process.signal(Signal::STOP);
        for client in &mut clients {
            client.write("GET", "/", &[], b"").expect("a request");
        }
        always(Duration::from_millis(700), "it stands still, for longer than they may be idle", || {
            sidecar.process.status().is_none()
        });
        sidecar.process.signal(Signal::CONT);
        for client in &mut clients {
            assert_eq!(client.read().expect("an answer").status, 200);
        }
    }
}

/// Deadlines are the monotonic clock's affair; the wall clock is only told.
#[test]
fn a_jump_of_the_clock_changes_no_deadline_and_no_verdict() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.seen.target == "/hang" {
            exchange.wait_until_gone();
            return Next::Close;
        }
        exchange.answer(200, &[], b"hello")
    });
    let home = home_with_login();
    let (library, jump) = (home.path().join("jump.so"), home.path().join("jump"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/apps/jump.c");
    let built = run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl"));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let settings = health(Sidecar::bare(&upstream))
        .text("proxy.timeouts.response_header", "2s")
        .text("checks.app.stale_after", "30s");
    let sidecar = Sidecar::start_in(home, &settings, |command| {
        command.env("LD_PRELOAD", &library).env("JUMP_FILE", &jump);
    })
    .ready();
    let year = |sidecar: &Sidecar| {
        let date = sidecar.get("/livez").field("date").expect("a date").to_owned();
        date.split(' ').nth(3).and_then(|year| year.parse::<i32>().ok()).expect("a year")
    };
    let mut kept = Client::connect(sidecar.traffic);
    assert_eq!(kept.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    let now = year(&sidecar);
    for (content, jumped) in [("", now + 1), ("back", now - 1)] {
        let mut hanging = Client::connect(sidecar.traffic);
        // Before it is sent: the sidecar may have read it before this thread has its next turn.
        let begun = Instant::now();
        hanging.write("GET", "/hang", &[], b"").expect("a request");
        std::fs::write(&jump, content).expect("a jump");
        eventually(PATIENCE, "the clock has jumped", || year(&sidecar) == jumped);
        always(Duration::from_millis(500), "ready all the time", || sidecar.admin("/readyz").status == 200);
        assert_eq!(hanging.read().expect("an answer").status, 504);
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(6), "its own time: {took:?}");
        assert_eq!(kept.ask("GET", "/", &[], b"").expect("still open").status, 200);
    }
    sidecar.assert_metric("pulsegate_check_transitions_total", &["check=\"app\"", "to=\"unhealthy\""], 0.0);
    sidecar.assert_metric("pulsegate_check_transitions_total", &["check=\"app\"", "to=\"unknown\""], 0.0);
}

/// `/dev/full` takes nothing: as a disk that is full.
#[test]
fn a_full_disk_for_the_log_changes_nothing() {
    let upstream = Upstream::hello();
    let (home, traffic, admin) = (home_with_login(), free_port(), free_port());
    let settings = health(Sidecar::bare(&upstream))
        .text("proxy.listen", &format!("127.0.0.1:{traffic}"))
        .text("admin.listen", &format!("127.0.0.1:{admin}"))
        .text("log.level", "trace");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a full disk");
    let mut command = Sidecar::command(home.path(), &settings);
    let mut child = command.stdin(Stdio::null()).stderr(full).spawn().expect("the sidecar");
    eventually(PATIENCE, "it is ready", || {
        Client::try_connect(local(admin))
            .is_ok_and(|mut client| client.ask("GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200))
    });
    upstream.close_all();
    for _ in 0..20 {
        assert_eq!(ask(local(traffic), "GET", "/", &[], b"").status, 200);
    }
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, Signal::HUP).expect("a signal");
    rustix::process::kill_process(pid, Signal::USR1).expect("a signal");
    assert_eq!(get(local(admin), "/livez").status, 200);
    rustix::process::kill_process(pid, Signal::TERM).expect("a signal");
    let mut status = None;
    eventually(PATIENCE, "it ends", || {
        status = child.try_wait().expect("a status");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}
