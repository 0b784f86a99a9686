use std::fmt::{Debug, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::header::{ALLOW, CACHE_CONTROL, FORWARDED, HeaderMap, HeaderName, HeaderValue, ORIGIN, VIA};
use hyper::{Method, Request, Response};
use serde_json::json;
use tokio::sync::Semaphore;

use super::service::{full, is_certified, problem};
use super::{Credentials, Meant, Place};

/// What an operator can have the process do, through the endpoints below `/-/`.
pub trait Control: Send + Sync + Debug {
    /// Out of service, up to accepting nothing more; the process goes on.
    fn drain(&self);

    /// Back into service; false if the process has been told to stop.
    fn undrain(&self) -> bool;

    /// Not ready for a reason, or as the checks say again.
    fn maintain(&self, reason: Option<Arc<str>>);

    /// Reads the configuration anew: the keys that changed, or everything that is wrong.
    fn reload(&self) -> BoxFuture<'static, Result<Vec<String>, Vec<String>>>;

    /// Takes in a heartbeat for a check; the second since 1970, or `None` if no check waits for one of that name.
    fn heartbeat(&self, name: &str) -> Option<u64>;

    /// Waits until a drain has come to its end.
    fn drained(&self) -> BoxFuture<'static, ()>;

    /// Requests begun and not ended.
    fn in_flight(&self) -> i64;

    /// How long a drain may take, where nobody says otherwise.
    fn patience(&self) -> Duration;
}

/// The endpoints below `/-/`: what they have done, and who may wait.
#[derive(Clone, Debug)]
pub struct Operator {
    control: Arc<dyn Control>,
    place: Place,
    waiters: Arc<Semaphore>,
}

/// At most so many wait for a drain at the same time: `/-/wait-for-drain` is public.
const MOST_WAITERS: usize = 64;

/// Nobody waits longer for a drain than this, whatever is asked for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A reason for maintenance is a sentence.
const LONGEST_REASON: usize = 200;

/// What one of the endpoints does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Drain,
    Undrain,
    Reload,
    MaintenanceOn,
    MaintenanceOff,
    WaitForDrain,
    Heartbeat,
}

const ACTIONS: [(&str, Action); 6] = [
    ("/-/drain", Action::Drain),
    ("/-/undrain", Action::Undrain),
    ("/-/reload", Action::Reload),
    ("/-/maintenance/on", Action::MaintenanceOn),
    ("/-/maintenance/off", Action::MaintenanceOff),
    ("/-/wait-for-drain", Action::WaitForDrain),
];

/// Before the name of a check of kind `heartbeat`.
const HEARTBEAT: &str = "/-/heartbeat/";

impl Action {
    pub(super) fn at(path: &str) -> Option<Self> {
        if path.starts_with(HEARTBEAT) {
            return Some(Self::Heartbeat);
        }
        ACTIONS.iter().find(|(known, _)| *known == path).map(|(_, action)| *action)
    }
}

impl Operator {
    /// Has this do what is asked for, where it is asked of the process at this place.
    #[must_use]
    pub fn new(control: Arc<dyn Control>, place: Place) -> Self {
        Self { control, place, waiters: Arc::new(Semaphore::new(MOST_WAITERS)) }
    }

    /// Answers, once it is done. What can be refused is refused at once.
    pub(super) fn answer<B>(
        &self,
        action: Action,
        request: &Request<B>,
        peer: Option<IpAddr>,
        credentials: &Credentials,
    ) -> BoxFuture<'static, Response<Bytes>> {
        let only_waits = action == Action::WaitForDrain;
        let fine = request.method() == Method::POST || (only_waits && request.method() == Method::GET);
        if !fine {
            let (message, allow) = if only_waits {
                ("this endpoint answers GET and POST", "GET, POST")
            } else {
                ("this endpoint answers POST", "POST")
            };
            let mut response = problem(405, "method_not_allowed", message);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
            return ready(response);
        }
        if !only_waits && !may_control(request.headers(), peer, is_certified(request), credentials) {
            let message = "only from this machine or with an API key: X-API-Key, or Authorization: Bearer";
            return ready(problem(403, "forbidden", message));
        }
        let meant = request.headers().get(Meant::FIELD).map(|field| field.to_str().ok().and_then(Meant::read));
        if !meant.is_none_or(|meant| meant.is_some_and(|meant| meant.is(self.place))) {
            let message = "another process answers here than the one with this file or port: nothing was done";
            return ready(problem(409, "another_process", message));
        }
        let query = request.uri().query().unwrap_or_default();
        match action {
            Action::Drain => {
                self.control.drain();
                ready(self.state(200, "draining"))
            }
            Action::Undrain if self.control.undrain() => ready(self.state(200, "serving")),
            Action::Undrain => {
                ready(problem(409, "stopping", "the process has been told to stop: there is no way back"))
            }
            Action::MaintenanceOn => ready(self.maintain(query)),
            Action::MaintenanceOff => {
                self.control.maintain(None);
                ready(full(200, JSON, r#"{"maintenance":null}"#.into()))
            }
            Action::Reload => {
                let outcome = self.control.reload();
                Box::pin(async move { reloaded(outcome.await) })
            }
            Action::WaitForDrain => self.wait(query),
            Action::Heartbeat => ready(self.heartbeat(request.uri().path())),
        }
    }

    fn heartbeat(&self, path: &str) -> Response<Bytes> {
        match path.strip_prefix(HEARTBEAT).and_then(|name| self.control.heartbeat(name)) {
            Some(at) => full(200, JSON, json!({ "heartbeat": at }).to_string().into()),
            None => problem(404, "not_found", "no check waits for a heartbeat of this name"),
        }
    }

    fn state(&self, code: u16, lifecycle: &str) -> Response<Bytes> {
        let body = json!({ "lifecycle": lifecycle, "in_flight": self.control.in_flight() });
        full(code, JSON, body.to_string().into())
    }

    fn maintain(&self, query: &str) -> Response<Bytes> {
        let reason = match parameter(query, "reason") {
            Some(None) => return problem(400, "bad_reason", NOT_ENCODED),
            Some(Some(reason)) if !reason.is_empty() => reason,
            _ => "no reason given".to_owned(),
        };
        if reason.chars().any(breaks_a_line) {
            let message = "the reason must be one line, without control characters";
            return problem(400, "bad_reason", message);
        }
        if reason.chars().count() > LONGEST_REASON {
            return problem(400, "bad_reason", "the reason must have at most 200 characters");
        }
        self.control.maintain(Some(reason.as_str().into()));
        full(200, JSON, json!({ "maintenance": reason }).to_string().into())
    }

    fn wait(&self, query: &str) -> BoxFuture<'static, Response<Bytes>> {
        let patience = match parameter(query, "timeout") {
            None => Some(self.control.patience()),
            Some(text) => text.and_then(|text| humantime::parse_duration(&text).ok()),
        };
        let Some(patience) = patience else {
            return ready(problem(400, "bad_timeout", "the timeout must be a duration such as 25s"));
        };
        let Ok(place) = self.waiters.clone().try_acquire_owned() else {
            return ready(problem(503, "too_many_waiters", "as many as may wait for the drain already"));
        };
        let (drained, this) = (self.control.drained(), self.clone());
        Box::pin(async move {
            let ended = tokio::time::timeout(patience.min(LONGEST_WAIT), drained).await.is_ok();
            drop(place);
            if ended { this.state(200, "drained") } else { this.state(504, "not drained in time") }
        })
    }
}

