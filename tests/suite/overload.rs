//! More than the app can take (dataplane.md, points 8 and 14): who is served is served as quickly as ever, the others are
//! told at once, and the management port does not feel it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Client, ClosedLoop, Next, PATIENCE, Response, Sidecar, Upstream, eventually};

/// What the app can do at once, and how long it takes for each.
const PLACES: usize = 4;
const WORK: Duration = Duration::from_millis(50);

/// Requests a second that keep it just busy.
const CAPACITY: u32 = 80;

/// An app that does so much at once and lets the rest wait, as apps do.
fn bounded() -> Upstream {
    let free = Arc::new((Mutex::new(PLACES), Condvar::new()));
    Upstream::start(move |exchange| {
        exchange.read_body();
        let (places, changed) = &*free;
        let waited = changed.wait_timeout_while(places.lock().expect("the places"), PATIENCE, |places| *places == 0);
        *waited.expect("a place").0 -= 1;
        let done = Instant::now() + WORK;
        while let Some(left) = done.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        *places.lock().expect("the places") += 1;
        changed.notify_one();
        exchange.answer(200, &[], b"done")
    })
}

/// One answer, when it was asked for, counted from the beginning, and how long it took.
struct Answered {
    response: Response,
    at: Duration,
    took: Duration,
}

/// Asks so many times a second for a while, whether or not answers come.
fn load(address: SocketAddr, per_second: u32, seconds: u32) -> Vec<Answered> {
    const CLIENTS: u32 = 48;
    let begun = Instant::now();
    let ask = |client: u32| {
        let mut connection = Client::connect(address);
        let mut answers = Vec::new();
        for number in (client..per_second * seconds).step_by(CLIENTS as usize) {
            let at = Duration::from_secs(1) * number / per_second;
            while let Some(left) = at.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
                std::thread::park_timeout(left);
            }
            let asked = Instant::now();
            let response = connection.ask("GET", "/work", &[], b"").expect("an answer");
            answers.push(Answered { response, at, took: asked.elapsed() });
        }
        answers
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || ask(client))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    })
}

/// The value below which so many percent are.
fn percentile(mut values: Vec<Duration>, percent: usize) -> Duration {
    values.sort();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// Asks the management port again and again until told to stop; the times that its answers took.
fn watched(address: SocketAddr, stop: &AtomicBool) -> Vec<Duration> {
    let mut client = Client::connect(address);
    let mut times = Vec::new();
    while !stop.load(SeqCst) {
        for path in ["/readyz", "/livez", "/metrics"] {
            let asked = Instant::now();
            let status = client.ask("GET", path, &[], b"").expect("an answer").status;
            assert!(matches!(status, 200 | 503), "{path}: {status}");
            if path != "/metrics" {
                times.push(asked.elapsed());
            }
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    times
}

/// Bounds for a machine that builds and tests other things at the same time; the figures for a quiet one are printed.
const SLACK: Duration = Duration::from_millis(60);

#[test]
fn at_three_times_the_capacity_the_served_part_keeps_its_latency() {
    let upstream = bounded();
    let settings = Sidecar::bare(&upstream)
        .raw("proxy.limits.in_flight", &PLACES.to_string())
        .raw("proxy.limits.queue", "100")
        .text("proxy.limits.queue_timeout", "5s");
    let sidecar = Sidecar::start(&settings);

    let calm = load(sidecar.traffic, CAPACITY * 9 / 10, 3);
    let good = calm.iter().filter(|answer| answer.response.status == 200).count();
    assert!(good * 100 >= calm.len() * 95, "below the capacity nearly all are served: {good} of {}", calm.len());
    let calm = percentile(calm.into_iter().map(|answer| answer.took).collect(), 99);

    let stop = AtomicBool::new(false);
    let (answers, management) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watched(sidecar.admin, &stop));
        let answers = load(sidecar.traffic, CAPACITY * 3, 5);
        stop.store(true, SeqCst);
        (answers, watching.join().expect("the watcher"))
    });
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.response.status == 200);
    for answer in &refused {
        crate::failures::assert_own(&answer.response, 503, "overloaded", "http_request_denied");
        assert_eq!(answer.response.field("retry-after"), Some("1"));
        assert!(!answer.response.closes());
    }
    // What comes for a second may be a burst, for which the queue is.
    let settled = |answers: &[&Answered]| -> Vec<Duration> {
        answers.iter().filter(|answer| answer.at > Duration::from_millis(1_500)).map(|answer| answer.took).collect()
    };
    let p99 = percentile(settled(&served), 99);
    let told = percentile(settled(&refused), 90);
    let ready = percentile(management, 99);
    eprintln!(
        "p99 {calm:?} at 0.9 times the capacity, {p99:?} at 3 times; {} served, {} refused within {told:?} (p90); readyz p99 {ready:?}",
        served.len(),
        refused.len()
    );
    assert!(served.len() >= CAPACITY as usize * 5 * 8 / 10, "the app is kept busy: {}", served.len());
    assert!(p99 <= calm * 2 + SLACK, "p99 {p99:?}, and {calm:?} below the capacity");
    assert!(told <= WORK / 2 + SLACK, "{told:?}");
    assert!(ready <= Duration::from_millis(50) + SLACK, "{ready:?}");
    eventually(PATIENCE, "each is counted as what it was", || {
        sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
            && sidecar.metric("pulsegate_errors_total", &["type=\"rejected_overload\""]) >= refused.len() as f64
    });
}

