use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderMap;

use crate::check::Headers;
use crate::settings::{Environment, Line, Node, Problems, Reader, Secret, SecretError, Setting, Url, Value};
use crate::tls::TlsError;

crate::settings! {
    /// Who is told when a status changes.
    pub struct EventsSettings {
        /// Receivers of messages by POST.
        webhooks: Webhooks = "[]",
        /// Who watches endpoints with `dialect = "events"`: at most so many at the same time; 128 of them at the management
        /// port.
        watchers: u32 = "64",
        /// What nothing happens to is sent a comment so often, so that both sides notice when the other has gone.
        heartbeat: Duration = "15s",
    }
}

crate::settings! {
    /// One receiver.
    pub struct WebhookSettings {
        /// Where: a URL, or a secret that holds it: { env = "…" } or { file = "…" }.
        url: HookUrl,
        /// What a message looks like: "json" or "slack".
        template: Template = "json",
        /// The checks that are told of; none named: all.
        checks: Vec<String> = "[]",
        /// The groups whose verdicts are told of.
        groups: Vec<String> = "[\"readiness\"]",
        /// More fields. A value is text, or a secret: { env = "…" } or { file = "…" }.
        headers: Headers = "{}",
        /// For one attempt.
        timeout: Duration = "5s",
        /// Attempts for one message, with pauses that begin at a second and double.
        attempts: u32 = "5",
        /// For https: a file of certificate authorities to trust in place of the system's.
        ca: Option<PathBuf>,
    }
}

impl WebhookSettings {
    /// The files that are named.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let url = match &self.url {
            HookUrl::Secret(Secret::File(path)) => Some(path.clone()),
            _ => None,
        };
        self.headers.files().chain(url).chain(self.ca.clone()).collect()
    }

    pub(super) fn fields(&self, environment: &Environment) -> Result<HeaderMap, WebhookError> {
        self.headers.resolve(environment).map_err(WebhookError::Headers)
    }
}

/// What a message looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// All that is known, as JSON.
    Json,
    /// A sentence, as Slack and what is compatible with it take it.
    Slack,
}

impl Setting for Template {
    const EXPECTS: &'static str = "\"json\" or \"slack\"";

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        Reader::word(node, path, problems, &[("json", Self::Json), ("slack", Self::Slack)])
    }
}

/// A URL, written or kept secret: those of Slack are as good as a password.
#[derive(Clone, Debug)]
pub enum HookUrl {
    /// Written.
    Plain(Url),
    /// Elsewhere.
    Secret(Secret),
}

impl HookUrl {
    pub(super) fn resolve(&self, environment: &Environment) -> Result<Url, WebhookError> {
        match self {
            Self::Plain(url) => Ok(url.clone()),
            Self::Secret(secret) => {
                let text = secret.resolve(environment).map_err(WebhookError::Secret)?;
                Url::parse(&text).ok_or(WebhookError::Url)
            }
        }
    }
}

impl Setting for HookUrl {
    const EXPECTS: &'static str = "a URL, or a secret that holds it: { env = \"…\" } or { file = \"…\" }";

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match &node.value {
            Value::Table(_) => Secret::read(node, path, problems).map(Self::Secret),
            _ => Url::read(node, path, problems).map(Self::Plain),
        }
    }

    /// The path of such a URL is its secret.
    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        match &node.value {
            Value::Table(_) => Secret::dump(node, path, lines),
            _ => lines.push(Line::masked(node, path)),
        }
    }
}

/// All receivers.
#[derive(Clone, Debug, Default)]
pub struct Webhooks(pub Vec<WebhookSettings>);

/// More receivers would be a list of subscribers, which is another program's business.
const MOST_WEBHOOKS: usize = 16;

impl Setting for Webhooks {
    const EXPECTS: &'static str = "a list of tables, [[events.webhooks]], at most 16";
    const SHAPE: crate::settings::Shape = <Vec<WebhookSettings> as Setting>::SHAPE;
    const FIELDS: &'static [crate::settings::Field] = <Vec<WebhookSettings> as Setting>::FIELDS;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let hooks = Vec::<WebhookSettings>::read(node, path, problems)?;
        if hooks.len() > MOST_WEBHOOKS {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
            return None;
        }
        Some(Self(hooks))
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        let items = if let Value::List(items) = &node.value { items.as_slice() } else { std::slice::from_ref(node) };
        for (index, item) in items.iter().enumerate() {
            WebhookSettings::dump(item, &format!("{path}[{index}]"), lines);
        }
    }
}

/// Why a receiver cannot be told anything. Never what is secret.
#[derive(Debug)]
pub enum WebhookError {
    /// The URL cannot be read.
    Secret(SecretError),
    /// The secret is no URL.
    Url,
    /// HTTP/2 without asking is for apps.
    Scheme,
    /// A field cannot be sent.
    Headers(String),
    /// The authorities cannot be read.
    Authorities(TlsError),
    /// No attempt, or no time for one.
    Never,
}

impl fmt::Display for WebhookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(error) => write!(f, "`url`: {error}"),
            Self::Url => write!(f, "`url` does not hold {}", Url::EXPECTS),
            Self::Scheme => f.write_str("`url` must be http://, https:// or unix:"),
            Self::Headers(error) => write!(f, "`{error}"),
            Self::Authorities(error) => write!(f, "`ca`: {error}"),
            Self::Never => f.write_str("`attempts` must be from 1 to 10, and `timeout` more than 0"),
        }
    }
}

impl std::error::Error for WebhookError {}
