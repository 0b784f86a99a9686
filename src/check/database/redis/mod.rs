//! Redis, Valkey, and what speaks their protocol.

mod command;
#[cfg(feature = "redis")]
mod session;

use std::path::PathBuf;

use self::command::ReadingCommand;
use super::{DatabaseUrl, Expectations};
use crate::check::{Check, Defaults, Kind, Prepare, Resources};

pub(in crate::check) const KIND: Kind = Kind::of::<Redis>(
    "redis",
    "Logs in to Redis, sends PING or another command that reads, and judges the answer.",
    Defaults { interval: "10s", timeout: "5s", failure_threshold: "3", on_failure: "unhealthy" },
)
.with_feature("redis", cfg!(feature = "redis"));

crate::settings! {
    /// Settings of a `redis` check.
    pub struct Redis {
        /// Where it is: "redis://user@host:6379/0", or { env = "…" } or { file = "…" } that holds it.
        url: DatabaseUrl,
        /// For rediss://: a file of certificate authorities to trust in place of the system's.
        ca: Option<PathBuf>,
        /// A command that reads, with its arguments.
        command: ReadingCommand = "[\"PING\"]",
        /// What the answer must be: { value = "< 1000" }; of INFO, its lines: { role = "master" }.
        expect: Expectations = "{}",
    }
}

impl Prepare for Redis {
    fn files(&self) -> Vec<PathBuf> {
        self.url.file().into_iter().chain(self.ca.clone()).collect()
    }

    #[cfg(feature = "redis")]
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        use super::{Engine, Target, session};
        let target = Target::of_engine(Engine::Redis, &self.url, self.ca.as_deref(), resources)?;
        Ok(Box::new(session::SessionCheck::<self::session::RedisSession> {
            target,
            question: self.command.0.clone(),
            expect: self.expect.clone(),
            kept: session::Kept::default(),
        }))
    }

    #[cfg(not(feature = "redis"))]
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        Err(super::not_built("redis"))
    }
}
