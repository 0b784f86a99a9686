use std::io;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Column, Config, Connection, Error, NoTls, SimpleQueryMessage, SimpleQueryRow};

use crate::check::database::rows::{self, Limits, MOST_COLUMNS, Row, Rows};
use crate::check::database::session::{Answer, Session};
use crate::check::database::sql::{Ask, SqlSession};
use crate::check::database::trouble::{Kind, Trouble};
use crate::check::database::wire::{self, Allowance, Metered, Stream};
use crate::check::database::{APPLICATION, Target};
use crate::health::Fact;

type Link = Connection<Metered<Box<dyn Stream>>, NoTlsStream>;

/// A session at PostgreSQL. It makes no progress by itself: each operation moves the connection too, so that nothing is
/// left of it when a run is dropped.
pub(in crate::check::database) struct PostgresSession {
    client: Client,
    link: Link,
    allowance: Arc<Allowance>,
}

/// The request for TLS ("SSLRequest" in PostgreSQL's documentation, section 53.7).
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

impl Session for PostgresSession {
    type Question = Option<String>;

    async fn open(target: &Target) -> Result<Self, Trouble> {
        let address = &target.address;
        let mut stream = wire::connect(address).await?;
        if let Some(tls) = &target.tls {
            stream = secure(stream, target, tls).await?;
        }
        let allowance = Arc::new(Allowance::default());
        allowance.renew();
        let mut config = Config::new();
        // TLS is there already, under its feet; with it comes no way to bind the login to it.
        config.ssl_mode(SslMode::Disable).channel_binding(ChannelBinding::Disable).application_name(APPLICATION);
        address.user.as_deref().map(|user| config.user(user));
        address.password.as_deref().map(|password| config.password(password));
        address.name.as_deref().map(|name| config.dbname(name));
        let stream = Metered::of_messages(stream, allowance.clone());
        match config.connect_raw(stream, NoTls).await {
            Ok((client, link)) => Ok(Self { client, link, allowance }),
            Err(error) => Err(login_trouble(&error)),
        }
    }

    async fn ask(&mut self, target: &Target, sql: &Option<String>) -> Result<Answer, Trouble> {
        self.allowance.renew();
        let version = self.link.parameter("server_version").map(str::to_owned);
        let Some(sql) = sql else {
            self.run("select 1").await?;
            return Ok(Answer { version, ..Answer::default() });
        };
        self.begin(target, "read committed").await?;
        let rows = self.rows(sql, Limits::CHECK).await?.of_check()?;
        self.run("commit").await?;
        Ok(Answer { rows: Some(rows), version, ..Answer::default() })
    }

    async fn close(self) {
        let Self { client, link, .. } = self;
        drop(client);
        let _ = link.await;
    }
}

impl SqlSession for PostgresSession {
    async fn snapshot(&mut self, target: &Target) -> Result<(), Trouble> {
        self.allowance.renew();
        self.begin(target, "repeatable read").await
    }

    async fn first_rows(&mut self, ask: &Ask) -> Result<Rows, Trouble> {
        self.rows(&ask.limited(), ask.limits).await
    }
}

impl PostgresSession {
    /// Begins a transaction that writes nothing and that the server ends by itself when we have given up. Nothing is set
    /// for longer than it: behind a pooler the next one on this connection may be the app.
    async fn begin(&mut self, target: &Target, isolation: &str) -> Result<(), Trouble> {
        let timeout = target.timeout_ms();
        // Who does not run any more when its client is gone, from version 14 on, need not wait for the timeout.
        let version = self.link.parameter("server_version").and_then(|version| version.split('.').next()?.parse().ok());
        let watch = if version.is_some_and(|major: u32| (14..1000).contains(&major)) {
            "set local client_connection_check_interval = '1s';"
        } else {
            ""
        };
        self.run(&format!(
            "begin transaction isolation level {isolation} read only; set local statement_timeout = {timeout}; \
             set local idle_in_transaction_session_timeout = {timeout}; {watch}"
        ))
        .await
    }

    /// Runs statements of ours.
    async fn run(&mut self, statements: &str) -> Result<(), Trouble> {
        let Self { client, link, allowance } = self;
        drive(link, client.batch_execute(statements)).await.map_err(|error| trouble(&error, allowance))
    }

    /// The first rows of one statement.
    ///
    /// It is prepared for the types of its columns, then run as text: the server writes each of its types better than we
    /// would. Preparing also refuses several statements in one.
    async fn rows(&mut self, sql: &str, limits: Limits) -> Result<Rows, Trouble> {
        let Self { client, link, allowance } = self;
        let work = async {
            let statement = client.prepare(sql).await?;
            let mut answers = pin!(client.simple_query_raw(sql).await?);
            let mut rows = Rows::default();
            while let Some(answer) = answers.try_next().await? {
                let SimpleQueryMessage::Row(row) = answer else { continue };
                if !rows.take(limits, || row_of(statement.columns(), &row)) {
                    break;
                }
            }
            Ok(rows)
        };
        drive(link, work).await.map_err(|error| trouble(&error, allowance))
    }
}

