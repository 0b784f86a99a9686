use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::{EndpointSettings, Requirement};
use crate::dialect::{Dialect, StatusCodes};
use crate::health::{Audience, Group};

/// What an endpoint answers with.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A report in a dialect.
    Dialect(&'static dyn Dialect),
    /// The metrics.
    Metrics,
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
    pub requirement: Requirement,
    /// Where it is answered.
    pub ports: Ports,
    /// Which status is which code.
    pub codes: StatusCodes,
    /// The last rendering for each audience.
    pub(super) kept: [ArcSwapOption<Rendering>; 2],
}

/// An answer that holds while the report and the second are the same.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) report: u64,
    pub(super) second: u64,
    pub(super) overdue: bool,
    pub(super) code: u16,
    pub(super) media_type: &'static str,
    pub(super) body: Bytes,
}

impl Endpoint {
    /// An endpoint by its settings.
    #[must_use]
    pub fn new(path: String, settings: EndpointSettings) -> Self {
        Self {
            path,
            kind: settings.dialect,
            group: settings.group,
            detail: settings.detail,
            requirement: settings.access,
            ports: settings.ports,
            codes: settings.codes,
            kept: Default::default(),
        }
    }

    /// The dialect, if it is one that is called.
    pub(super) fn called(&self) -> Option<&'static dyn Dialect> {
        match self.kind {
            Kind::Dialect(dialect) if dialect.is_called() => Some(dialect),
            _ => None,
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

    pub(super) fn kept_for(&self, audience: Audience) -> &ArcSwapOption<Rendering> {
        &self.kept[audience as usize]
    }

    pub(super) fn keep(&self, audience: Audience, rendering: Arc<Rendering>) {
        self.kept_for(audience).store(Some(rendering));
    }
}
