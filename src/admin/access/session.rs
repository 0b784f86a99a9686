use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{COOKIE, HeaderMap, HeaderValue};

use crate::fetch::{Question, fetch};
use crate::settings::{Scheme, Url};
use crate::tls::{Client, TlsError};

crate::settings! {
    /// Sessions of the app that admit, with access = ["session"]: one of `cookie` and `url`.
    pub struct SessionSettings {
        /// The name of a cookie that holds a token by the rules of `admin.jwt`.
        cookie: Option<String>,
        /// Who is asked with the caller's cookies, by GET; 2xx admits: "http://127.0.0.1:8080/auth/check".
        url: Option<Url>,
        /// For https: a file of certificate authorities to trust in place of the system's.
        ca: Option<PathBuf>,
    }
}

/// How a session shows that it is one.
#[derive(Debug)]
pub(in crate::admin) enum Session {
    /// By a token in this cookie.
    Cookie(String),
    /// By what the app says of all cookies.
    Ask(Asked),
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Asked {
    url: Url,
    tls: Option<Arc<Client>>,
}

/// What the app says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Said {
    Admits,
    Refuses,
    /// Nothing that could be understood, or nothing in time.
    Nothing,
}

/// For so long the app may think about a session: somebody waits.
const PATIENCE: Duration = Duration::from_secs(3);

impl Session {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// They do not fit together, or the authorities cannot be read.
    pub(in crate::admin) fn load(settings: &SessionSettings, with_tokens: bool) -> Result<Self, SessionError> {
        match (&settings.cookie, &settings.url) {
            (Some(_), None) if !with_tokens => Err(SessionError::NoTokens),
            (Some(name), None) if !is_name(name) => Err(SessionError::Name),
            (Some(name), None) => Ok(Self::Cookie(name.clone())),
            (None, Some(url)) => {
                let https = url.scheme == Scheme::Https;
                let tls = https.then(|| Client::trusting(settings.ca.as_deref()).map(Arc::new));
                Ok(Self::Ask(Asked { url: url.clone(), tls: tls.transpose().map_err(SessionError::Authorities)? }))
            }
            _ => Err(SessionError::Source),
        }
    }
}

impl Asked {
    /// Asks, with the caller's cookies and nothing else of it. A redirection is no answer of 2xx, and is not followed.
    /// Nothing is kept: whoever logs out is out.
    pub(in crate::admin) async fn ask(self, cookies: HeaderValue) -> Said {
        let headers = HeaderMap::from_iter([(COOKIE, cookies)]);
        let question = Question { method: Method::GET, url: self.url, headers, tls: self.tls };
        match tokio::time::timeout(PATIENCE, fetch(&question)).await {
            Ok(Ok(answer)) if answer.status.is_success() => Said::Admits,
            Ok(Ok(answer)) if answer.status.is_server_error() => {
                tracing::debug!(code = answer.status.as_u16(), "the app cannot say whether a session is valid");
                Said::Nothing
            }
            Ok(Ok(_)) => Said::Refuses,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the app cannot be asked whether a session is valid");
                Said::Nothing
            }
            Err(_) => {
                tracing::debug!("the app did not say in time whether a session is valid");
                Said::Nothing
            }
        }
    }
}

/// All cookies of a request as one field (RFC 9113 section 8.2.3 allows several).
pub(super) fn cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(COOKIE).iter();
    let first = lines.next()?.clone();
    let mut joined = first.as_bytes().to_vec();
    for line in lines {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    let mut value = HeaderValue::from_bytes(&joined).unwrap_or(first);
    value.set_sensitive(true);
    Some(value)
}

/// The value of the first cookie of that name (RFC 6265 section 4.2.1).
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// A token (RFC 9110 section 5.6.2), as the names of cookies are.
fn is_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

/// Why sessions cannot be recognized.
#[derive(Debug)]
pub enum SessionError {
    /// Neither or both of the two ways are named.
    Source,
    /// A token is wanted, and nothing says how it is signed.
    NoTokens,
    /// No cookie can have this name.
    Name,
    /// The authorities cannot be read.
    Authorities(TlsError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("set exactly one of `cookie` and `url`"),
            Self::NoTokens => f.write_str("`cookie` holds a token: set `admin.jwt`, which says how it is signed"),
            Self::Name => f.write_str("`cookie` must be the name of a cookie: letters, digits and -_."),
            Self::Authorities(error) => write!(f, "`ca`: {error}"),
        }
    }
}

impl std::error::Error for SessionError {}

#[cfg(test)]
mod tests {
    use hyper::header::{COOKIE, HeaderMap};

    use super::{cookie, cookies};

    #[test]
    fn cookies_are_found_in_all_lines() {
        let mut headers = HeaderMap::new();
        assert_eq!((cookie(&headers, "b"), cookies(&headers)), (None, None));
        for line in ["ab=0; a=1;b=\"2\"", "c=3; d; =x; e==", "b=other"] {
            headers.append(COOKIE, line.parse().expect("a value"));
        }
        for (name, value) in [("ab", "0"), ("a", "1"), ("b", "2"), ("c", "3"), ("e", "=")] {
            assert_eq!(cookie(&headers, name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!((cookie(&headers, "d"), cookie(&headers, "x"), cookie(&headers, "B")), (None, None, None));
        let all = cookies(&headers).expect("cookies");
        assert_eq!(all.as_bytes(), b"ab=0; a=1;b=\"2\"; c=3; d; =x; e==; b=other");
        assert!(all.is_sensitive());
    }
}
