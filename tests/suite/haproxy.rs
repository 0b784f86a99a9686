//! HAProxy before two sidecars: their health endpoints and their agent-checks move real traffic.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    PATIENCE, Process, SYSTEM_PATH, Settings, Sidecar, Upstream, always, eventually, free_port, get, local, tool,
};

/// One backend: an app that says its name, and the sidecar before it.
struct Backend {
    app: Upstream,
    agent: SocketAddr,
    sidecar: Sidecar,
}

impl Backend {
    fn start(name: &'static str) -> Self {
        let app = Upstream::start(move |exchange| exchange.answer(200, &[], name.as_bytes()));
        let agent = local(free_port());
        let sidecar = Sidecar::start(&settings(&app, agent)).ready();
        Self { app, agent, sidecar }
    }

    fn line(&self) -> String {
        line(self.agent)
    }
}

/// One check, by the thresholds of seed 000's document, and the agent.
fn settings(app: &Upstream, agent: SocketAddr) -> Settings {
    Sidecar::bare(app)
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "200ms")
        .raw("checks.app.success_threshold", "2")
        .raw("checks.app.failure_threshold", "3")
        .text("agent_check.listen", &agent.to_string())
        .text("shutdown.lame_duck", "20s")
        .text("shutdown.grace", "30s")
        .text("endpoints.\"/api/v1/health\".dialect", "ok")
        .text("endpoints.\"/api/v1/health\".group", "readiness")
}

fn line(agent: SocketAddr) -> String {
    let mut line = String::new();
    let mut stream = TcpStream::connect(agent).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.read_to_string(&mut line).expect("a line");
    line
}

/// HAProxy with these options for its servers.
struct Balancer {
    front: SocketAddr,
    stats: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Balancer {
    fn start(options: &str, servers: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (front, stats) = (local(free_port()), local(free_port()));
        let servers: String = servers.iter().map(|server| format!("    server {server}\n")).collect();
        let text = format!(
            "global\n    maxconn 100\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 10s\n    \
             timeout server 10s\n    timeout check 2s\n    option httpclose\nfrontend front\n    bind {front}\n    \
             default_backend apps\nfrontend stats\n    bind {stats}\n    stats enable\n    stats uri /stats\n\
             backend apps\n    balance roundrobin\n{options}{servers}"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).expect("a configuration");
        let mut command = Command::new(tool("haproxy/bin/haproxy"));
        command.env_clear().env("PATH", SYSTEM_PATH).arg("-db").arg("-f").arg(file).stdout(Stdio::null());
        let balancer = Self { front, stats, _process: Process::start(&mut command), _folder: folder };
        eventually(PATIENCE, "HAProxy listens", || TcpStream::connect(balancer.stats).is_ok());
        balancer
    }

    /// What HAProxy shows of a server: its status and its weight.
    fn server(&self, name: &str) -> (String, u32) {
        let answer = get(self.stats, "/stats;csv");
        let mut lines = answer.text().lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
        let column = |name: &str| head.iter().position(|column| *column == name).expect("a column");
        let row = lines.map(|line| line.split(',').collect::<Vec<_>>()).find(|row| row.get(1) == Some(&name));
        let row = row.unwrap_or_else(|| panic!("no server {name}: {}", answer.text()));
        (row[column("status")].to_owned(), row[column("weight")].parse().unwrap_or(0))
    }

    /// Sends so many requests; how many each of two named apps answered.
    fn spread(&self, requests: usize, names: [&str; 2]) -> [usize; 2] {
        let mut counts = [0, 0];
        for _ in 0..requests {
            let answer = get(self.front, "/");
            assert_eq!(answer.status, 200, "no request is lost: {}", answer.text());
            for (count, name) in counts.iter_mut().zip(names) {
                *count += usize::from(answer.text() == name);
            }
        }
        assert_eq!(counts[0] + counts[1], requests);
        counts
    }
}

#[test]
fn agent_lines_say_everything() {
    let backend = Backend::start("one");
    eventually(PATIENCE, "it is up", || backend.line() == "up ready 100%\n");
    backend.app.set_probe(500);
    eventually(PATIENCE, "it is down", || backend.line() == "down ready #app answers with status 500\n");
    backend.app.set_probe(200);
    eventually(PATIENCE, "it is up again", || backend.line() == "up ready 100%\n");
    // Who says something first has its line all the same, and nobody can hold a place for ever.
    use std::io::Write as _;
    let mut talker = TcpStream::connect(backend.agent).expect("a connection");
    talker.write_all(b"state\n").expect("written");
    let mut line = String::new();
    talker.read_to_string(&mut line).expect("no reset");
    assert_eq!(line, "up ready 100%\n");
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(backend.agent).expect("a connection")).collect();
    assert_eq!(backend.line(), "up ready 100%\n", "after at most as long as a line may take");
    drop(silent);
    backend.sidecar.terminate();
    eventually(PATIENCE, "it drains", || backend.line() == "drain\n");
}

