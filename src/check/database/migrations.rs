use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::rows::Limits;
use super::sql::{Ask, Script, Told};
use super::trouble::Kind as Cause;
use super::{DatabaseUrl, Target};
use crate::check::directory::Glob;
use crate::check::single::Single;
use crate::check::{Check, Defaults, Kind, Prepare, Resources};
use crate::health::{Fact, Facts, Finding, Reason};

pub(in crate::check) const KIND: Kind = Kind::of::<SqlMigrations>(
    "sql_migrations",
    "Compares the migrations that a database has with the files that there are.",
    Defaults { interval: "1m", timeout: "10s", failure_threshold: "1", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of an `sql_migrations` check.
    pub struct SqlMigrations {
        /// Where it is: "postgres://…", "mysql://…" or "sqlite:///…", or { env = "…" } or { file = "…" } that holds it.
        url: DatabaseUrl,
        /// For TLS: a file of certificate authorities to trust in place of the system's.
        ca: Option<PathBuf>,
        /// The table in which the applied ones are noted.
        table: String = "schema_migrations",
        /// Its column with the names of their files.
        column: String = "filename",
        /// The directory of the files.
        directory: PathBuf = "migrations",
        /// Which of its files count.
        glob: Glob = "*.sql",
    }
}

/// Migrations that are looked at, applied ones and files alike.
const MOST_MIGRATIONS: usize = 5000;

impl Prepare for SqlMigrations {
    fn files(&self) -> Vec<PathBuf> {
        self.url.file().into_iter().chain(self.ca.clone()).collect()
    }

    fn passes_the_timeout_on(&self) -> bool {
        true
    }

    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        let word = |word: &str| {
            !word.is_empty()
                && !word.starts_with(|c: char| c.is_ascii_digit())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !self.table.split('.').all(word) || !word(&self.column) {
            return Err(
                "`sql_migrations.table` and `.column` must be plain names, the table's with its schema if need \
                        be: \"public.schema_migrations\""
                    .to_owned(),
            );
        }
        let script = Script::new(Target::of(&self.url, self.ca.as_deref(), resources)?)?;
        let (table, column) = (&self.table, &self.column);
        let ask = Ask {
            name: table.clone(),
            sql: format!("select {column} from {table} order by {column}"),
            limits: Limits { keep: MOST_MIGRATIONS, most: MOST_MIGRATIONS },
            count: false,
        };
        let (directory, glob) = (self.directory.clone(), self.glob.clone());
        Ok(Box::new(MigrationsCheck { script, asks: [ask].into(), directory, glob, look: Single::default() }))
    }
}

struct MigrationsCheck {
    script: Script,
    asks: Arc<[Ask]>,
    directory: PathBuf,
    glob: Glob,
    look: Single<std::io::Result<Option<BTreeSet<String>>>>,
}

impl Check for MigrationsCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let told = self.script.run(self.asks.clone()).await;
            let mut facts = Facts::default();
            facts.public("latency_ms", crate::check::millis(begun.elapsed()));
            let applied = match told {
                Ok(told) => Some(told.into_iter().next().unwrap_or_default()),
                Err(trouble) if trouble.is(Cause::NoTable) => None,
                Err(trouble) => return trouble.finding(&self.script.target().address, facts),
            };
            let (directory, glob) = (self.directory.clone(), self.glob.clone());
            let files = match self.look.run(move || names(&directory, &glob)).await {
                Ok(Some(files)) => files,
                Ok(None) => return Finding::fail(too_many(), facts),
                Err(error) => {
                    // Whether the database has what it needs is not known.
                    let reason = Reason::new("directory_unreadable", "cannot read the directory of migrations");
                    let detail = format!("{}: {error}", self.directory.display());
                    return Finding::inconclusive(reason.with_private(detail), facts);
                }
            };
            judge(applied, &files, facts)
        })
    }
}

/// The files, or nothing if there are too many.
fn names(directory: &Path, glob: &Glob) -> std::io::Result<Option<BTreeSet<String>>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !glob.matches(&name) || entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if names.len() == MOST_MIGRATIONS {
            return Ok(None);
        }
        names.insert(name);
    }
    Ok(Some(names))
}

fn too_many() -> Reason {
    Reason::new("too_large", "has more migrations than are looked at").with_private(format!("over {MOST_MIGRATIONS}"))
}

fn judge(told: Option<Told>, files: &BTreeSet<String>, mut facts: Facts) -> Finding {
    let table_exists = told.is_some();
    let told = told.unwrap_or_default();
    if told.more || (told.rows.len() as u64) < told.count {
        return Finding::fail(too_many(), facts);
    }
    let applied = told.rows.into_iter().filter_map(|row| row.into_iter().next()).map(|(_, name)| match name {
        Fact::Text(name) => name.to_string(),
        Fact::Count(number) => number.to_string(),
        _ => String::new(),
    });
    let applied: BTreeSet<String> = applied.collect();
    let required: Vec<&String> = files.difference(&applied).collect();
    let ok = table_exists && required.is_empty();
    facts.public("table_exists", table_exists);
    facts.trusted("applied", records(applied.iter()));
    facts.trusted("required", records(required.iter().copied()));
    facts.public("ok", ok);
    if !table_exists {
        return Finding::fail(Reason::new("no_migrations_table", "has no table of its migrations"), facts);
    }
    match required.as_slice() {
        [] => Finding::pass(facts),
        [first, rest @ ..] => {
            let reason = Reason::new("migrations_missing", "lacks migrations");
            Finding::fail(reason.with_private(format!("{first} and {} more", rest.len())), facts)
        }
    }
}

fn records<'a>(names: impl Iterator<Item = &'a String>) -> Fact {
    let record = |name: &String| Fact::Record([("filename".to_owned(), Fact::from(name.as_str()))].into());
    Fact::List(names.map(record).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Outcome;

    fn judged(applied: Option<&[&str]>, files: &[&str]) -> (Outcome, Option<&'static str>) {
        let row = |name: &&str| vec![("filename".to_owned(), Fact::from(*name))];
        let told = applied.map(|applied| Told {
            count: applied.len() as u64,
            rows: applied.iter().map(row).collect(),
            more: false,
        });
        let files = files.iter().map(|&file| file.to_owned()).collect();
        let finding = judge(told, &files, Facts::default());
        assert_eq!(finding.facts.get("ok"), Some(&Fact::Flag(finding.outcome == Outcome::Pass)));
        (finding.outcome, finding.reason.map(|reason| reason.code))
    }

    #[test]
    fn every_file_must_be_applied() {
        assert_eq!(judged(Some(&["a.sql", "b.sql"]), &["a.sql", "b.sql"]), (Outcome::Pass, None));
        // An old app beside a new database is none of our business.
        assert_eq!(judged(Some(&["a.sql", "b.sql"]), &["a.sql"]), (Outcome::Pass, None));
        assert_eq!(judged(Some(&["a.sql"]), &["a.sql", "b.sql"]), (Outcome::Fail, Some("migrations_missing")));
        assert_eq!(judged(None, &["a.sql"]), (Outcome::Fail, Some("no_migrations_table")));
        assert_eq!(judged(None, &[]), (Outcome::Fail, Some("no_migrations_table")));
    }
}
