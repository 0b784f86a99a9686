//! `http`: a URL, and what it answers.

mod conditions;
mod health;

use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

use futures_util::future::BoxFuture;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use regex_lite::Regex;

use self::conditions::JsonConditions;
use self::health::{Health, Told};
use super::{Check, Defaults, Kind, Prepare, Resources, refused};
use crate::fetch::{Answer, FetchError, Question, fetch};
use crate::health::{Fact, Facts, Finding, Outcome, Reason};
use crate::settings::{Environment, Line, Node, Problems, Scheme, Secret, Setting, Url, Value};
use crate::tls::Client;

pub(super) const KIND: Kind = Kind::of::<Http>(
    "http",
    "Asks a URL and judges the code and the body of the answer.",
    Defaults { interval: "5s", timeout: "2s", failure_threshold: "3", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of an `http` check.
    pub struct Http {
        /// What to ask. Default: the app itself, at `path`.
        url: Option<Url>,
        /// The path to ask of the app, when there is no `url`.
        path: Option<String>,
        /// GET, HEAD, or another method.
        method: String = "GET",
        /// Fields to send. A value is text, or a secret: { env = "…" } or { file = "…" }.
        headers: Headers = "{}",
        /// Codes that are good: "2xx", "200", "200-299", several with commas.
        expect_status: Codes = "2xx",
        /// A regular expression that the body must match.
        expect_body: Option<Regex>,
        /// Values that the JSON body must have, by JSON pointer: { "/status" = "healthy" }.
        expect_json: Option<JsonConditions>,
        /// For https: a file of certificate authorities to trust in place of the system's.
        ca: Option<PathBuf>,
        /// The body tells of health, in any dialect that we speak: judge that too.
        health: bool = "false",
    }
}

impl Prepare for Http {
    fn files(&self) -> Vec<PathBuf> {
        self.ca.iter().cloned().chain(self.headers.files()).collect()
    }

    fn asks_the_app(&self) -> bool {
        self.url.is_none()
    }

    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        let url = match (&self.url, &self.path) {
            (Some(url), None) => url.clone(),
            (Some(url), Some(path)) => url.with_path(path),
            (None, path) => resources.upstream.with_path(path.as_deref().unwrap_or("/")),
        };
        if !url.path.starts_with('/') || url.path.parse::<hyper::Uri>().is_err() {
            return Err("`http.path` must begin with / and hold no spaces".into());
        }
        // To the app `get` is another method than `GET`, and one that it does not know.
        let method = self.method.parse().ok().filter(|_| !self.method.contains(|c: char| c.is_ascii_lowercase()));
        let method = method.ok_or("`http.method` must be a method in capitals, such as GET")?;
        let headers = self.headers.resolve(&resources.environment).map_err(|error| format!("`http.{error}"))?;
        let tls = match url.scheme {
            // The app itself is verified as its traffic is.
            Scheme::Https if self.url.is_none() && self.ca.is_none() => resources.upstream_tls.clone(),
            Scheme::Https => {
                let tls = Client::trusting(self.ca.as_deref()).map_err(|error| format!("`http.ca`: {error}"))?;
                Some(Arc::new(tls))
            }
            _ => None,
        };
        Ok(Box::new(HttpCheck {
            question: Question { method, url, headers, tls },
            expect_status: self.expect_status.clone(),
            expect_body: self.expect_body.clone(),
            expect_json: self.expect_json.clone(),
            health: self.health,
        }))
    }
}

struct HttpCheck {
    question: Question,
    expect_status: Codes,
    expect_body: Option<Regex>,
    expect_json: Option<JsonConditions>,
    health: bool,
}