#[test]
fn agent_check_moves_traffic_on_degradation_failure_and_drain() {
    let [one, two] = [Backend::start("one"), Backend::start("two")];
    let server = |name: &str, backend: &Backend| {
        let port = backend.agent.port();
        format!(
            "{name} {} weight 100 check inter 200ms agent-check agent-port {port} agent-inter 200ms",
            backend.sidecar.traffic
        )
    };
    let balancer = Balancer::start("", &[server("one", &one), server("two", &two)]);
    let names = ["one", "two"];
    eventually(PATIENCE, "both are up", || names.iter().all(|name| balancer.server(name) == ("UP".into(), 100)));
    assert_eq!(balancer.spread(40, names), [20, 20]);

    // Degraded: half of the weight, a third of the traffic.
    let degraded = settings(&one.app, one.agent).text("checks.app.on_failure", "degraded");
    std::fs::write(one.sidecar.home().join("pulsegate.toml"), degraded.to_toml()).expect("a configuration");
    one.sidecar.process.signal(rustix::process::Signal::HUP);
    one.app.set_probe(500);
    eventually(PATIENCE, "it is degraded", || one.line() == "up ready 50%\n");
    eventually(PATIENCE, "HAProxy knows", || balancer.server("one").1 == 50);
    let [first, second] = balancer.spread(60, names);
    assert!((18..=22).contains(&first) && (38..=42).contains(&second), "{first} and {second}");

    // Unhealthy: no traffic.
    two.app.set_probe(500);
    eventually(PATIENCE, "HAProxy knows", || balancer.server("two").0.starts_with("DOWN"));
    assert_eq!(balancer.spread(20, names), [20, 0]);
    two.app.set_probe(200);
    eventually(PATIENCE, "HAProxy knows", || balancer.server("two") == ("UP".into(), 100));

    // Draining: no new traffic, while the sidecar still answers what comes.
    one.app.set_probe(200);
    eventually(PATIENCE, "HAProxy knows", || balancer.server("one") == ("UP".into(), 100));
    one.sidecar.terminate();
    eventually(PATIENCE, "HAProxy drains it", || balancer.server("one").0.starts_with("DRAIN"));
    assert_eq!(balancer.spread(20, names), [0, 20]);
    assert_eq!(get(one.sidecar.traffic, "/").text(), "one", "it still serves");
}

/// Seed 000's load balancer: `healthy_threshold: 2`, `unhealthy_threshold: 3`, here as HAProxy's rise and fall.
#[test]
fn option_httpchk_moves_traffic_by_the_thresholds_of_the_document() {
    let [one, two] = [Backend::start("one"), Backend::start("two")];
    let options = "    option httpchk GET /api/v1/health\n    http-check expect status 200\n";
    let server =
        |name: &str, backend: &Backend| format!("{name} {} check inter 200ms rise 2 fall 3", backend.sidecar.traffic);
    let balancer = Balancer::start(options, &[server("one", &one), server("two", &two)]);
    let names = ["one", "two"];
    eventually(PATIENCE, "both are up", || names.iter().all(|name| balancer.server(name).0 == "UP"));
    assert_eq!(balancer.spread(20, names), [10, 10]);
    // One failed probe of the app is no failure, neither here nor there.
    one.app.set_probe(500);
    eventually(PATIENCE, "it fails", || get(one.sidecar.traffic, "/api/v1/health").status == 503);
    let answer = get(one.sidecar.traffic, "/api/v1/health");
    assert_eq!(answer.text(), r#"{"ok":false,"status":"unhealthy"}"#);
    eventually(PATIENCE, "HAProxy has counted to three", || balancer.server("one").0 == "DOWN");
    assert_eq!(balancer.spread(20, names), [0, 20]);
    one.app.set_probe(200);
    eventually(PATIENCE, "HAProxy has counted to two", || balancer.server("one").0 == "UP");
    assert_eq!(balancer.spread(20, names), [10, 10]);
    one.sidecar.terminate();
    eventually(PATIENCE, "HAProxy has seen the drain", || balancer.server("one").0 == "DOWN");
    assert_eq!(balancer.spread(20, names), [0, 20]);
    always(Duration::from_millis(300), "it still serves", || get(one.sidecar.traffic, "/").text() == "one");
}
