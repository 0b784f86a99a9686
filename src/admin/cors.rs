use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN,
    VARY,
};
use hyper::{Method, Request, Response, StatusCode};

use bytes::Bytes;

/// Whose pages may read the endpoints from a browser (Fetch standard, section 3.3).
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<String>,
    with_credentials: bool,
}

/// The fields that a page may send: those that an answer depends on.
const FIELDS: &str = "authorization, content-type, last-event-id, x-api-key";

/// For so many seconds a browser need not ask again.
const MAX_AGE: &str = "600";

impl Cors {
    /// Pages of these origins; `*` for all. A browser sends cookies and certificates along only if that is wanted, and
    /// never to all.
    #[must_use]
    pub fn new(origins: Vec<String>, with_credentials: bool) -> Self {
        Self { origins, with_credentials }
    }

    /// Whether a text can be an origin as browsers write it: a scheme, a host, perhaps a port, and nothing after it.
    #[must_use]
    pub fn is_origin(text: &str) -> bool {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ']);
        text == "*" || (host.is_some_and(plain) && text.bytes().all(|byte| byte.is_ascii_graphic()))
    }

    /// The answer to a preflight: to the question whether a page may ask with such a method and such fields. It never shows a
    /// credential, so it needs none.
    pub(super) fn preflight<B>(&self, request: &Request<B>, methods: &'static str) -> Option<Response<Bytes>> {
        let asks = request.method() == Method::OPTIONS
            && !self.origins.is_empty()
            && [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD].iter().all(|name| request.headers().contains_key(name));
        asks.then(|| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            if self.allowed(request.headers()).is_some() {
                let headers = response.headers_mut();
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(FIELDS));
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
            }
            response
        })
    }

    /// What an answer, whatever it is, says of whose pages may read it.
    /// `negotiates`: the answer depends on `Accept` too.
    pub(super) fn mark(&self, asked: &HeaderMap, negotiates: bool) -> Mark {
        // Also where no origin was sent: the answer would be another one with it.
        let vary = match (negotiates, !self.origins.is_empty()) {
            (false, false) => None,
            (true, false) => Some("accept"),
            (false, true) => Some("origin"),
            (true, true) => Some("accept, origin"),
        };
        let origin = self.allowed(asked);
        let credentials = self.with_credentials && origin.as_ref().is_some_and(|origin| origin != "*");
        Mark { origin, credentials, vary }
    }

    /// Never an origin that is not listed, not even where all are welcome: "*" is what a browser lets no cookie go to.
    fn allowed(&self, asked: &HeaderMap) -> Option<HeaderValue> {
        let origin = asked.get(ORIGIN)?;
        if self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()) {
            return Some(origin.clone());
        }
        self.origins.iter().any(|known| known == "*").then(|| HeaderValue::from_static("*"))
    }
}

/// Whose pages may read one answer.
#[derive(Debug)]
pub(super) struct Mark {
    origin: Option<HeaderValue>,
    credentials: bool,
    vary: Option<&'static str>,
}

impl Mark {
    pub(super) fn put(self, headers: &mut HeaderMap) {
        if let Some(origin) = self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(vary) = self.vary {
            headers.insert(VARY, HeaderValue::from_static(vary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cors;

    #[test]
    fn origins_are_what_browsers_send() {
        for fine in ["*", "https://status.example", "http://127.0.0.1:3000", "https://[::1]:8443"] {
            assert!(Cors::is_origin(fine), "{fine}");
        }
        for bad in ["", "null", "status.example", "https://", "https://a/", "https://a/b", "https://*.a", "ftp://a"] {
            assert!(!Cors::is_origin(bad), "{bad}");
        }
    }
}