impl Check for HttpCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let answer = fetch(&self.question).await;
            let mut facts = Facts::default();
            facts.public("latency_ms", super::millis(begun.elapsed()));
            match answer {
                Ok(answer) => {
                    facts.public("status_code", u64::from(answer.status.as_u16()));
                    if self.question.tls.is_some() {
                        facts.public("certificate_expires", answer.certificate_expires.map_or(Fact::Null, Fact::Time));
                    }
                    let told = if self.health { told(&answer, &mut facts) } else { None };
                    match (told, self.judge(&answer)) {
                        // What it says of itself explains its code.
                        (Some(told), refused) if told.outcome == Outcome::Fail || refused.is_none() => {
                            Finding { facts, ..told }
                        }
                        (_, Some(reason)) => Finding::fail(reason, facts),
                        (_, None) => Finding::pass(facts),
                    }
                }
                Err(error) => self.unreachable(&error, facts),
            }
        })
    }
}

impl HttpCheck {
    fn unreachable(&self, error: &FetchError, facts: Facts) -> Finding {
        let (code, public) = match error {
            FetchError::Connect(_) => ("connect_failed", "cannot connect"),
            FetchError::Tls(_) => ("tls_failed", "TLS handshake failed"),
            error if error.is_closed() => ("connection_closed", "closes the connection before it has answered"),
            FetchError::Protocol(_) | FetchError::Http2(_) => ("not_http", "does not answer in HTTP"),
            FetchError::Url => ("bad_url", "has a URL that cannot be asked"),
        };
        // The path may hold a token; the authority cannot.
        let reason = Reason::new(code, public).with_private(format!("{}: {error}", self.question.url.authority()));
        match error {
            FetchError::Connect(error) => refused(error, reason, facts),
            _ => Finding::fail(reason, facts),
        }
    }

    fn judge(&self, answer: &Answer) -> Option<Reason> {
        let code = answer.status.as_u16();
        if !self.expect_status.contains(code) {
            return Some(Reason::new("unexpected_status", format!("answers with status {code}")));
        }
        if let Some(regex) = &self.expect_body {
            let text = String::from_utf8_lossy(&answer.body);
            if !regex.is_match(&text) {
                return Some(Reason::new("unexpected_body", "answers with an unexpected body"));
            }
        }
        let conditions = self.expect_json.as_ref()?;
        match serde_json::from_slice::<serde_json::Value>(&answer.body) {
            Err(_) => Some(Reason::new("unexpected_body", "answers with a body that is not JSON")),
            Ok(body) => conditions.first_unmet(&body).map(|pointer| {
                Reason::new("unexpected_body", "answers with an unexpected value in its body")
                    .with_private(format!("at {pointer}"))
            }),
        }
    }
}

/// What a dependency says of its own health, as facts, and what is wrong with that, if something is. An answer without a
/// body is judged by its code alone.
fn told(answer: &Answer, facts: &mut Facts) -> Option<Finding> {
    let told = if answer.truncated { None } else { health::read(&answer.body) };
    facts.public("health", told.as_ref().map_or(Fact::Null, |told| told.health.word().into()));
    let parts = |told: &Told| {
        let words = told.parts.iter().map(|(name, health)| (name.clone(), Fact::from(health.word())));
        Fact::Record(words.collect())
    };
    facts.trusted("components", told.as_ref().map_or(Fact::Null, parts));
    let finding = |outcome, reason| Some(Finding { outcome, reason: Some(reason), facts: Facts::default() });
    let Some(told) = told else {
        let reason = match (answer.truncated, answer.body.is_empty()) {
            (false, true) => return None,
            (true, _) => Reason::new("body_too_large", "answers with a body of more than 256 KiB"),
            (false, false) => Reason::new("health_unreadable", "does not tell of its health in a way that is known"),
        };
        return finding(Outcome::Fail, reason);
    };
    let (outcome, code, sentence) = match told.health {
        Health::Healthy => return None,
        Health::Degraded => (Outcome::Warn, "dependency_degraded", "says that it is degraded"),
        Health::Unknown => (Outcome::Inconclusive, "dependency_unknown", "does not know how it is"),
        Health::Unhealthy => (Outcome::Fail, "dependency_unhealthy", "says that it is unhealthy"),
    };
    let unwell = told.parts.iter().filter(|(_, health)| *health != Health::Healthy);
    let private: Vec<String> = unwell.map(|(name, health)| format!("{name} {}", health.word())).collect();
    let reason = Reason::new(code, sentence);
    finding(outcome, if private.is_empty() { reason } else { reason.with_private(private.join(", ")) })
}

