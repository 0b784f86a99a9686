use std::borrow::Cow;
use std::fmt::Display;
use std::io;

use super::Address;
use super::address::one_line;
use crate::check::{NO_SOCKETS, not_asked};
use crate::health::{Facts, Finding, Reason};
use crate::shortage::is_ours;

/// Why a database did not do what it was asked.
#[derive(Debug)]
pub(super) struct Trouble {
    kind: Kind,
    /// Where it happened, with a colon, or nothing.
    place: String,
    /// What the server or the system said, for trusted callers.
    detail: String,
    /// Whether the server had a word in it. It may say back what it was sent.
    said: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No connection.
    Connect,
    /// We have no descriptor, port or memory left to ask it with.
    NotAsked,
    /// A connection, but no TLS on it.
    Tls,
    /// Something answers that is no such database.
    Protocol,
    /// It closed the connection, or went away.
    Lost,
    /// Who asks is not let in.
    Auth,
    /// There is no such database.
    NoDatabase,
    /// It has no room for one more connection.
    Full,
    /// It is starting, stopping or loading its data.
    Starting,
    /// There is no such table.
    NoTable,
    /// It does not like the query.
    Query,
    /// It ended the query for taking too long: it was told our timeout.
    Timeout,
    /// It answers with more than is looked at.
    TooLarge,
    /// SQLite: there is no such file.
    Missing,
    /// SQLite: somebody else has locked it.
    Locked,
    /// SQLite: the file is something else, or damaged.
    NotADatabase,
}

impl Kind {
    fn code(self) -> &'static str {
        match self {
            Self::Connect => "connect_failed",
            Self::NotAsked => NO_SOCKETS,
            Self::Tls => "tls_failed",
            Self::Protocol => "protocol_error",
            Self::Lost => "connection_lost",
            Self::Auth => "auth_failed",
            Self::NoDatabase => "no_database",
            Self::Full => "too_many_connections",
            Self::Starting => "not_ready",
            Self::NoTable | Self::Query => "query_failed",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Missing => "file_missing",
            Self::Locked => "locked",
            Self::NotADatabase => "not_a_database",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Connect => "cannot connect",
            Self::NotAsked => "was not asked",
            Self::Tls => "TLS handshake failed",
            Self::Protocol => "does not answer as such a database does",
            Self::Lost => "closed the connection",
            Self::Auth => "refuses the login",
            Self::NoDatabase => "has no such database",
            Self::Full => "has no connection left",
            Self::Starting => "is starting or stopping",
            Self::NoTable | Self::Query => "refuses the query",
            Self::Timeout => "did not answer in time",
            Self::TooLarge => "answers with more than is looked at",
            Self::Missing => "is not there",
            Self::Locked => "is locked by somebody else",
            Self::NotADatabase => "is not a database, or is damaged",
        }
    }
}

impl Trouble {
    /// No connection, for this error.
    pub(super) fn connecting(error: &io::Error) -> Self {
        Self::new(if is_ours(error) { Kind::NotAsked } else { Kind::Connect }, error)
    }

    /// In words of ours or of the system.
    pub(super) fn new(kind: Kind, detail: impl Display) -> Self {
        Self { kind, place: String::new(), detail: detail.to_string(), said: false }
    }

    /// In words of the server's, or of what it sent.
    pub(super) fn said(kind: Kind, detail: impl Display) -> Self {
        Self { said: true, ..Self::new(kind, detail) }
    }

    /// Whether a kept connection may be to blame, so that a new one could do better.
    pub(super) fn may_be_stale(&self) -> bool {
        matches!(self.kind, Kind::Lost | Kind::Protocol | Kind::Starting)
    }

    /// Whether it is this.
    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// The same with a word on where it happened.
    pub(super) fn during(mut self, what: &str) -> Self {
        self.place = format!("{what}: {}", self.place);
        self
    }

    pub(super) fn finding(&self, address: &Address, facts: Facts) -> Finding {
        // What others did not say holds no password, and a word of it that is one would show what the password is.
        let said = if self.said { address.without_password(&self.detail) } else { Cow::Borrowed(&*self.detail) };
        let detail = one_line(&format!("{address}: {}{said}", self.place));
        if self.kind == Kind::NotAsked {
            return Finding::inconclusive(not_asked(Some(detail)), facts);
        }
        Finding::fail(Reason::new(self.kind.code(), self.kind.sentence()).with_private(detail), facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_where_the_server_may_have_said_it_and_nowhere_else() {
        for password in ["p", "refused", "server", "localhost"] {
            let address = Address::parse(&format!("redis://:{password}@localhost:1/0")).expect("a URL");
            let detail = |trouble: Trouble| {
                let reason = trouble.finding(&address, Facts::default()).reason.expect("a reason");
                reason.private.expect("a detail")
            };
            let refused = io::Error::other("Connection refused by the server");
            let ours = Trouble::connecting(&refused).during("a probe");
            assert_eq!(detail(ours), "localhost:1: a probe: Connection refused by the server");
            let said = Trouble::said(Kind::Auth, format!("no {password}"));
            assert_eq!(detail(said), "localhost:1: no ***");
        }
    }
}
