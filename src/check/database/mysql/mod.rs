//! MySQL and MariaDB.

#[cfg(feature = "mysql")]
mod session;

use std::path::PathBuf;

#[cfg(feature = "mysql")]
pub(super) use self::session::MysqlSession;
use super::{DatabaseUrl, Expectations};
use crate::check::{Check, Defaults, Kind, Prepare, Resources};

pub(in crate::check) const KIND: Kind = Kind::of::<Mysql>(
    "mysql",
    "Logs in to MySQL or MariaDB, runs a statement and judges what it gives.",
    Defaults { interval: "10s", timeout: "5s", failure_threshold: "3", on_failure: "unhealthy" },
)
.with_feature("mysql", cfg!(feature = "mysql"));

crate::settings! {
    /// Settings of a `mysql` check.
    pub struct Mysql {
        /// Where it is: "mysql://user@host/name", or { env = "…" } or { file = "…" } that holds it.
        url: DatabaseUrl,
        /// For TLS: a file of certificate authorities to trust in place of the system's.
        ca: Option<PathBuf>,
        /// A statement that reads. Default: a ping.
        sql: Option<String>,
        /// What the columns of its first row must be: { rows = ">= 1" }.
        expect: Expectations = "{}",
    }
}

impl Prepare for Mysql {
    fn files(&self) -> Vec<PathBuf> {
        self.url.file().into_iter().chain(self.ca.clone()).collect()
    }

    fn passes_the_timeout_on(&self) -> bool {
        true
    }

    #[cfg(feature = "mysql")]
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        use super::{Engine, Target, session};
        let target = Target::of_engine(Engine::Mysql, &self.url, self.ca.as_deref(), resources)?;
        Ok(Box::new(session::SessionCheck::<MysqlSession> {
            target,
            question: self.sql.clone(),
            expect: self.expect.clone(),
            kept: session::Kept::default(),
        }))
    }

    #[cfg(not(feature = "mysql"))]
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        Err(super::not_built("mysql"))
    }
}
