use std::fmt;
use std::path::PathBuf;

use super::setting::malformed;
use super::{Line, Node, Problems, Reader, Setting};

/// How a URL is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text over TCP.
    Http,
    /// HTTP/2 in plain text over TCP, without asking first.
    H2c,
    /// TLS over TCP.
    Https,
    /// Plain text over a Unix socket, by its path.
    Unix(PathBuf),
}

/// A place that speaks HTTP: `http://host[:port][/path]`, `https://…`, or `unix:/path/to/socket`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// How to reach it.
    pub scheme: Scheme,
    /// Host name or address, without the brackets of IPv6.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query; `/` if none was given.
    pub path: String,
}

impl Url {
    /// Reads a URL. User names and passwords are refused: they would end in logs and bodies of others.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(socket) = text.strip_prefix("unix:") {
            let socket = PathBuf::from(socket);
            return socket.is_absolute().then(|| Self {
                scheme: Scheme::Unix(socket),
                host: "localhost".into(),
                port: 80,
                path: "/".into(),
            });
        }
        let uri: hyper::Uri = text.parse().ok()?;
        let (scheme, port) = match uri.scheme_str()? {
            "http" => (Scheme::Http, 80),
            "h2c" => (Scheme::H2c, 80),
            "https" => (Scheme::Https, 443),
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || text.contains('#') {
            return None;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // `Authority::port` takes a port that is too large for none.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" => port,
            written => {
                let digits = written.strip_prefix(':').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
                digits.parse().ok()?
            }
        };
        if host.is_empty() || port == 0 {
            return None;
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self { scheme, host: host.to_owned(), port, path: path.to_owned() })
    }

    /// `host:port` as the Host field and a resolver take it.
    #[must_use]
    pub fn authority(&self) -> String {
        let default = match self.scheme {
            Scheme::Http | Scheme::H2c => 80,
            Scheme::Https => 443,
            Scheme::Unix(_) => self.port,
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// The same place with another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            Scheme::Http => write!(f, "http://{}{}", self.authority(), self.path),
            Scheme::H2c => write!(f, "h2c://{}{}", self.authority(), self.path),
            Scheme::Https => write!(f, "https://{}{}", self.authority(), self.path),
            Scheme::Unix(socket) => write!(f, "unix:{}", socket.display()),
        }
    }
}

impl Setting for Url {
    const EXPECTS: &'static str = "a URL such as \"http://127.0.0.1:8080\", \"https://host/path\" or \"unix:/run/app.sock\", without user or fragment";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        match Self::parse(text) {
            Some(url) => Some(url),
            None => malformed(node, path, problems),
        }
    }

    /// A URL that was refused for its password must not be shown either, nor one with a token in its query.
    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        let text = match &node.value {
            super::Value::Text(text) => text.as_str(),
            _ => "",
        };
        match Self::parse(text) {
            Some(url) if !url.path.contains('?') => lines.push(Line::plain(node, path)),
            Some(url) => {
                let shown = url.path.split('?').next().unwrap_or("/").to_owned() + "?***";
                let value = super::node::quoted(&url.with_path(&shown).to_string());
                lines.push(Line { value, ..Line::plain(node, path) });
            }
            None => lines.push(Line::masked(node, path)),
        }
    }
}
