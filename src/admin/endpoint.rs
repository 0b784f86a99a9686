use std::time::Duration;

use arc_swap::ArcSwapOption;
use hyper::header::HeaderValue;

use super::{Access, Dialects, EndpointSettings};
use crate::dialect::{Answer, Dialect, Options, StatusCodes};
use crate::health::{Audience, Group};

/// What an endpoint answers with.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A report in a dialect.
    Report(Dialects),
    /// The metrics.
    Metrics,
    /// What happens, as server-sent events.
    Events,
    /// Nothing: the path is ordinary traffic.
    Off,
}

/// Which listener a request came in at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The one that the app's traffic comes in at.
    Traffic,
    /// The management port.
    Admin,
}

/// The listeners that answer an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The traffic port.
    pub traffic: bool,
    /// The management port.
    pub admin: bool,
}

/// A path, what it answers, and to whom.
#[derive(Debug)]
pub struct Endpoint {
    /// The exact path.
    pub path: String,
    /// What it answers with.
    pub kind: Kind,
    /// The group that it speaks of.
    pub group: Group,
    /// Whether it shows the parts.
    pub detail: bool,
    /// Who may read it.
    pub access: Access,
    /// Where it is answered.
    pub ports: Ports,
    /// Which status is which code.
    pub codes: StatusCodes,
    /// What only some dialects have.
    pub options: Options,
    /// The last rendering in each dialect for each audience.
    kept: Box<[[ArcSwapOption<Rendering>; 2]]>,
    /// `Cache-Control` of what may be kept, for each audience.
    lifetime: [HeaderValue; 2],
}

/// An answer that holds while the report and the second are the same.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) report: u64,
    pub(super) second: u64,
    pub(super) overdue: bool,
    pub(super) answer: Answer,
}

impl Rendering {
    pub(super) fn is_of(&self, report: u64, second: u64, overdue: bool) -> bool {
        (self.report, self.second, self.overdue) == (report, second, overdue)
    }
}

impl Endpoint {
    /// An endpoint by its settings.
    #[must_use]
    pub fn new(path: String, settings: EndpointSettings) -> Self {
        let group = settings.group();
        let dialects = match &settings.dialect {
            Kind::Report(dialects) => dialects.iter().len(),
            Kind::Metrics | Kind::Events | Kind::Off => 0,
        };
        let seconds = settings.max_age.unwrap_or(MAX_AGE).as_secs();
        Self {
            path,
            kind: settings.dialect,
            group,
            detail: settings.detail,
            access: settings.access,
            ports: settings.ports,
            codes: settings.codes,
            options: Options { body: settings.body, words: settings.words },
            kept: (0..dialects).map(|_| Default::default()).collect(),
            // What a trusted caller reads is not for a cache that others are answered from.
            lifetime: ["", "private, "].map(|whose| lifetime(whose, seconds)),
        }
    }

    /// The dialect, if it is one that is called.
    pub(super) fn called(&self) -> Option<&'static dyn Dialect> {
        match &self.kind {
            Kind::Report(dialects) => dialects.iter().find(|dialect| dialect.is_called()),
            Kind::Metrics | Kind::Events | Kind::Off => None,
        }
    }

    /// Whether it is answered at this port.
    #[must_use]
    pub fn is_at(&self, port: Port) -> bool {
        match port {
            Port::Traffic => self.ports.traffic,
            Port::Admin => self.ports.admin,
        }
    }

    pub(super) fn kept_for(&self, dialect: usize, audience: Audience) -> Option<&ArcSwapOption<Rendering>> {
        self.kept.get(dialect).map(|kept| &kept[audience as usize])
    }

    pub(super) fn lifetime(&self, audience: Audience) -> HeaderValue {
        self.lifetime[audience as usize].clone()
    }
}

/// Answers are made anew each second at most, so nobody misses anything by keeping one for so long.
const MAX_AGE: Duration = Duration::from_secs(1);

fn lifetime(whose: &str, seconds: u64) -> HeaderValue {
    HeaderValue::try_from(format!("{whose}max-age={seconds}")).unwrap_or(HeaderValue::from_static("no-store"))
}
