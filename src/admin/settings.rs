use std::path::PathBuf;
use std::time::Duration;

use super::endpoint::{Kind, Ports};
use super::{Access, Dialects, JwtSettings, SessionSettings};
use crate::dialect::{Body, DIALECTS, Dialect, StatusCodes, Words};
use crate::health::Group;
use crate::settings::{Address, Line, Node, Problems, Reader, Secret, Setting, Url, Value};
use crate::tls::{ClientAuth, TlsSettings};

crate::settings! {
    /// The management port.
    pub struct AdminSettings {
        /// Where it listens; "off": endpoints are on the traffic port only.
        listen: AdminListen = "127.0.0.1:9000",
        /// Whether it answers `grpc.health.v1` too.
        grpc: bool = "true",
        /// Keys that admit to endpoints with `access = ["api_key"]`: [{ file = "…" }, { env = "…" }].
        api_keys: Vec<Secret> = "[]",
        /// Signed tokens that admit to endpoints with `access = ["jwt"]`.
        jwt: Option<JwtSettings>,
        /// Sessions of the app that admit to endpoints with `access = ["session"]`.
        session: Option<SessionSettings>,
        /// TLS for the management port.
        tls: AdminTlsSettings,
        /// Origins whose pages may read the endpoints: `["https://status.example"]`, or `["*"]`.
        cors_origins: Vec<String> = "[]",
    }
}

crate::settings! {
    /// TLS for the management port: on when there is a certificate.
    pub struct AdminTlsSettings {
        /// The certificate with its chain, in PEM form.
        cert: Option<PathBuf>,
        /// Its key, in PEM form.
        key: Option<PathBuf>,
        /// Certificate authorities in PEM form. A client that shows a certificate of theirs may read what asks for
        /// `access = ["mtls"]`; one that shows none is served too.
        client_ca: Option<PathBuf>,
    }
}

impl AdminTlsSettings {
    /// As a server's settings. A probe of Kubernetes shows no certificate, so none is required.
    #[must_use]
    pub fn server(&self) -> TlsSettings {
        let Self { cert, key, client_ca } = self.clone();
        let client_auth = client_ca.is_some().then_some(ClientAuth::Optional);
        TlsSettings { cert, key, client_ca, client_auth }
    }
}

crate::settings! {
    /// How operators reach the process.
    pub struct ControlSettings {
        /// A Unix socket for `pulsegate drain`, `reload` and `maintenance`: a path, "auto" for one without a file, or
        /// "off".
        socket: ControlSocket = "auto",
    }
}

/// Where operators reach the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlSocket {
    /// A socket in the abstract namespace: needs no file system, and none that can be written to.
    Auto,
    /// A socket file, for this user alone.
    Path(PathBuf),
    /// Nowhere.
    Off,
}

impl Setting for ControlSocket {
    const EXPECTS: &'static str = "an absolute path, \"auto\" or \"off\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match Reader::text(node, path, problems, Self::EXPECTS)? {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            text if text.starts_with('/') => Some(Self::Path(text.into())),
            _ => {
                problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
                None
            }
        }
    }
}

crate::settings! {
    /// The metrics.
    pub struct MetricsSettings {
        /// What every name begins with. Default: the service's name with `-` as `_`.
        namespace: Option<String>,
        /// Where the app's own metrics are, to be added to ours at each scrape: a path of the app, such as "/metrics", or
        /// a URL.
        merge: Option<MergeFrom>,
        /// How long the app may take for them; at most four fifths of the time that Prometheus says it waits.
        merge_timeout: Duration = "2s",
    }
}

/// Where the app's own metrics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeFrom {
    /// At this path of the app that traffic is forwarded to.
    App(String),
    /// Elsewhere.
    Url(Url),
}

impl Setting for MergeFrom {
    const EXPECTS: &'static str =
        "a path of the app such as \"/metrics\", or a URL such as \"http://127.0.0.1:8080/metrics\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let is_path = text.starts_with('/') && text.parse::<hyper::Uri>().is_ok();
        let read = if is_path { Some(Self::App(text.to_owned())) } else { Url::parse(text).map(Self::Url) };
        if read.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        read
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        match &node.value {
            Value::Text(text) if text.starts_with('/') && !text.contains('?') => lines.push(Line::plain(node, path)),
            _ => <Url as Setting>::dump(node, path, lines),
        }
    }
}

crate::settings! {
    /// One endpoint; its path is the table's name.
    pub struct EndpointSettings {
        /// The wire format, "prometheus" for the metrics, "events" for what happens; "off" takes an endpoint of the preset away. Of several
        /// formats the caller's `Accept` chooses one: the first, where that says nothing.
        dialect: Kind,
        /// The group that it speaks of. Default: "health"; "liveness" with the dialect ok.
        group: Option<Group>,
        /// Whether it shows the parts.
        detail: bool = "false",
        /// "public", or a list of what admits, each by itself: ["api_key", "jwt", "session", "mtls"].
        access: Access = "public",
        /// The ports that answer it; on the others its path is ordinary traffic.
        ports: Ports = "[\"traffic\", \"admin\"]",
        /// Codes in place of the usual ones: { degraded = 429 }.
        codes: StatusCodes,
        /// template: what goes where in the body.
        body: Body,
        /// template: its words for statuses.
        words: Words,
        /// health-json: for how long an answer may be kept. Default: 1s.
        max_age: Option<Duration>,
    }
}

