use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

use super::{EXIT_USAGE, load, print, say, say_problems};
use crate::app::plan;
use crate::check::{Pulse, Resources};
use crate::config::Sources;
use crate::health::{Finding, OnFailure, Outcome};
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
    let rows = runtime.block_on(ask_all(plan));
    runtime.shutdown_background();
    print(&table(&rows));
    // What cannot be told would not become ready either.
    let says_no = |row: &Row| matches!(row.finding.outcome, Outcome::Fail | Outcome::Inconclusive);
    let bad = rows.iter().any(|row| row.on_failure == OnFailure::Unhealthy && says_no(row));
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Row {
    name: Arc<str>,
    kind: &'static str,
    on_failure: OnFailure,
    finding: Finding,
    took: Duration,
}

async fn ask_all(plan: Plan) -> Vec<Row> {
    let asked = plan.checks.into_iter().filter(|check| !check.built_in).map(ask);
    futures_util::future::join_all(asked).await
}

async fn ask(mut planned: PlannedCheck) -> Row {
    let begun = Instant::now();
    let finding = match tokio::time::timeout(planned.schedule.timeout, planned.check.run()).await {
        Ok(finding) => finding,
        Err(_) => planned.check.timed_out(),
    };
    Row {
        name: planned.name,
        kind: planned.kind,
        on_failure: planned.policy.on_failure,
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
        let result = match (row.finding.outcome, row.on_failure) {
            (Outcome::Fail, OnFailure::Degraded) => "fail (soft)",
            (Outcome::Fail, OnFailure::Ignore) => "fail (shown)",
            (outcome, _) => outcome.word(),
        };
        let detail = detail(&row.finding);
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
    let told = ["path", "version", "state", "status_code", "pid", "requests"];
    let facts = told.into_iter().filter_map(|name| {
        use crate::health::Fact;
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
