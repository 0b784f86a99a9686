use std::borrow::Cow;
use std::cmp::Reverse;

use bytes::Bytes;

use super::{Dialect, Options};
use crate::health::{Above, Audience, CheckReport, Group, Moment, Report, Status};
use crate::traffic::Totals;

/// All that a dialect may look at.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The report.
    pub report: &'a Report,
    /// The counters.
    pub totals: &'a Totals,
    /// Who we are.
    pub service: &'a Service,
    /// The group that the endpoint speaks of.
    pub group: &'a Group,
    /// Whether parts are shown.
    pub detail: bool,
    /// Who asks.
    pub audience: Audience,
    /// Which status is which code.
    pub codes: StatusCodes,
    /// What the configuration says for this dialect alone.
    pub options: &'a Options,
    /// What the query and the path add.
    pub query: Query<'a>,
    /// When.
    pub now: Moment,
}

/// What a request may add to an endpoint's path.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    /// `?verbose`: all checks, not only failing ones.
    pub verbose: bool,
    /// `?exclude=NAME`, repeatable: as if the check were not in the group.
    pub exclude: Vec<&'a str>,
    /// `?tag=TAG`, repeatable: checks with one of these.
    pub tags: Vec<Cow<'a, str>>,
    /// `PATH/NAME`: this check alone.
    pub check: Option<&'a str>,
    /// The path asks for another group than the endpoint's.
    pub other_group: bool,
}

impl Query<'_> {
    /// Whether nothing was added, so that the answer may be kept for the next request.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let asks_more = self.verbose || self.other_group || self.check.is_some();
        !asks_more && self.exclude.is_empty() && self.tags.is_empty()
    }
}

/// What a dialect is called with.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What the client says that the body is.
    pub media_type: Option<&'a [u8]>,
    /// The body, whole.
    pub body: &'a [u8],
}

/// Which HTTP code a status has at one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCodes {
    /// Default 200.
    pub healthy: u16,
    /// Default 200.
    pub degraded: u16,
    /// Default 503.
    pub unknown: u16,
    /// Default 503.
    pub unhealthy: u16,
}

impl Default for StatusCodes {
    fn default() -> Self {
        Self { healthy: 200, degraded: 200, unknown: 503, unhealthy: 503 }
    }
}

impl StatusCodes {
    /// The code of a status.
    #[must_use]
    pub fn of(&self, status: Status) -> u16 {
        match status {
            Status::Healthy => self.healthy,
            Status::Degraded => self.degraded,
            Status::Unknown => self.unknown,
            Status::Unhealthy => self.unhealthy,
        }
    }
}

/// Who we are, as bodies say it.
#[derive(Clone, Debug)]
pub struct Service {
    /// The service's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The revision that it was built from.
    pub build_git_hash: String,
    /// When it was built.
    pub build_timestamp: String,
    /// What it is, in a sentence.
    pub description: Option<String>,
    /// When this process started.
    pub started: Moment,
    /// The address that traffic comes in at.
    pub host: String,
    /// The port that traffic comes in at; 0 for a Unix socket.
    pub port: u16,
    /// `info`, `debug`, …
    pub log_level: String,
    /// Whether browsers of other origins may read the endpoints.
    pub cors_enabled: bool,
    /// What the configuration adds to the `configuration` block.
    pub configuration: Vec<(String, String)>,
}

/// A rendered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP code.
    pub code: u16,
    /// The media type; empty where there is no body.
    pub media_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// What an engine that has died or stopped ticking is told as.
pub(super) const DEAD: &str = "the health engine has stopped";

impl View<'_> {
    /// The verdict of the endpoint's group, with what stands above all checks.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.report.verdict(self.group);
        if self.report.is_overdue(self.now) { status.max(Status::Unhealthy) } else { status }
    }

    /// What a check counts for in the endpoint's group.
    #[must_use]
    pub fn part(&self, check: &CheckReport) -> Status {
        check.part_of(self.group)
    }

    /// The checks that make up the whole: those of the group that are asked at all.
    pub fn parts(&self) -> impl Iterator<Item = &CheckReport> {
        self.report.members(self.group).map(|check| &**check).filter(|check| check.enabled)
    }

    /// What stands above all checks, if it has a say: a dead engine, and what the report says.
    #[must_use]
    pub fn above(&self) -> Option<Above> {
        if self.report.is_overdue(self.now) { Some(Above::dead_engine(DEAD)) } else { self.report.above(self.group) }
    }

    /// The check that explains a verdict that is not healthy; none where something above the checks does.
    #[must_use]
    pub fn culprit(&self) -> Option<&CheckReport> {
        if self.above().is_some_and(|above| above.status == Status::Unhealthy) {
            return None;
        }
        // The first among equals, as the configuration has them.
        self.parts().filter(|check| self.part(check) > Status::Healthy).min_by_key(|check| Reverse(self.part(check)))
    }

    /// Why the verdict is not healthy, in a sentence that anybody may read.
    #[must_use]
    pub fn explanation(&self) -> Option<String> {
        if self.status() == Status::Healthy {
            return None;
        }
        match (self.culprit(), self.above()) {
            (Some(check), _) => Some(self.sentence(check)),
            // Every check that weighs is well; one that does not weigh is still waited for.
            (None, above) => Some(above.map_or_else(|| "starting".to_owned(), |above| above.sentence.into_owned())),
        }
    }

    /// For how long the process has run, in milliseconds.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.now.since(self.service.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// The whole as JSON, with the code of the verdict.
    pub(super) fn answer(&self, dialect: &dyn Dialect, body: &serde_json::Value) -> Answer {
        let code = self.codes.of(self.status());
        Answer { code, media_type: dialect.media_type(), body: body.to_string().into() }
    }

    /// Whether a stopping process is why this endpoint says no.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.report.is_draining(self.group)
    }

    /// Why an operator has this endpoint say no.
    #[must_use]
    pub fn maintenance(&self) -> Option<&str> {
        self.report.maintenance_of(self.group)
    }

    /// The sentence for a check that is not healthy: its own reason, or what is being waited for.
    #[must_use]
    pub fn sentence(&self, check: &CheckReport) -> String {
        let name = &check.name;
        match (check.reason(), check.state.status) {
            (Some(reason), Status::Unknown) if check.state.last_conclusive.is_some() && !is_waiting(check) => {
                format!("{}; no conclusive result for too long", with_name(name, &reason.public))
            }
            (Some(reason), _) => with_name(name, &reason.public),
            (None, Status::Unknown) if check.state.last.is_none() => {
                format!("waiting for the first result of {name}")
            }
            // It passes, and has not passed often enough yet.
            (None, Status::Unhealthy | Status::Degraded) => format!("waiting for {name} to pass again"),
            (None, Status::Unknown) if is_waiting(check) => format!("waiting for {name} to pass again"),
            (None, _) => format!("no recent result of {name}"),
        }
    }
}

/// Whether there were conclusive results since the check became what it is: on its way, as against gone stale.
fn is_waiting(check: &CheckReport) -> bool {
    check.state.last_conclusive.is_some_and(|at| at.monotonic >= check.state.since.monotonic)
}

/// Sentences of presets name their object (`Claude CLI not found in PATH`); those of general kinds begin in lower case
/// and want the check's name before them (`database cannot connect`).
fn with_name(name: &str, sentence: &str) -> String {
    if sentence.starts_with(|c: char| c.is_uppercase()) { sentence.to_owned() } else { format!("{name} {sentence}") }
}
