use std::io;

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Column, Conn, DriverError, Error, IoError, Opts, OptsBuilder, SslOpts, Value};

use crate::check::database::rows::{self, Limits, MOST_COLUMNS, Rows};
use crate::check::database::session::{Answer, Session};
use crate::check::database::sql::{Ask, SqlSession};
use crate::check::database::trouble::{Kind, Trouble};
use crate::check::database::{APPLICATION, Place, Target};
use crate::health::Fact;
use crate::shortage::is_ours;

/// A session at MySQL or MariaDB.
pub(in crate::check::database) struct MysqlSession {
    connection: Option<Conn>,
    version: String,
}

/// The largest packet that is taken; a row is one.
const LARGEST_PACKET: usize = 4 << 20;

impl Drop for MysqlSession {
    /// A connection that is dropped among tasks starts one more, which reads what the server still has to say and may wait
    /// for ever. On a thread of its own it finds no place for that, and closes the socket.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let spawned = std::thread::Builder::new().spawn(move || drop(connection));
            drop(spawned);
        }
    }
}

impl Session for MysqlSession {
    type Question = Option<String>;

    async fn open(target: &Target) -> Result<Self, Trouble> {
        let connection = Conn::new(options(target)).await.map_err(|error| trouble(&error, true))?;
        let mut session = Self { connection: Some(connection), version: String::new() };
        session.version = session.one("select version()").await?;
        // The server ends what takes too long, and a session whose client has gone without a word.
        let (ms, seconds) = (target.timeout_ms(), target.timeout_ms().div_ceil(1000));
        let limit = if session.version.contains("MariaDB") {
            format!("max_statement_time = {}", ms as f64 / 1000.0)
        } else {
            format!("max_execution_time = {ms}")
        };
        session
            .run(&format!(
                "set session {limit}, lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}, \
                 wait_timeout = 120"
            ))
            .await?;
        session.run("set session transaction read only").await?;
        Ok(session)
    }

    async fn ask(&mut self, _: &Target, sql: &Option<String>) -> Result<Answer, Trouble> {
        let version = Some(self.version.clone());
        let Some(sql) = sql else {
            self.connection()?.ping().await.map_err(|error| trouble(&error, false))?;
            return Ok(Answer { version, ..Answer::default() });
        };
        let rows = self.rows(sql, Limits::CHECK).await?.of_check()?;
        Ok(Answer { rows: Some(rows), version, ..Answer::default() })
    }

    async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.disconnect().await;
        }
    }
}

impl SqlSession for MysqlSession {
    async fn snapshot(&mut self, _: &Target) -> Result<(), Trouble> {
        self.run("start transaction with consistent snapshot, read only").await
    }

    /// In a subquery the order would be lost; the session's limit keeps it.
    async fn first_rows(&mut self, ask: &Ask) -> Result<Rows, Trouble> {
        self.rows(&ask.sql, ask.limits).await
    }
}

impl MysqlSession {
    fn connection(&mut self) -> Result<&mut Conn, Trouble> {
        self.connection.as_mut().ok_or_else(|| Trouble::new(Kind::Lost, "closed"))
    }

    /// Runs a statement of ours.
    async fn run(&mut self, statement: &str) -> Result<(), Trouble> {
        self.connection()?.query_drop(statement).await.map_err(|error| trouble(&error, false))
    }

    async fn one(&mut self, sql: &str) -> Result<String, Trouble> {
        let found = self.connection()?.query_first(sql).await.map_err(|error| trouble(&error, false))?;
        found.ok_or_else(|| Trouble::new(Kind::Protocol, "no row where there must be one"))
    }

    /// The first rows of one statement: it is prepared, so it is one only. The server sends no more of them, unless the
    /// statement has a limit of its own.
    async fn rows(&mut self, sql: &str, limits: Limits) -> Result<Rows, Trouble> {
        self.run(&format!("set session sql_select_limit = {}", limits.most + 1)).await?;
        let found = self.try_rows(sql, limits).await.map_err(|error| trouble(&error, false))?;
        self.run("set session sql_select_limit = default").await?;
        Ok(found)
    }

