use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::settings::{Environment, Line, Node, Problems, Secret, Setting, Value};

/// Where a database is: a URL, or a secret that holds one. A URL may hold a password, so neither is ever shown whole.
#[derive(Clone)]
pub(crate) enum DatabaseUrl {
    /// The URL itself.
    Written(String),
    /// Where it is kept.
    Kept(Secret),
}

impl DatabaseUrl {
    /// Reads the secret, and the URL.
    ///
    /// # Errors
    /// The secret cannot be read, or it is no URL of a database. The sentence quotes nothing.
    pub(crate) fn resolve(&self, environment: &Environment) -> Result<Address, String> {
        match self {
            Self::Written(url) => Address::parse(url).map_err(|problem| format!("its URL {problem}")),
            Self::Kept(secret) => {
                let url = secret.resolve(environment).map_err(|error| format!("its URL: {error}"))?;
                Address::parse(&url).map_err(|problem| format!("the URL that its secret holds {problem}"))
            }
        }
    }

    /// The file that resolving reads.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Kept(Secret::File(path)) => Some(path.clone()),
            _ => None,
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    /// Never what was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(***)")
    }
}

impl Setting for DatabaseUrl {
    const EXPECTS: &'static str = "the URL of a database such as \"postgres://user@host/name\", or { env = \"…\" } or { file = \"…\" } that holds one";
    const SHAPE: crate::settings::Shape =
        crate::settings::Shape::Either(&[crate::settings::Shape::Text, crate::settings::Shape::Secret]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        match &node.value {
            Value::Table(_) => Secret::read(node, path, problems).map(Self::Kept),
            Value::Text(text) => match Address::parse(text) {
                Ok(_) => Some(Self::Written(text.clone())),
                Err(problem) => {
                    problems.add(&node.origin, format!("`{path}` {problem}"));
                    None
                }
            },
            other => {
                problems.add(&node.origin, format!("`{path}` must be {}, not {}", Self::EXPECTS, other.type_name()));
                None
            }
        }
    }

    /// Scheme, host and name: user, password and parameters stay out.
    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        let shown = match &node.value {
            Value::Table(_) => return lines.push(Line::plain(node, path)),
            Value::Text(text) => Address::parse(text).ok().and(masked(text)),
            _ => None,
        };
        lines.push(match shown {
            Some(shown) => Line::plain(&Node { value: Value::Text(shown), origin: node.origin.clone() }, path),
            None => Line::masked(node, path),
        });
    }
}

fn masked(url: &str) -> Option<String> {
    let (before, query) = url.split_once('?').map_or((url, ""), |(before, _)| (before, "?***"));
    let (scheme, rest) = before.split_once(':')?;
    let rest = match (rest.strip_prefix("//"), rest.rsplit_once('@')) {
        (Some(_), Some((_, after))) => format!("//***@{after}"),
        _ => rest.to_owned(),
    };
    Some(format!("{scheme}:{rest}{query}"))
}

/// What speaks there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// PostgreSQL and what speaks its protocol.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// A file.
    Sqlite,
    /// Redis and Valkey.
    Redis,
}

impl Engine {
    /// How its URLs begin.
    pub(super) fn schemes(self) -> &'static str {
        match self {
            Self::Postgres => "postgres://",
            Self::Mysql => "mysql://",
            Self::Sqlite => "sqlite://",
            Self::Redis => "redis:// or rediss://",
        }
    }
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Host (without the brackets of IPv6) and port.
    Tcp(String, u16),
    /// A Unix socket, or the file of SQLite.
    Path(PathBuf),
}

/// A database's URL, taken apart. Its text holds no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(super) engine: Engine,
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// The database's name, or its number with Redis.
    pub(super) name: Option<String>,
    /// Whether TLS is asked for. Then it is verified, whatever the word for it was.
    pub(super) tls: bool,
    /// A file of authorities that the URL names.
    pub(super) ca: Option<PathBuf>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?}, {self})", self.engine)
    }
}

impl fmt::Display for Address {
    /// For trusted callers: where, without who.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp(host, port) => write!(f, "{host}:{port}"),
            Place::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    /// A file of SQLite.
    pub(super) fn of_file(path: PathBuf) -> Self {
        let (engine, place) = (Engine::Sqlite, Place::Path(path));
        Self { engine, place, user: None, password: None, name: None, tls: false, ca: None }
    }

