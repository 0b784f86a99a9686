use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::rows::Limits;
use super::sql::{Ask, Script, Told};
use super::{DatabaseUrl, Target};
use crate::check::{Check, Defaults, Kind, Prepare, Resources};
use crate::clock::unix;
use crate::health::{Fact, Facts, Finding, Reason};

pub(in crate::check) const KIND: Kind = Kind::of::<SqlFindings>(
    "sql_findings",
    "Looks for data that should not be there: each row that a query gives is a finding.",
    Defaults { interval: "5m", timeout: "30s", failure_threshold: "1", on_failure: "degraded" },
);

crate::settings! {
    /// Settings of an `sql_findings` check.
    pub struct SqlFindings {
        /// Where it is: "postgres://…", "mysql://…" or "sqlite:///…", or { env = "…" } or { file = "…" } that holds it.
        url: DatabaseUrl,
        /// For TLS: a file of certificate authorities to trust in place of the system's.
        ca: Option<PathBuf>,
        /// Rows that are shown of each query, at most 1000; all are counted.
        max_rows: usize = "100",
        /// What to look for: [{ name = "…", severity = "warn", sql = "select …" }].
        queries: Vec<Query>,
    }
}

crate::settings! {
    /// One query.
    pub struct Query {
        /// What it is called in what is found.
        name: String,
        /// How bad a row is: "info" is shown only, "warn" is degraded, "error" is a failure.
        severity: Severity = "warn",
        /// A statement that reads and can stand in parentheses; each row is a finding.
        sql: String,
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Info,
    Warn,
    Error,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

crate::words!(Severity, "\"info\", \"warn\" or \"error\"", {
    "info" => Self::Info,
    "warn" => Self::Warn,
    "error" => Self::Error,
});

/// Queries of one check: all of their rows are held until the next run.
const MOST_QUERIES: usize = 100;
/// Rows that are shown of one query.
const MOST_ROWS: usize = 1000;
/// Rows that are shown of all queries.
const MOST_ROWS_OF_ALL: usize = 2000;

impl Prepare for SqlFindings {
    fn files(&self) -> Vec<PathBuf> {
        self.url.file().into_iter().chain(self.ca.clone()).collect()
    }

    fn passes_the_timeout_on(&self) -> bool {
        true
    }

    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        if self.max_rows > MOST_ROWS {
            return Err(format!("`sql_findings.max_rows` must be at most {MOST_ROWS}"));
        }
        if self.queries.is_empty() || self.queries.len() > MOST_QUERIES {
            return Err(format!("`sql_findings.queries` must be 1 to {MOST_QUERIES} queries"));
        }
        let mut names: Vec<&str> = self.queries.iter().map(|query| query.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() < self.queries.len() || names.contains(&"") {
            return Err("`sql_findings.queries` must have names, each its own".to_owned());
        }
        let limits = Limits { keep: self.max_rows, most: self.max_rows };
        let ask = |query: &Query| Ask { name: query.name.clone(), sql: query.sql.clone(), limits, count: true };
        let script = Script::new(Target::of(&self.url, self.ca.as_deref(), resources)?)?;
        let severities = self.queries.iter().map(|query| query.severity).collect();
        Ok(Box::new(FindingsCheck { script, asks: self.queries.iter().map(ask).collect(), severities }))
    }
}

struct FindingsCheck {
    script: Script,
    asks: Arc<[Ask]>,
    severities: Vec<Severity>,
}

impl Check for FindingsCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let told = self.script.run(self.asks.clone()).await;
            let mut facts = Facts::default();
            facts.public("latency_ms", crate::check::millis(begun.elapsed()));
            match told {
                Err(trouble) => trouble.finding(&self.script.target().address, facts),
                Ok(told) => {
                    let named = self.asks.iter().map(|ask| ask.name.as_str()).zip(self.severities.iter().copied());
                    judge(named.zip(told), facts)
                }
            }
        })
    }
}

/// What was found is for trusted callers: it is the data of users.
fn judge<'a>(told: impl Iterator<Item = ((&'a str, Severity), Told)>, mut facts: Facts) -> Finding {
    let (mut found, mut worst, mut summary) = (Vec::new(), Severity::Info, Vec::new());
    let (mut queries, mut shown) = (0_u64, 0);
    for ((name, severity), mut told) in told {
        queries += 1;
        if told.count == 0 {
            continue;
        }
        worst = worst.max(severity);
        summary.push(format!("{name}: {}", told.count));
        told.rows.truncate(MOST_ROWS_OF_ALL - shown);
        shown += told.rows.len();
        let files: Vec<Fact> = told.rows.into_iter().map(|row| Fact::Record(row.into())).collect();
        let record = [
            ("check", Fact::from(name)),
            ("severity", severity.word().into()),
            ("count", told.count.into()),
            ("files", Fact::List(files.into())),
        ];
        found.push(Fact::Record(record.map(|(name, fact)| (name.to_owned(), fact)).into()));
    }
    facts.public("checked_at", Fact::Time(unix().as_secs()));
    facts.public("queries", queries);
    facts.trusted("findings", Fact::List(found.into()));
    match worst {
        Severity::Info => Finding::pass(facts),
        Severity::Warn => {
            Finding::warn(Reason::new("findings", "holds data to look at").with_private(summary.join(", ")), facts)
        }
        Severity::Error => {
            let reason = Reason::new("findings_error", "holds data that is wrong");
            Finding::fail(reason.with_private(summary.join(", ")), facts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Outcome;

    fn judged(told: &[(Severity, u64)]) -> Finding {
        let told = told.iter().map(|(severity, count)| {
            let rows = vec![vec![("id".to_owned(), Fact::Count(1))]; (*count).min(1000) as usize];
            (("one", *severity), Told { count: *count, rows, more: false })
        });
        judge(told, Facts::default())
    }

    #[test]
    fn the_worst_of_what_has_rows_decides() {
        use Severity::{Error, Info, Warn};
        for (told, outcome) in [
            (&[(Info, 0), (Warn, 0), (Error, 0)][..], Outcome::Pass),
            (&[(Info, 5), (Warn, 0)], Outcome::Pass),
            (&[(Info, 5), (Warn, 1), (Error, 0)], Outcome::Warn),
            (&[(Error, 1), (Warn, 1)], Outcome::Fail),
        ] {
            assert_eq!(judged(told).outcome, outcome, "{told:?}");
        }
    }

    #[test]
    fn what_is_shown_is_bounded_and_what_is_counted_is_true() {
        let finding = judged(&[(Severity::Warn, 1_000_000); 5]);
        let Some(Fact::List(found)) = finding.facts.get("findings") else { panic!("findings") };
        let mut shown = 0;
        for one in &**found {
            let Fact::Record(one) = one else { panic!("a record") };
            assert_eq!(one[2], ("count".to_owned(), Fact::Count(1_000_000)));
            let Fact::List(files) = &one[3].1 else { panic!("rows") };
            shown += files.len();
        }
        assert_eq!((found.len(), shown), (5, MOST_ROWS_OF_ALL));
    }
}
