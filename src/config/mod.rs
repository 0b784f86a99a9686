//! Files, environment and flags to validated values.
//!
//! Layers are merged as trees that remember where each value came from (flags over environment over file over preset);
//! then each module's own settings are read from the result, and every problem is collected. After this module no string
//! means anything.

mod absent;
mod checks;
mod condition;
mod dependencies;
mod dialects;
mod file;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod layers;
mod listeners;
mod literal;
mod overlooked;
mod preset;
mod reload;
mod schema;
mod validate;
mod whereabouts;

use std::path::PathBuf;
use std::time::Duration;

pub use self::checks::{CheckConfig, CheckSettings};
pub use self::files::{Digests, digests_since};
pub use self::layers::Flag;
pub use self::overlooked::Overlooked;
pub use self::schema::schema;
pub use self::whereabouts::Whereabouts;
use crate::admin::{AdminSettings, AgentCheckSettings, ControlSettings, EndpointSettings, Kind, MetricsSettings};
use crate::events::{EventsSettings, Webhook, WebhookError};
use crate::proxy::{ProxySettings, RequestLogRules};
use crate::settings::{
    Environment, Field, Line, Node, Origin, Problem, Problems, Reader, Section, Setting, Table, Value,
};
use crate::supervise::AppSettings;

/// Where a configuration is put together from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment of the process.
    pub environment: Environment,
    /// What the command itself sets where nobody else does, over the preset.
    pub defaults: Vec<Flag>,
    /// The flags that set something, in order.
    pub flags: Vec<Flag>,
    /// Whether files and variables may be missing that are where it will run: [`Config::notes`] are of these.
    pub offline: bool,
}

/// A configuration in which nothing is wrong.
#[derive(Debug)]
pub struct Config {
    /// Who we are.
    pub service: ServiceSettings,
    /// The data plane.
    pub proxy: ProxySettings,
    /// The management port.
    pub admin: AdminSettings,
    /// How operators reach the process.
    pub control: ControlSettings,
    /// HAProxy's agent-check.
    pub agent_check: AgentCheckSettings,
    /// The metrics.
    pub metrics: MetricsSettings,
    /// Who is told of changes.
    pub events: EventsSettings,
    /// The app, where we start it.
    pub app: AppSettings,
    /// How the process ends.
    pub shutdown: ShutdownSettings,
    /// When the configuration is read anew.
    pub reload: ReloadSettings,
    /// The log.
    pub log: LogSettings,
    /// The checks in order.
    pub checks: Vec<CheckConfig>,
    /// The endpoints in order, by path.
    pub endpoints: Vec<(String, EndpointSettings)>,
    /// The environment of the process.
    pub environment: Environment,
    /// What could not be looked at, as something that it needs is not on this machine.
    pub notes: Vec<Problem>,
    sources: Sources,
    tree: Table,
    /// A digest of the file, as it was read.
    state: Option<u64>,
}

crate::settings! {
    /// Who we are, as bodies and metrics say it.
    pub struct ServiceSettings {
        /// `service` in bodies; metric names begin with it.
        name: String = "pulsegate",
        /// `version` in bodies. Default: this program's.
        version: Option<String>,
        /// `build_git_hash` in bodies. Default: the revision that this program was built from.
        build_git_hash: Option<String>,
        /// `build_timestamp` in bodies. Default: the time of that revision.
        build_timestamp: Option<String>,
        /// `description` in bodies: what the service is, in a sentence.
        description: Option<String>,
        /// More for the `configuration` block of bodies.
        configuration: crate::settings::TextMap = "{}",
    }
}

crate::settings! {
    /// How the process ends. Both times count from the signal, the lame duck from an operator's drain before it.
    pub struct ShutdownSettings {
        /// Go on accepting for so long, so that load balancers can turn away first.
        lame_duck: Duration = "5s",
        /// The hard end.
        grace: Duration = "25s",
        /// Whether readiness says no from the signal on.
        fail_readiness: bool = "true",
    }
}