/// So many requests at the same time, each on a connection of its own; how many were answered with 200.
fn burst(address: SocketAddr, count: usize) -> usize {
    std::thread::scope(|scope| {
        let ask = || Client::connect(address).ask("GET", "/work", &[], b"").expect("an answer").status;
        let asked: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().expect("a client")).filter(|code| *code == 200).count()
    })
}

#[test]
fn a_burst_that_fits_into_the_queue_is_served_whole_whatever_came_before() {
    let upstream = bounded();
    let settings = Sidecar::bare(&upstream)
        .raw("proxy.limits.in_flight", "2")
        .raw("proxy.limits.queue", "38")
        .text("proxy.limits.queue_timeout", "30s");
    let sidecar = Sidecar::start(&settings);
    // Who has the last answer may ask again before its place is given back.
    let burst = |what: &str| {
        sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
        assert_eq!(burst(sidecar.traffic, 40), 40, "{what}");
    };
    burst("cold");
    burst("warm");
    for _ in 0..20 {
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", "/work", &[], b"").expect("a request");
    }
    // Each has come, and gone.
    sidecar.assert_metric("pulsegate_requests_total", &[], 100.0);
    for _ in 0..3 {
        burst("after clients that did not wait for their answers");
    }
    sidecar.assert_metric("pulsegate_requests_queued", &[], 0.0);
    assert_eq!(sidecar.metric("pulsegate_errors_total", &["type=\"rejected_overload\""]), 0.0);
}

#[test]
fn the_management_port_answers_whatever_the_data_plane_is_up_to() {
    let asked = Arc::new(AtomicUsize::new(0));
    let hung = asked.clone();
    let upstream = Upstream::start(move |exchange| {
        if exchange.seen.target != "/check" {
            hung.fetch_add(1, SeqCst);
        }
        exchange.wait_until_gone();
        Next::Close
    });
    let settings = Sidecar::bare(&upstream)
        .raw("proxy.limits.in_flight", "2")
        .raw("proxy.limits.queue", "3")
        .text("proxy.limits.queue_timeout", "60s")
        .text("checks.hung.http.url", &format!("http://127.0.0.1:{}/check", upstream.port()))
        .text("checks.hung.interval", "10s")
        .text("checks.hung.timeout", "10s");
    let sidecar = Sidecar::start(&settings);
    let hold = || {
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", "/hold", &[], b"").expect("a request");
        client
    };
    let _held: Vec<Client> = (0..5).map(|_| hold()).collect();
    eventually(PATIENCE, "all places are taken and the queue is full", || {
        asked.load(SeqCst) == 2 && sidecar.metric("pulsegate_requests_in_flight", &[]) == 5.0
    });
    // And the workers have no rest.
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let storm = ClosedLoop::start(sidecar.traffic, 8, move |client| {
        let mut answer = client.ask("GET", "/storm", &[], b"")?;
        assert_eq!(answer.status, 503);
        counted.fetch_add(1, SeqCst);
        answer.status = 200;
        Ok(answer)
    });
    let stop = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watched(sidecar.admin, &stop));
        eventually(PATIENCE, "the storm is one", || refused.load(SeqCst) > 5_000);
        stop.store(true, SeqCst);
        watching.join().expect("the watcher")
    });
    assert_eq!(storm.end(), Vec::<String>::new());
    let p99 = percentile(times.clone(), 99);
    eprintln!(
        "readyz and livez p99 {p99:?} of {} answers, {} requests refused meanwhile",
        times.len(),
        refused.load(SeqCst)
    );
    assert!(p99 <= Duration::from_millis(50) + SLACK, "{p99:?}");
    assert_eq!(asked.load(SeqCst), 2, "nothing got past the limit");
}
