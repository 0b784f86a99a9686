use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Sidecar, get};

/// What the clients sent, and what came of it.
#[derive(Default)]
pub(super) struct Account(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    sent: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<(&'static str, Outcome), u64>,
}

/// What came of one request, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// A whole answer.
    Answered(u16),
    /// An answer that broke off.
    Cut(u16),
    /// The connection ended before an answer.
    Unanswered,
    /// The client did not wait.
    Left,
}

impl Account {
    pub(super) fn sent(&self, name: &'static str) {
        *self.0.lock().expect("the ledger").sent.entry(name).or_default() += 1;
    }

    pub(super) fn ended(&self, name: &'static str, outcome: Outcome) {
        *self.0.lock().expect("the ledger").outcomes.entry((name, outcome)).or_default() += 1;
    }

    pub(super) fn print(&self, counted: &BTreeMap<u16, u64>, duration: Duration) {
        let ledger = self.0.lock().expect("the ledger");
        eprintln!("{} s of mixed load", duration.as_secs());
        for (name, sent) in &ledger.sent {
            let outcomes = ledger.outcomes.iter().filter(|((known, _), _)| known == name);
            let outcomes: Vec<String> = outcomes.map(|((_, outcome), times)| format!("{outcome:?} {times}")).collect();
            eprintln!("{name:20} {sent:9} sent: {}", outcomes.join(", "));
        }
        eprintln!(
            "sent {}, counted {} by code {counted:?}",
            ledger.sent.values().sum::<u64>(),
            counted.values().sum::<u64>()
        );
    }

    /// Requests sent = requests counted, by code as far as the clients know it.
    pub(super) fn check(&self, counted: &BTreeMap<u16, u64>) {
        let ledger = self.0.lock().expect("the ledger");
        let sent: u64 = ledger.sent.values().sum();
        assert_eq!(counted.values().sum::<u64>(), sent, "requests counted and sent");
        assert_eq!(ledger.outcomes.values().sum::<u64>(), sent, "every client knows what came of it");
        let mut known = BTreeMap::<u16, u64>::new();
        let mut unknown = 0;
        for ((_, outcome), times) in &ledger.outcomes {
            match outcome {
                Outcome::Answered(code) | Outcome::Cut(code) => *known.entry(*code).or_default() += times,
                Outcome::Unanswered | Outcome::Left => unknown += times,
            }
        }
        let unanswered = ledger.outcomes.iter().filter(|((_, outcome), _)| *outcome == Outcome::Unanswered);
        assert_eq!(unanswered.map(|(_, times)| times).sum::<u64>(), 0, "a request without any answer");
        // What nobody saw an answer to was counted as something: as a client that left, or by the answer it did not wait for.
        let mut over = 0;
        for code in counted.keys().chain(known.keys()) {
            assert!(
                counted.get(code) >= known.get(code),
                "{code}: {:?} counted, {:?} seen",
                counted.get(code),
                known.get(code)
            );
        }
        for (code, times) in counted {
            over += times - known.get(code).unwrap_or(&0);
        }
        assert_eq!(over, unknown, "requests without an answer that a client saw");
    }
}

/// The counters of the sidecar, by code.
pub(super) fn counted(sidecar: &Sidecar) -> BTreeMap<u16, u64> {
    let mut counted = BTreeMap::new();
    for line in sidecar.admin("/metrics").text().lines().filter(|line| line.starts_with("pulsegate_requests_total{")) {
        let code = line.split("code=\"").nth(1).and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let times: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a value");
        if times > 0.0 {
            *counted.entry(code.expect("a code")).or_default() += times as u64;
        }
    }
    counted
}

/// Memory and the management port's answers, looked at every now and then.
#[derive(Default)]
pub(super) struct Samples(Mutex<Vec<Sample>>);

#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    /// In KiB: all that is resident, and what the program has written itself.
    resident: u64,
    own: u64,
    answered_in: Duration,
}

type Kind = fn(&Sample) -> u64;

/// What the container is limited by; a part of it is as much of the program's file as the kernel likes to keep.
const RESIDENT: Kind = |sample| sample.resident;
const OWN: Kind = |sample| sample.own;

impl Samples {
    pub(super) fn take(&self, sidecar: &Sidecar, stop: &AtomicBool) {
        let begun = Instant::now();
        while !stop.load(SeqCst) {
            let asked = Instant::now();
            assert_eq!(get(sidecar.admin, "/readyz").status, 200);
            let answered_in = asked.elapsed();
            let (resident, own) = (sidecar.process.resident_kib(), sidecar.process.own_kib());
            self.0.lock().expect("the samples").push(Sample { at: begun.elapsed(), resident, own, answered_in });
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The median of a kind of memory in a part of the time, in KiB.
    fn memory(&self, kind: Kind, from: f64, to: f64) -> u64 {
        let samples = self.0.lock().expect("the samples");
        let end = samples.last().expect("a sample").at.as_secs_f64();
        let part = samples.iter().filter(|sample| (from * end..=to * end).contains(&sample.at.as_secs_f64()));
        let mut part: Vec<u64> = part.map(kind).collect();
        part.sort_unstable();
        part[part.len() / 2]
    }

    pub(super) fn print(&self) {
        for (name, kind) in [("memory", RESIDENT), ("of it its own", OWN)] {
            let parts =
                (0..10).map(f64::from).map(|part| self.memory(kind, part / 10.0, (part + 1.0) / 10.0).to_string());
            eprintln!("{name} in KiB, median of each tenth of the time: {}", parts.collect::<Vec<_>>().join(" "));
        }
        let samples = self.0.lock().expect("the samples");
        let mut times: Vec<Duration> = samples.iter().map(|sample| sample.answered_in).collect();
        times.sort_unstable();
        eprintln!("/readyz: median {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    }

    /// After a sixth of the time, memory is what it stays. In a short run, caches and pools are still filling.
    pub(super) fn check(&self, duration: Duration) {
        let (factor, slack) = if duration > Duration::from_secs(300) { (1.1, 1024) } else { (1.5, 8192) };
        for (name, kind) in [("memory", RESIDENT), ("its own memory", OWN)] {
            let (early, late) = (self.memory(kind, 1.0 / 6.0, 1.0 / 3.0), self.memory(kind, 0.9, 1.0));
            let most = (early as f64 * factor) as u64 + slack;
            assert!(late <= most, "{name} grows: {early} KiB after a sixth of the time, {late} KiB at the end");
        }
    }
}