crate::settings! {
    /// When the configuration is read anew, beside SIGHUP and `pulsegate reload`.
    pub struct ReloadSettings {
        /// When its file, or a key or certificate that it names, has changed.
        watch: bool = "true",
    }
}

crate::settings! {
    /// The log.
    pub struct LogSettings {
        /// error, warn, info, debug or trace.
        level: LogLevel = "info",
        /// auto (text on a terminal, json elsewhere), text or json.
        format: LogFormat = "auto",
        /// A line for every request.
        access: bool = "false",
        /// A line for a request that waits longer than this for the head of its answer; 0 means none.
        slow_requests: Duration = "1m",
        /// A line for a request that fails by the app's fault, or because too much is in flight.
        failed_requests: bool = "true",
    }
}

impl LogSettings {
    /// Which requests are logged.
    #[must_use]
    pub fn requests(&self) -> RequestLogRules {
        RequestLogRules { access: self.access, slow: self.slow_requests, failed: self.failed_requests }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub tracing::Level);

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

crate::words!(LogLevel, "error, warn, info, debug or trace", {
    "error" => Self(tracing::Level::ERROR),
    "warn" => Self(tracing::Level::WARN),
    "info" => Self(tracing::Level::INFO),
    "debug" => Self(tracing::Level::DEBUG),
    "trace" => Self(tracing::Level::TRACE),
});

crate::words!(LogFormat, "auto, text or json", {
    "auto" => Self::Auto,
    "text" => Self::Text,
    "json" => Self::Json,
});

impl Config {
    /// Puts the layers together and reads them.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of files and lines.
    pub fn load(sources: &Sources) -> Result<Self, Vec<Problem>> {
        let problems = Problems::default();
        let (tree, state) = layers::merge(sources, &problems);
        // Reading a half-parsed file would only report what the first problem causes.
        let config = if problems.is_empty() { read(&tree, sources, &problems) } else { None };
        match config {
            Some(config) if problems.is_empty() => Ok(Self { state, ..config }),
            _ => Err(problems.into_vec()),
        }
    }

    /// Who is told of changes, ready to be told.
    ///
    /// # Errors
    /// What one of them lacks.
    pub fn webhooks(&self) -> Result<Vec<Webhook>, WebhookError> {
        let hooks = self.events.webhooks.0.iter();
        hooks.map(|hook| Webhook::new(hook, &self.service.name, &self.environment)).collect()
    }

    /// The effective configuration, a line for each setting, secrets masked.
    #[must_use]
    pub fn dump(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (name, _, dump) in SECTIONS {
            let table = match self.tree.get(name).map(|node| &node.value) {
                Some(Value::Table(table)) => table.clone(),
                _ => Table::default(),
            };
            dump(&table, name, &mut lines);
        }
        for check in &self.checks {
            check.dump(&mut lines);
        }
        if let Some(Node { value: Value::Table(endpoints), .. }) = self.tree.get("endpoints") {
            for entry in &endpoints.entries {
                let path = format!("endpoints.{:?}", entry.key);
                <EndpointSettings as Setting>::dump(&entry.node, &path, &mut lines);
                lines.extend(self.group_of(&entry.key, &path, &lines));
            }
        }
        lines
    }