const JSON: &str = "application/json";

/// Whoever can open our Unix sockets, speaks from this machine, or has a key or a certificate.
///
/// "From this machine" is not enough when somebody else speaks through it: a proxy that says for whom (some meshes let all
/// of a pod's traffic come from a loopback address), or a browser that says for which page.
fn may_control(headers: &HeaderMap, peer: Option<IpAddr>, certified: bool, credentials: &Credentials) -> bool {
    const FOR_OTHERS: [HeaderName; 5] =
        [FORWARDED, VIA, ORIGIN, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("sec-fetch-site")];
    let for_itself = FOR_OTHERS.iter().all(|name| !headers.contains_key(name));
    let local = peer.is_none_or(|peer| peer.to_canonical().is_loopback() && for_itself);
    local || credentials.may_operate(headers, certified && for_itself)
}

fn reloaded(outcome: Result<Vec<String>, Vec<String>>) -> Response<Bytes> {
    match outcome {
        Ok(changed) => full(200, JSON, json!({ "reloaded": true, "changed": changed }).to_string().into()),
        Err(problems) => {
            let message = "nothing has changed";
            let error = json!({ "code": "not_reloaded", "message": message, "problems": problems });
            full(422, JSON, json!({ "error": error }).to_string().into())
        }
    }
}

fn ready(mut response: Response<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Box::pin(std::future::ready(response))
}

const NOT_ENCODED: &str =
    "the reason cannot be read: in a query % is followed by two hexadecimal digits, and all of it must be UTF-8";

/// What a log or a terminal would take for more than a line of text.
fn breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A parameter of a query, decoded (RFC 3986 section 2.1; `+` is a space, as forms have it); nothing inside, if it is not
/// well-formed.
fn parameter(query: &str, name: &str) -> Option<Option<String>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(known, _)| *known == name)?;
    Some(decode(value))
}

/// A value of a query, decoded; `None` if it is not well-formed.
pub(super) fn decode(value: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}

/// A value for a query, encoded.
#[must_use]
pub fn encode(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hyper::header::HeaderMap;
    use proptest::prelude::*;

    use super::{Credentials, encode, may_control, parameter};

    #[test]
    fn only_who_speaks_for_itself_from_this_machine_may_control() {
        let may = |peer: Option<&str>, fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, value.parse().expect("a value"));
            }
            let peer = peer.map(|peer| peer.parse::<IpAddr>().expect("an address"));
            may_control(&headers, peer, false, &Credentials::default())
        };
        assert!(may(None, &[]) && may(Some("127.0.0.1"), &[]) && may(Some("::1"), &[]));
        assert!(may(Some("127.0.0.1"), &[("user-agent", "any")]));
        assert!(may(Some("::ffff:127.0.0.1"), &[]));
        for peer in ["10.1.2.3", "::ffff:10.1.2.3", "fe80::1", "0.0.0.0"] {
            assert!(!may(Some(peer), &[]), "{peer}");
        }
        for name in ["x-forwarded-for", "forwarded", "via", "origin", "sec-fetch-site"] {
            assert!(!may(Some("127.0.0.1"), &[(name, "x")]), "{name}");
            assert!(may(None, &[(name, "x")]), "who opens the socket is who opens the socket");
        }
        assert!(!may(Some("127.0.0.1"), &[("x-forwarded-for", "1"), ("x-api-key", "wrong")]));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in ".*") {
            prop_assert_eq!(parameter(&format!("a=1&reason={}&b", encode(&text)), "reason"), Some(Some(text)));
        }

        #[test]
        fn no_query_is_too_strange(text in ".*") {
            let _ = parameter(&text, "reason");
        }
    }
}