impl EndpointSettings {
    /// An endpoint of this kind, everything else at its default.
    #[must_use]
    pub fn new(dialect: Kind) -> Self {
        Self {
            dialect,
            group: None,
            detail: false,
            access: Access::PUBLIC,
            ports: Ports { traffic: true, admin: true },
            codes: StatusCodes::default(),
            body: Body::default(),
            words: Words::default(),
            max_age: None,
        }
    }

    /// The group that it speaks of: its own, or that of its dialect.
    #[must_use]
    pub fn group(&self) -> Group {
        let of_dialect = || match &self.dialect {
            Kind::Report(dialects) => dialects.first().group(),
            Kind::Metrics | Kind::Events | Kind::Off => Group::Health,
        };
        self.group.clone().unwrap_or_else(of_dialect)
    }
}

/// Where the management port listens, if anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminListen(pub Option<Address>);

impl Setting for AdminListen {
    const EXPECTS: &'static str = "an address such as \"127.0.0.1:9000\", or \"off\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "off" => Some(Self(None)),
            _ => Address::read(node, path, problems).map(|address| Self(Some(address))),
        }
    }
}

impl Setting for Kind {
    const EXPECTS: &'static str = "the name of a dialect, a list of such, \"prometheus\", \"events\", or \"off\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::List(&crate::settings::Shape::Text);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "metrics" => {
                problems.add(&node.origin, format!("`{path}`: the metrics are called \"prometheus\" here"));
                None
            }
            Value::List(items) => several(items, node, path, problems).map(Self::Report),
            _ => {
                let dialects = DIALECTS.iter().map(|dialect| (dialect.name(), Some(Self::Report((*dialect).into()))));
                let others =
                    [("prometheus", Some(Self::Metrics)), ("events", Some(Self::Events)), ("off", Some(Self::Off))];
                let words: Vec<(&str, Option<Self>)> = dialects.chain(others).collect();
                let index: Vec<(&str, usize)> = words.iter().enumerate().map(|(at, (word, _))| (*word, at)).collect();
                Reader::word(node, path, problems, &index).and_then(|at| words[at].1.clone())
            }
        }
    }
}

/// Dialects that an endpoint's callers choose from.
fn several(items: &[Node], node: &Node, path: &str, problems: &Problems) -> Option<Dialects> {
    let words: Vec<(&str, usize)> = DIALECTS.iter().enumerate().map(|(at, dialect)| (dialect.name(), at)).collect();
    let mut found: Vec<&'static dyn Dialect> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let dialect = DIALECTS[Reader::word(item, &format!("{path}[{index}]"), problems, &words)?];
        if found.iter().any(|known| known.media_type() == dialect.media_type()) {
            let message = "has the media type of one before it, so that nobody could ask for it";
            problems.add(&item.origin, format!("`{path}[{index}]` {message}"));
            return None;
        }
        found.push(dialect);
    }
    let dialects = Dialects::new(found);
    if dialects.is_none() {
        problems.add(&node.origin, format!("`{path}` must name at least one dialect"));
    }
    dialects
}

impl Setting for Ports {
    const EXPECTS: &'static str = "a list of \"traffic\" and \"admin\"";
    const SHAPE: crate::settings::Shape =
        crate::settings::Shape::List(&crate::settings::Shape::Words(&["traffic", "admin"]));

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let names = Vec::<String>::read(node, path, problems)?;
        let ports = Self {
            traffic: names.iter().any(|name| name == "traffic"),
            admin: names.iter().any(|name| name == "admin"),
        };
        let known = names.iter().all(|name| name == "traffic" || name == "admin");
        if known && !names.is_empty() {
            return Some(ports);
        }
        problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        None
    }
}

impl Setting for Group {
    const EXPECTS: &'static str = "the name of a group";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let name = String::read(node, path, problems)?;
        let fine = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !fine {
            problems.add(&node.origin, format!("`{path}` must be a name of letters, digits, - and _"));
        }
        fine.then(|| Self::of(&name))
    }
}

crate::settings! {
    /// Codes by status.
    pub struct CodeSettings {
        /// healthy
        healthy: u16 = "200",
        /// degraded
        degraded: u16 = "200",
        /// unknown
        unknown: u16 = "503",
        /// unhealthy
        unhealthy: u16 = "503",
    }
}

impl Setting for StatusCodes {
    const EXPECTS: &'static str = "a table from statuses to codes, such as { degraded = 429 }";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Table;
    const FIELDS: &'static [crate::settings::Field] = <CodeSettings as Setting>::FIELDS;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let CodeSettings { healthy, degraded, unknown, unhealthy } = CodeSettings::read(node, path, problems)?;
        if [healthy, degraded, unknown, unhealthy].iter().all(|code| (200..=599).contains(code)) {
            return Some(Self { healthy, degraded, unknown, unhealthy });
        }
        problems.add(&node.origin, format!("`{path}` must hold codes from 200 to 599"));
        None
    }

    fn absent(_: &str, _: &Problems) -> Option<Self> {
        Some(Self::default())
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        <CodeSettings as Setting>::dump(node, path, lines);
    }
}