/// Asks for TLS as PostgreSQL has it: in plain text first.
async fn secure(
    mut stream: Box<dyn Stream>,
    target: &Target,
    tls: &crate::tls::Client,
) -> Result<Box<dyn Stream>, Trouble> {
    if matches!(target.address.place, crate::check::database::Place::Path(_)) {
        return Ok(stream);
    }
    let lost = |error: io::Error| Trouble::new(Kind::Lost, error);
    stream.write_all(&TLS_REQUEST).await.map_err(lost)?;
    // No byte more than this one: what follows must come through TLS.
    match stream.read_u8().await.map_err(lost)? {
        b'S' => wire::secure(stream, &target.address, tls).await,
        b'N' => Err(Trouble::new(Kind::Tls, "the server does not speak TLS")),
        _ => Err(Trouble::new(Kind::Protocol, "the answer to the request for TLS is none")),
    }
}

/// Moves the connection while the work waits for it. If it ends, that says more than what the work makes of it.
async fn drive<T>(link: &mut Link, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        ended = link => match ended {
            Err(error) => Err(error),
            Ok(()) => work.await,
        },
    }
}

fn row_of(columns: &[Column], row: &SimpleQueryRow) -> Row {
    let read = |(index, column): (usize, &Column)| {
        let text = if index < row.len() { row.get(index) } else { None };
        (column.name().to_owned(), text.map_or(Fact::Null, |text| value(column.type_(), text)))
    };
    columns.iter().take(MOST_COLUMNS).enumerate().map(read).collect()
}

fn value(kind: &Type, text: &str) -> Fact {
    let read = match *kind {
        Type::BOOL => Some((text == "t").into()),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => text.parse().ok().map(rows::integer),
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => text.parse::<f64>().ok().map(Fact::from),
        // Two digits for each, after `\x`.
        Type::BYTEA => Some(rows::bytes(text.len().saturating_sub(2) / 2)),
        _ => None,
    };
    read.unwrap_or_else(|| rows::text(text))
}

/// Why there is no session.
fn login_trouble(error: &Error) -> Trouble {
    match of_server(error) {
        Some(trouble) => trouble.unwrap_or_else(|detail| Trouble::said(Kind::Connect, detail)),
        None => of_stream(error),
    }
}

/// Why a statement has no result.
fn trouble(error: &Error, allowance: &Allowance) -> Trouble {
    match of_server(error) {
        Some(trouble) => trouble.unwrap_or_else(|detail| Trouble::said(Kind::Query, detail)),
        None if allowance.is_exceeded() => Trouble::new(Kind::TooLarge, "more than 4 MiB: ask for less"),
        None => of_stream(error),
    }
}

/// What the server says itself, by its code (PostgreSQL's documentation, appendix A).
fn of_server(error: &Error) -> Option<Result<Trouble, String>> {
    let said = error.as_db_error()?;
    let detail = format!("{} (SQLSTATE {})", said.message(), said.code().code());
    let kind = match said.code().code() {
        code if code.starts_with("28") => Kind::Auth,
        "3D000" => Kind::NoDatabase,
        "42P01" => Kind::NoTable,
        "53300" => Kind::Full,
        "57P01" | "57P02" | "57P03" => Kind::Starting,
        "57014" | "25P03" => Kind::Timeout,
        _ => return Some(Err(detail)),
    };
    Some(Ok(Trouble::said(kind, detail)))
}

fn of_stream(error: &Error) -> Trouble {
    let source = std::error::Error::source(error);
    let detail = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    let kind = match source.and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Kind::Lost,
        _ if error.is_closed() => Kind::Lost,
        // A missing password, or a way to log in that is not spoken.
        _ if detail.starts_with("authentication error") || detail.starts_with("invalid configuration") => Kind::Auth,
        _ => Kind::Protocol,
    };
    if kind == Kind::Lost { Trouble::new(kind, detail) } else { Trouble::said(kind, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_facts_by_their_types() {
        for (kind, text, fact) in [
            (Type::BOOL, "t", Fact::Flag(true)),
            (Type::INT8, "42", Fact::Count(42)),
            (Type::INT4, "-1", Fact::Number(-1.0)),
            (Type::NUMERIC, "1.5", Fact::Number(1.5)),
            (Type::NUMERIC, "NaN", Fact::Null),
            (Type::FLOAT8, "Infinity", Fact::Null),
            (Type::TEXT, "007", "007".into()),
            (Type::BYTEA, "\\x0001ff", "3 bytes".into()),
            (Type::TIMESTAMPTZ, "2026-05-18 17:30:00+00", "2026-05-18 17:30:00+00".into()),
        ] {
            assert_eq!(value(&kind, text), fact, "{kind} {text}");
        }
    }
}