    /// The group of an endpoint that names none, which depends on its dialect.
    fn group_of(&self, endpoint: &str, path: &str, written: &[Line]) -> Option<Line> {
        let path = format!("{path}.group");
        let (_, settings) = self.endpoints.iter().find(|(known, _)| known == endpoint)?;
        let absent = !written.iter().any(|line| line.path == path) && !matches!(settings.dialect, Kind::Off);
        let value = format!("{:?}", settings.group().name());
        absent.then(|| Line { path, value, origin: Origin::Default.to_string() })
    }
}

type Dump = fn(&Table, &str, &mut Vec<Line>);

/// The sections with a fixed set of keys.
const SECTIONS: [(&str, &[Field], Dump); 11] = [
    ("service", <ServiceSettings as Section>::FIELDS, <ServiceSettings as Section>::dump),
    ("proxy", <ProxySettings as Section>::FIELDS, <ProxySettings as Section>::dump),
    ("admin", <AdminSettings as Section>::FIELDS, <AdminSettings as Section>::dump),
    ("control", <ControlSettings as Section>::FIELDS, <ControlSettings as Section>::dump),
    ("agent_check", <AgentCheckSettings as Section>::FIELDS, <AgentCheckSettings as Section>::dump),
    ("metrics", <MetricsSettings as Section>::FIELDS, <MetricsSettings as Section>::dump),
    ("events", <EventsSettings as Section>::FIELDS, <EventsSettings as Section>::dump),
    ("app", <AppSettings as Section>::FIELDS, <AppSettings as Section>::dump),
    ("shutdown", <ShutdownSettings as Section>::FIELDS, <ShutdownSettings as Section>::dump),
    ("reload", <ReloadSettings as Section>::FIELDS, <ReloadSettings as Section>::dump),
    ("log", <LogSettings as Section>::FIELDS, <LogSettings as Section>::dump),
];

fn read(tree: &Table, sources: &Sources, problems: &Problems) -> Option<Config> {
    let origin = Origin::Default;
    let mut reader = Reader::new(tree, &origin, "", problems);
    // Known to the layers, which have used it.
    reader.raw("preset");
    let service = reader.take("service", None);
    let proxy = reader.take("proxy", None);
    let admin = reader.take("admin", None);
    let control = reader.take("control", None);
    let agent_check = reader.take("agent_check", None);
    let metrics = reader.take("metrics", None);
    let events = reader.take("events", None);
    let app = reader.take("app", None);
    let shutdown = reader.take("shutdown", None);
    let reload = reader.take("reload", None);
    let log = reader.take("log", None);
    let checks = checks::read(reader.raw("checks"), &sources.environment, problems);
    let endpoints = read_endpoints(reader.raw("endpoints"), problems);
    reader.finish();
    // What could not be read stands at its defaults, so that the rest can still be looked at as a whole.
    let mut config = Config {
        service: or_default(service)?,
        proxy: or_default(proxy)?,
        admin: or_default(admin)?,
        control: or_default(control)?,
        agent_check: or_default(agent_check)?,
        metrics: or_default(metrics)?,
        events: or_default(events)?,
        app: or_default(app)?,
        shutdown: or_default(shutdown)?,
        reload: or_default(reload)?,
        log: or_default(log)?,
        checks,
        endpoints,
        environment: sources.environment.clone(),
        notes: Vec::new(),
        sources: sources.clone(),
        tree: tree.clone(),
        state: None,
    };
    let notes = Problems::default();
    validate::validate(&config, tree, problems, &notes);
    config.notes = notes.into_vec();
    Some(config)
}

fn or_default<T: Setting>(read: Option<T>) -> Option<T> {
    read.or_else(|| crate::settings::read_empty("", &Problems::default()))
}

fn read_endpoints(node: Option<&Node>, problems: &Problems) -> Vec<(String, EndpointSettings)> {
    let Some(node) = node else { return Vec::new() };
    let Value::Table(table) = &node.value else {
        problems.add(&node.origin, "`endpoints` must be a table");
        return Vec::new();
    };
    table
        .entries
        .iter()
        .filter_map(|entry| {
            let path = format!("endpoints.{:?}", entry.key);
            let proper =
                entry.key.starts_with('/') && entry.key.parse::<hyper::Uri>().is_ok_and(|uri| uri.query().is_none());
            if !proper {
                problems
                    .add(&entry.origin, format!("`{path}`: an endpoint is a path that begins with / and has no query"));
            }
            let settings = EndpointSettings::read(&entry.node, &path, problems)?;
            proper.then(|| (entry.key.clone(), settings))
        })
        .collect()
}

#[cfg(test)]
mod tests;
