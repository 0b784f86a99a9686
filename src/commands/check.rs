use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal as Heard, SignalKind, signal};
use tokio::time::Instant;

use super::{EXIT_USAGE, load, print, say, say_problems};
use crate::app::plan;
use crate::check::{Others, Pulse, Resources};
use crate::config::Sources;
use crate::health::{Fact, Finding, OnFailure, Outcome};
use crate::monitor::{Plan, PlannedCheck};
use crate::proxy::Target;
use crate::traffic::Traffic;

/// Asks each check once and prints what it found.
pub(super) fn check(sources: &Sources) -> ExitCode {
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let upstream = config.proxy.upstream.0.clone();
    let tls = Target::load(&config.proxy).ok().and_then(|target| target.tls());
    let resources = Resources::new(Arc::new(Traffic::new(1)), upstream, tls, config.environment.clone());
    let plan = match plan(&config, &resources, &Pulse::new(0), None) {
        Ok(plan) => plan,
        Err(problems) => {
            say_problems(&problems);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("pulsegate: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let rows = runtime.block_on(async {
        let mut ends = Ends::hear();
        tokio::select! {
            rows = ask_all(plan) => Ok(rows),
            signal = ends.next() => Err(signal),
        }
    });
    runtime.shutdown_background();
    let rows = match rows {
        Ok(rows) => rows,
        // What was being asked has ended with whoever waited for it: programs, and their scratch directories.
        Err(signal) => return ExitCode::from(128 + signal),
    };
    print(&table(&rows));
    // What cannot be told would not become ready either; what is waited for may come.
    let says_no = |row: &Row| {
        let found = row.finding.as_ref().filter(|_| !row.told);
        found.is_some_and(|found| matches!(found.outcome, Outcome::Fail | Outcome::Inconclusive))
    };
    let bad = rows.iter().any(|row| row.on_failure == OnFailure::Unhealthy && says_no(row));
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The signals that mean the end. They would end us alone: the programs that are asked are in process groups of their own.
struct Ends(Vec<(u8, Heard)>);

impl Ends {
    /// From here on; those that the system does not let us hear end us as ever.
    fn hear() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = |kind: SignalKind| Some((u8::try_from(kind.as_raw_value()).ok()?, signal(kind).ok()?));
        Self(kinds.into_iter().filter_map(heard).collect())
    }

    /// The number of the next that comes.
    async fn next(&mut self) -> u8 {
        poll_fn(|cx| {
            let mut came =
                self.0.iter_mut().filter_map(|(number, heard)| heard.poll_recv(cx).is_ready().then_some(*number));
            came.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

struct Row {
    name: Arc<str>,
    kind: &'static str,
    on_failure: OnFailure,
    /// Whether others tell it, which nobody does here.
    told: bool,
    /// `None`: not enabled.
    finding: Option<Finding>,
    took: Duration,
}

/// What was found out so far, for the checks that judge it.
#[derive(Default)]
struct Found(Mutex<HashMap<Arc<str>, Finding>>);

impl Others for Found {
    fn fact(&self, check: &str, fact: &str) -> Option<Fact> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(check)?.facts.get(fact).cloned()
    }
}

/// Those that judge others come last, and all are told in the order of the configuration.
async fn ask_all(plan: Plan) -> Vec<Row> {
    let found = Arc::new(Found::default());
    let others: Arc<dyn Others> = found.clone();
    let checks = plan.checks.into_iter().filter(|planned| !planned.built_in).enumerate();
    let (judges, first): (Vec<_>, Vec<_>) = checks
        .map(|(at, mut planned)| (planned.check.as_mut().is_some_and(|check| check.meet(&others)), at, planned))
        .partition(|(judges, ..)| *judges);
    let mut rows = Vec::new();
    for round in [first, judges] {
        let asked = round.into_iter().map(async |(_, at, planned)| (at, ask(planned).await));
        rows.extend(futures_util::future::join_all(asked).await);
        let known = rows.iter().filter_map(|(_, row)| Some((row.name.clone(), row.finding.clone()?)));
        found.0.lock().unwrap_or_else(PoisonError::into_inner).extend(known);
    }
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

async fn ask(planned: PlannedCheck) -> Row {
    let begun = Instant::now();
    let told = planned.check.as_ref().is_some_and(|check| check.is_told());
    let finding = match planned.check {
        None => None,
        Some(mut check) => Some(crate::check::ask(&mut *check, planned.schedule.timeout).await),
    };
    Row {
        name: planned.name,
        kind: planned.kind,
        on_failure: planned.policy.on_failure,
        told,
        finding,
        took: begun.elapsed(),
    }
}

fn table(rows: &[Row]) -> String {
    let width = |text: fn(&Row) -> &str, title: &str| {
        rows.iter().map(|row| text(row).len()).max().unwrap_or(0).max(title.len())
    };
    let (name, kind) = (width(|row| &row.name, "CHECK"), width(|row| row.kind, "KIND"));
    let mut text = String::new();
    let _ = writeln!(text, "{:name$}  {:kind$}  {:12}  {:>8}  DETAIL", "CHECK", "KIND", "RESULT", "TIME");
    for row in rows {
        let result = match (row.finding.as_ref().map(|found| found.outcome), row.on_failure) {
            (None, _) => "not enabled",
            _ if row.told => "not asked",
            (Some(Outcome::Fail), OnFailure::Degraded) => "fail (soft)",
            (Some(Outcome::Fail), OnFailure::Ignore) => "fail (shown)",
            (Some(outcome), _) => outcome.word(),
        };
        let detail = match &row.finding {
            Some(_) if row.told => "waits for what the app sends to the running sidecar".to_owned(),
            finding => finding.as_ref().map(detail).unwrap_or_default(),
        };
        let time = format!("{} ms", row.took.as_millis());
        let _ = writeln!(text, "{:name$}  {:kind$}  {result:12}  {time:>8}  {detail}", row.name, row.kind);
    }
    text
}

/// The reason; without one, what is good to know.
fn detail(finding: &Finding) -> String {
    if let Some(reason) = &finding.reason {
        return match &reason.private {
            Some(private) => format!("{} ({private})", reason.public),
            None => reason.public.to_string(),
        };
    }
    let told = ["path", "version", "state", "status_code", "pid", "requests", "count", "left", "right", "configured"];
    let facts = told.into_iter().filter_map(|name| {
        let text = match finding.facts.get(name)? {
            Fact::Text(text) => text.to_string(),
            Fact::Count(count) => count.to_string(),
            Fact::Flag(flag) => flag.to_string(),
            _ => return None,
        };
        Some(format!("{name}={text}"))
    });
    facts.collect::<Vec<_>>().join(" ")
}
