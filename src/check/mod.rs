//! Checks: named questions that are asked again and again.
//!
//! A kind is one file here and one line in [`KINDS`]. Its settings are declared with [`settings!`](crate::settings!);
//! they implement [`Prepare`], which makes the running [`Check`]. The configuration, its documentation and the tests walk
//! the table, so a new kind needs nothing else.

mod asking;
mod cli;
mod command;
mod count_match;
mod credentials;
mod database;
mod directory;
mod dns;
mod environment;
mod executable;
mod file;
mod grpc;
mod heartbeat;
mod http;
mod integrity;
mod kind;
mod preset;
mod process;
mod processes;
mod procfs;
mod pulse;
mod regular;
mod single;
mod subprocess;
mod system;
mod tcp;
mod threads;
mod tls;
mod traffic;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::asking::ask;
pub use self::heartbeat::Heartbeats;
pub use self::http::Headers;
pub use self::kind::{Defaults, Kind};
pub use self::processes::Processes;
pub use self::pulse::Pulse;
pub use self::subprocess::{Group, an_orphan_lives, reap_orphans, spawn};
pub use self::threads::MOST_THREADS;
use crate::health::{Fact, Facts, Finding, Reason};
use crate::settings::{Environment, Url};
use crate::shortage::is_ours;
use crate::tls::Client;
use crate::traffic::Traffic;

/// Every kind of check, in the order of the reference documentation.
pub const KINDS: &[Kind] = &[
    http::KIND,
    tcp::KIND,
    tls::KIND,
    dns::KIND,
    grpc::KIND,
    database::postgres::KIND,
    database::mysql::KIND,
    database::sqlite::KIND,
    database::redis::KIND,
    database::findings::KIND,
    database::migrations::KIND,
    command::KIND,
    cli::KIND,
    credentials::KIND,
    traffic::KIND,
    process::KIND,
    file::KIND,
    directory::KIND,
    executable::KIND,
    environment::KIND,
    heartbeat::KIND,
    count_match::KIND,
    integrity::KIND,
    system::KIND,
];

/// A question that can be asked again and again. Never twice at once: the monitor waits for one run to end.
pub trait Check: Send {
    /// Asks once. Dropping the future must stop everything that it started.
    fn run(&mut self) -> BoxFuture<'_, Finding>;

    /// Shows it what others found out, before it is asked for the first time; tells whether it judges that.
    fn meet(&mut self, _others: &Arc<dyn Others>) -> bool {
        false
    }

    /// Whether others tell it, so that asking it once, in a process that nobody tells anything, says nothing.
    fn is_told(&self) -> bool {
        false
    }

    /// What it means that the run took longer than its timeout.
    fn timed_out(&self) -> Finding {
        Finding::fail(Reason::new("timeout", "did not answer in time"), Facts::default())
    }
}

/// What other checks found out, for those that judge it.
pub trait Others: Send + Sync {
    /// A fact of the last run of a check; `None` if there is no such fact, or if it is too old to be believed.
    fn fact(&self, check: &str, fact: &str) -> Option<Fact>;
}

/// Settings that can become a running check.
pub trait Prepare: Send + Sync + std::fmt::Debug {
    /// Makes the check. Reads secrets and certificate files, so that a missing one stops the start, not a later run.
    ///
    /// # Errors
    /// A sentence that says what is missing and what to do.
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String>;

    /// The files that making it reads: when what they hold changes, it is another check.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The checks whose facts it judges.
    fn judges(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether what it asks is told the check's timeout: when that changes, it is another check.
    fn passes_the_timeout_on(&self) -> bool {
        false
    }

    /// Whether it asks the app that the proxy forwards to: when that changes, it is another check.
    fn asks_the_app(&self) -> bool {
        false
    }
}

/// What a check may use.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The counters of the proxied traffic.
    pub traffic: Arc<Traffic>,
    /// The app.
    pub upstream: Url,
    /// TLS towards the app, if it is spoken.
    pub upstream_tls: Option<Arc<Client>>,
    /// The environment of the process.
    pub environment: Environment,
    /// Whose turn it is to run a program.
    pub processes: Processes,
    /// Where the app's heartbeats come in.
    pub heartbeats: Arc<Heartbeats>,
    /// The name of the check that is made.
    pub check: Arc<str>,
    /// The timeout of the check that is prepared.
    pub timeout: Duration,
}

impl Resources {
    /// Resources for checks of this app.
    #[must_use]
    pub fn new(
        traffic: Arc<Traffic>,
        upstream: Url,
        upstream_tls: Option<Arc<Client>>,
        environment: Environment,
    ) -> Self {
        let processes = Processes::default();
        let (heartbeats, check, timeout) = (Arc::default(), Arc::from(""), Duration::MAX);
        Self { traffic, upstream, upstream_tls, environment, processes, heartbeats, check, timeout }
    }

    /// The same for the check of this name and timeout.
    #[must_use]
    pub fn of(&self, check: &str, timeout: Duration) -> Self {
        Self { check: check.into(), timeout, ..self.clone() }
    }

    /// Whether this process runs in a container, where a file that is not there may stand in another container.
    #[must_use]
    pub fn in_container(&self) -> bool {
        self.environment.get("KUBERNETES_SERVICE_HOST").is_some()
    }
}

/// The code for a check that could not be asked for want of something of ours.
const NO_SOCKETS: &str = "no_sockets";

/// What it means that the system refuses what a check needs: this reason, unless it is us who lack something. Then nobody was
/// asked, and nothing is known of them.
fn refused(error: &std::io::Error, reason: Reason, facts: Facts) -> Finding {
    if is_ours(error) { Finding::inconclusive(not_asked(reason.private), facts) } else { Finding::fail(reason, facts) }
}

/// What a reason means that may be that one.
fn failed(reason: Reason, facts: Facts) -> Finding {
    if reason.code == NO_SOCKETS { Finding::inconclusive(reason, facts) } else { Finding::fail(reason, facts) }
}

/// Its reason.
fn not_asked(private: Option<String>) -> Reason {
    let public = "was not asked: pulsegate has no file descriptor, port or memory left";
    Reason { private, ..Reason::new(NO_SOCKETS, public) }
}

/// A duration in milliseconds, to a thousandth.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