    async fn try_rows(&mut self, sql: &str, limits: Limits) -> Result<Rows, Error> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(DriverError::ConnectionClosed.into());
        };
        let statement = connection.prep(sql).await?;
        let mut found = Rows::default();
        let mut given = connection.exec_iter(&statement, ()).await?;
        while let Some(row) = given.next().await? {
            // What a limit of its own lets through is read, and dropped, before the next statement.
            found.take(limits, || {
                let columns = row.columns();
                let values = row.unwrap_raw().into_iter().map(|value| value.unwrap_or(Value::NULL));
                let named = columns.iter().zip(values).take(MOST_COLUMNS);
                named.map(|(column, value)| (column.name_str().into_owned(), fact(column, value))).collect()
            });
        }
        Ok(found)
    }
}

fn options(target: &Target) -> Opts {
    let address = &target.address;
    let mut options = OptsBuilder::default()
        .user(address.user.as_deref())
        .pass(address.password.as_deref())
        .db_name(address.name.as_deref())
        // The address is the address: no other way that the server may propose.
        .prefer_socket(false)
        // Known beforehand: not asked of the server.
        .max_allowed_packet(Some(LARGEST_PACKET))
        .wait_timeout(Some(120))
        .stmt_cache_size(0)
        .connect_attributes([("program_name".to_owned(), APPLICATION.to_owned())].into());
    options = match &address.place {
        Place::Tcp(host, port) => options.ip_or_hostname(host.clone()).tcp_port(*port),
        Place::Path(path) => options.socket(Some(path.display().to_string())),
    };
    if let Some(authorities) = &target.authorities {
        let roots = authorities.iter().map(|authority| authority.clone().into()).collect();
        let tls = SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(true);
        options = options.ssl_opts(Some(tls));
    }
    options.into()
}

fn fact(column: &Column, value: Value) -> Fact {
    let is_binary = column.flags().contains(ColumnFlags::BINARY_FLAG) && column.character_set() == BINARY;
    match value {
        Value::NULL => Fact::Null,
        Value::Int(number) => rows::integer(number),
        Value::UInt(number) => Fact::Count(number),
        // 0.1, not 0.10000000149011612.
        Value::Float(number) => number.to_string().parse::<f64>().ok().into(),
        Value::Double(number) => number.into(),
        Value::Bytes(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            match column.column_type() {
                ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => text.parse::<f64>().ok().into(),
                _ if is_binary => rows::bytes(bytes.len()),
                _ => rows::text(&text),
            }
        }
        other => rows::text(other.as_sql(true).trim_matches('\'')),
    }
}

/// The character set of what is no text.
const BINARY: u16 = 63;

fn trouble(error: &Error, connecting: bool) -> Trouble {
    let kind = match error {
        Error::Server(said) => match said.code {
            1044 | 1045 | 1130 | 1251 | 1524 | 1698 | 1820 | 1862 | 2061 | 3118 => Kind::Auth,
            1049 => Kind::NoDatabase,
            1146 => Kind::NoTable,
            1040 | 1203 | 1226 => Kind::Full,
            1053 | 1077..=1079 | 3032 => Kind::Starting,
            1205 | 1317 | 1969 | 3024 => Kind::Timeout,
            _ if connecting => Kind::Connect,
            _ => Kind::Query,
        },
        Error::Io(IoError::Tls(_)) | Error::Driver(DriverError::NoClientSslFlagFromServer) => Kind::Tls,
        Error::Io(IoError::Io(error)) => of_stream(error, connecting),
        Error::Driver(DriverError::PacketTooLarge) => Kind::TooLarge,
        Error::Driver(DriverError::ConnectionClosed) => Kind::Lost,
        Error::Driver(
            DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::CleartextPluginDisabled,
        ) => Kind::Auth,
        _ => Kind::Protocol,
    };
    let kind = if connecting && kind == Kind::TooLarge { Kind::Protocol } else { kind };
    if matches!(error, Error::Io(_)) { Trouble::new(kind, error) } else { Trouble::said(kind, error) }
}

fn of_stream(error: &io::Error, connecting: bool) -> Kind {
    match error.kind() {
        // The reader of packets says so in words only.
        _ if error.to_string().contains("max_allowed_packet") => Kind::TooLarge,
        // What TLS does not like comes as one too.
        _ if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) => Kind::Tls,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Kind::Lost,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Kind::Protocol,
        _ if connecting && is_ours(error) => Kind::NotAsked,
        _ if connecting => Kind::Connect,
        _ => Kind::Lost,
    }
}