    /// Takes a URL apart, or says what is wrong with it without quoting it.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "must be the URL of a database, such as \"postgres://user@host:5432/name\", \
                             \"mysql://user@host/name\", \"sqlite:///var/lib/app.db\" or \"redis://host:6379/0\"; \
                             special characters in it are written as %40";
        let (scheme, rest) = url.split_once(':').ok_or(SHAPE)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let unix = matches!(scheme, "redis+unix" | "valkey+unix" | "unix");
        // What is shared with an app may name its driver: postgresql+asyncpg.
        let (engine, tls) = match scheme.split('+').next().unwrap_or(scheme) {
            _ if unix => (Engine::Redis, false),
            "postgres" | "postgresql" => (Engine::Postgres, false),
            "mysql" | "mariadb" => (Engine::Mysql, false),
            "redis" | "valkey" => (Engine::Redis, false),
            "rediss" | "valkeys" => (Engine::Redis, true),
            "sqlite" | "sqlite3" => (Engine::Sqlite, false),
            _ => return Err(SHAPE),
        };
        let mut address = Self { engine, tls, ..Self::of_file(PathBuf::new()) };
        if engine == Engine::Sqlite {
            let path = decoded(rest.strip_prefix("//").unwrap_or(rest)).ok_or(SHAPE)?;
            if !path.starts_with('/') {
                return Err("must name SQLite's file by its whole path: \"sqlite:///var/lib/app.db\"");
            }
            address.place = Place::Path(path.into());
            return Ok(address);
        }
        let rest = rest.strip_prefix("//").ok_or(SHAPE)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (who, place) = authority.rsplit_once('@').map_or(("", authority), |(who, place)| (who, place));
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let given = |text: &str| decoded(text).map(|text| Some(text).filter(|text| !text.is_empty())).ok_or(SHAPE);
        (address.user, address.password) = (given(user)?, given(password)?);
        if unix {
            address.place = Place::Path(given(path)?.ok_or(SHAPE)?.into());
        } else {
            address.name = given(path.trim_start_matches('/'))?;
            address.place = address.place_of(place).ok_or(SHAPE)?;
        }
        for (key, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
            address.take(key, &decoded(value).ok_or(SHAPE)?)?;
        }
        if matches!(&address.place, Place::Tcp(host, _) if host.contains(',')) {
            return Err("must name one host: each server is a check of its own");
        }
        if engine == Engine::Redis && address.name.as_ref().is_some_and(|name| name.parse::<u32>().is_err()) {
            return Err("must name Redis' database by its number: \"redis://host:6379/0\"");
        }
        Ok(address)
    }

    /// `host:port`, `[::1]:port`; nothing at all is the usual Unix socket, or this machine.
    fn place_of(&self, text: &str) -> Option<Place> {
        let port = self.default_port();
        if text.is_empty() {
            return Some(match self.engine {
                Engine::Postgres => Place::Path("/var/run/postgresql/.s.PGSQL.5432".into()),
                Engine::Mysql => Place::Path("/var/run/mysqld/mysqld.sock".into()),
                _ => Place::Tcp("localhost".into(), port),
            });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host.to_owned(), if after.is_empty() { port } else { after.strip_prefix(':')?.parse().ok()? })
            }
            None => match text.split_once(':') {
                Some((host, port)) => (decoded(host)?, port.parse().ok()?),
                None => (decoded(text)?, port),
            },
        };
        // A path in place of a host is the folder of PostgreSQL's socket, percent-encoded.
        if host.starts_with('/') {
            return Some(Place::Path(self.socket(&host, port)));
        }
        let proper = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%' | ',');
        (!host.is_empty() && port != 0 && host.chars().all(proper)).then_some(Place::Tcp(host, port))
    }

    fn default_port(&self) -> u16 {
        match self.engine {
            Engine::Postgres => 5432,
            Engine::Mysql => 3306,
            Engine::Redis => 6379,
            Engine::Sqlite => 0,
        }
    }

    fn socket(&self, path: &str, port: u16) -> PathBuf {
        match self.engine {
            Engine::Postgres => PathBuf::from(path).join(format!(".s.PGSQL.{port}")),
            _ => path.into(),
        }
    }

    /// One parameter. What is meant for an app's driver is left alone.
    fn take(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "sslmode" | "ssl-mode" | "ssl_mode" | "tls" | "ssl" | "require_ssl" => {
                self.tls = match value.to_ascii_lowercase().as_str() {
                    "disable" | "disabled" | "allow" | "prefer" | "preferred" | "false" | "0" => self.tls,
                    "require" | "required" | "verify-ca" | "verify_ca" | "verify-full" | "verify_identity" | "true"
                    | "1" => true,
                    _ => return Err("has an unknown word for TLS: use sslmode=disable or sslmode=verify-full"),
                };
            }
            "sslrootcert" | "ssl-ca" | "ssl_ca" if value.starts_with('/') => self.ca = Some(value.into()),
            "host" | "socket" | "unix_socket" if value.starts_with('/') => {
                let port = match self.place {
                    Place::Tcp(_, port) => port,
                    Place::Path(_) => self.default_port(),
                };
                self.place = Place::Path(self.socket(value, port));
            }
            "user" => self.user = Some(value.to_owned()),
            "password" => self.password = Some(value.to_owned()),
            "dbname" | "db" => self.name = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// What a server says, without the password, which it was sent and could say back.
    pub(super) fn without_password<'a>(&self, said: &'a str) -> Cow<'a, str> {
        match self.password.as_deref() {
            Some(password) if said.contains(password) => Cow::Owned(said.replace(password, "***")),
            _ => Cow::Borrowed(said),
        }
    }
}

