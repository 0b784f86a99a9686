//! SQLite's files.

#[cfg(feature = "sqlite")]
mod session;

use std::path::PathBuf;

#[cfg(feature = "sqlite")]
pub(super) use self::session::{SqliteSession, Turn};
use super::Expectations;
use crate::check::{Check, Defaults, Kind, Prepare, Resources};

pub(in crate::check) const KIND: Kind = Kind::of::<Sqlite>(
    "sqlite",
    "Opens a file of SQLite to read, runs a statement and judges what it gives.",
    Defaults { interval: "10s", timeout: "5s", failure_threshold: "3", on_failure: "unhealthy" },
)
.with_feature("sqlite", cfg!(feature = "sqlite"));

crate::settings! {
    /// Settings of a `sqlite` check.
    pub struct Sqlite {
        /// The file. It is never made, and never written.
        path: PathBuf,
        /// A statement that reads. Default: one that reads the schema.
        sql: Option<String>,
        /// What the columns of its first row must be: { rows = ">= 1" }.
        expect: Expectations = "{}",
    }
}

impl Prepare for Sqlite {
    fn passes_the_timeout_on(&self) -> bool {
        true
    }

    #[cfg(feature = "sqlite")]
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        if !self.path.is_absolute() {
            return Err("`sqlite.path` must be a whole path, such as \"/var/lib/app.db\"".into());
        }
        Ok(Box::new(running::SqliteCheck {
            address: super::Address::of_file(self.path.clone()),
            timeout: resources.timeout,
            sql: self.sql.clone(),
            expect: self.expect.clone(),
            turn: Turn::default(),
        }))
    }

    #[cfg(not(feature = "sqlite"))]
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        Err(super::not_built("sqlite"))
    }
}

#[cfg(feature = "sqlite")]
mod running {
    use std::time::Duration;

    use futures_util::future::BoxFuture;
    use tokio::time::Instant;

    use super::{SqliteSession, Turn};
    use crate::check::Check;
    use crate::check::database::rows::{self, Limits};
    use crate::check::database::{Address, Expectations, session};
    use crate::health::{Facts, Finding};

    pub(super) struct SqliteCheck {
        pub(super) address: Address,
        pub(super) timeout: Duration,
        pub(super) sql: Option<String>,
        pub(super) expect: Expectations,
        pub(super) turn: Turn,
    }

    impl Check for SqliteCheck {
        fn run(&mut self) -> BoxFuture<'_, Finding> {
            let sql = self.sql.clone();
            Box::pin(async move {
                let begun = Instant::now();
                let asked = self.turn.with(&self.address, self.timeout, move |session: &SqliteSession| {
                    let Some(sql) = sql else { return session.look().map(|()| None) };
                    let rows = session.rows(&sql, Limits::CHECK)?.of_check()?;
                    Ok(Some(rows))
                });
                let asked = asked.await;
                let mut facts = Facts::default();
                facts.public("latency_ms", crate::check::millis(begun.elapsed()));
                match asked {
                    Err(trouble) => return trouble.finding(&self.address, facts),
                    Ok(Some(rows)) => rows::facts_of(rows, &mut facts),
                    Ok(None) => {}
                }
                session::judge(&self.expect, facts)
            })
        }
    }
}