/// Sets of codes: `2xx`, `200-299`, `200,204`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codes(Vec<std::ops::RangeInclusive<u16>>);

impl Codes {
    fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }

    fn parse(text: &str) -> Option<Self> {
        let ranges = text.split(',').map(|part| {
            let part = part.trim();
            if let Some(class) = part.strip_suffix("xx") {
                let class = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class))? * 100;
                return Some(class..=class + 99);
            }
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
            (100 <= low && low <= high && high <= 599).then_some(low..=high)
        });
        ranges.collect::<Option<_>>().map(Self)
    }
}

impl Setting for Codes {
    const EXPECTS: &'static str = "status codes such as \"2xx\", \"200-399\" or \"200,204\"";
    const SHAPE: crate::settings::Shape =
        crate::settings::Shape::Either(&[crate::settings::Shape::Text, crate::settings::Shape::Whole]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = match &node.value {
            Value::Integer(code) => code.to_string(),
            Value::Text(text) => text.clone(),
            _ => String::new(),
        };
        let codes = Self::parse(&text);
        if codes.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        codes
    }
}

/// Fields to send.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(String, HeaderText)>);

#[derive(Clone, Debug)]
enum HeaderText {
    Plain(String),
    Secret(Secret),
}

impl Headers {
    /// The files of its secrets.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.0.iter().filter_map(|(_, text)| match text {
            HeaderText::Secret(Secret::File(path)) => Some(path.clone()),
            HeaderText::Secret(Secret::Variable(_)) | HeaderText::Plain(_) => None,
        })
    }

    /// The fields, marked as not to be shown; or what is wrong, after the name of this setting.
    pub(crate) fn resolve(&self, environment: &Environment) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.0 {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| "headers` holds an impossible name")?;
            let value = match value {
                HeaderText::Plain(text) => text.clone(),
                HeaderText::Secret(secret) => {
                    secret.resolve(environment).map_err(|error| format!("headers.{name}`: {error}"))?
                }
            };
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| format!("headers.{name}` holds characters that a field cannot"))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(headers)
    }
}

impl Setting for Headers {
    const EXPECTS: &'static str = "a table of fields";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Map(&crate::settings::Shape::Either(&[
        crate::settings::Shape::Text,
        crate::settings::Shape::Secret,
    ]));

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
            return None;
        };
        let read: Vec<Option<(String, HeaderText)>> = table
            .entries
            .iter()
            .map(|entry| {
                let path = format!("{path}.{}", entry.key);
                let value = match &entry.node.value {
                    Value::Table(_) => HeaderText::Secret(Secret::read(&entry.node, &path, problems)?),
                    _ => HeaderText::Plain(String::read(&entry.node, &path, problems)?),
                };
                Some((entry.key.clone(), value))
            })
            .collect();
        read.into_iter().collect::<Option<Vec<_>>>().map(Self)
    }

    /// Names only: a value may be a credential.
    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        let Value::Table(table) = &node.value else {
            return;
        };
        for entry in &table.entries {
            let path = format!("{path}.{}", entry.key);
            match &entry.node.value {
                Value::Table(_) => lines.push(Line::plain(&entry.node, &path)),
                _ => lines.push(Line::masked(&entry.node, &path)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Codes;

    #[test]
    fn codes_are_read_and_refused() {
        let codes = Codes::parse("2xx, 301,400-404").expect("valid");
        assert!([200, 299, 301, 400, 404].into_iter().all(|code| codes.contains(code)));
        assert!([199, 300, 302, 405, 500].into_iter().all(|code| !codes.contains(code)));
        for bad in ["", "xx", "6xx", "99", "200-100", "abc", "200;201", "2xx,", "600"] {
            assert!(Codes::parse(bad).is_none(), "{bad} must be refused");
        }
    }
}