/// Text from elsewhere, for logs and trusted callers: one line, not long.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// Undoes percent-encoding (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok().filter(|digits| digits.is_ascii())?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    // A null byte would end the text for a server.
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Place {
        Place::Tcp(host.into(), port)
    }

    #[test]
    fn urls_are_taken_apart() {
        let read = |url| Address::parse(url).unwrap_or_else(|problem| panic!("{url} {problem}"));
        let full =
            read("postgres://us%40er:p%3Aa%2Fss@db.example:6543/na%20me?sslmode=verify-full&sslrootcert=/ca.pem");
        assert_eq!((full.engine, &full.place, full.tls), (Engine::Postgres, &tcp("db.example", 6543), true));
        assert_eq!(full.user.as_deref(), Some("us@er"));
        assert_eq!(full.password.as_deref(), Some("p:a/ss"));
        assert_eq!(full.name.as_deref(), Some("na me"));
        assert_eq!(full.ca, Some("/ca.pem".into()));
        assert_eq!(read("postgresql+asyncpg://host").place, tcp("host", 5432));
        assert_eq!(read("mysql://u@[::1]:3307/x?tls=true&pool=5").place, tcp("::1", 3307));
        assert_eq!(read("postgres:///x").place, Place::Path("/var/run/postgresql/.s.PGSQL.5432".into()));
        assert_eq!(read("postgres://u@h:5433/x?host=/tmp").place, Place::Path("/tmp/.s.PGSQL.5433".into()));
        assert_eq!(read("postgres://u@%2Ftmp%2Fpg/x").place, Place::Path("/tmp/pg/.s.PGSQL.5432".into()));
        assert_eq!(read("mysql://u@h/x?socket=/tmp/my.sock").place, Place::Path("/tmp/my.sock".into()));
        assert_eq!(read("sqlite:///var/app.db?mode=rwc").place, Place::Path("/var/app.db".into()));
        assert_eq!(read("sqlite:/var/app.db").place, Place::Path("/var/app.db".into()));
        let redis = read("rediss://:secret@h/3");
        assert_eq!((redis.tls, redis.user, redis.name.as_deref()), (true, None, Some("3")));
        assert_eq!(read("redis+unix:///run/r.sock?db=2").name.as_deref(), Some("2"));
        assert_eq!(read("unix:///run/r.sock").place, Place::Path("/run/r.sock".into()));
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused_without_being_quoted() {
        for url in [
            "",
            "hunter2",
            "http://host/",
            "postgres:host",
            "postgres://host:0/x",
            "postgres://host:99999/x",
            "postgres://u:hunter2/x@host/",
            "postgres://a,b/x",
            "postgres://host/x?sslmode=hunter2",
            "postgres://u:%zz@host/x",
            "postgres://u:%00@host/x",
            "postgres://h\u{e4}st/x",
            "sqlite://relative.db",
            "sqlite::memory:",
            "redis://host/zero",
            "postgres://[::1/x",
            "postgres://u:%4\u{e4}@host/x",
        ] {
            let problem = Address::parse(url).expect_err(url);
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_password_is_in_no_text() {
        let url = "postgres://user:hunter2@host/name?password=hunter2";
        let address = Address::parse(url).expect("valid");
        for text in [format!("{address}"), format!("{address:?}"), address.without_password("no hunter2 here").into()] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert_eq!(one_line("no\nhere"), "no here");
        assert_eq!(masked(url).as_deref(), Some("postgres://***@host/name?***"));
        assert_eq!(masked("sqlite:/a/b").as_deref(), Some("sqlite:/a/b"));
        assert_eq!(format!("{:?}", DatabaseUrl::Written(url.into())), "DatabaseUrl(***)");
    }
}
