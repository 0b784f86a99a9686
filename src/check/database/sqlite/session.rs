use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::check::database::rows::{self, Limits, MOST_COLUMNS, Rows};
use crate::check::database::trouble::{Kind, Trouble};
use crate::check::database::{Address, Place};
use crate::check::threads::start;
use crate::health::Fact;

/// An open file.
pub(in crate::check::database) struct SqliteSession {
    connection: Connection,
    /// Whether it was opened as one that nobody changes.
    immutable: bool,
}

/// Whose turn it is to read a file: one job of a check at a time, on a blocking thread. A file on a dead network mount
/// blocks that thread, maybe for ever; the next job waits for it in place of blocking one more.
#[derive(Debug)]
pub(in crate::check::database) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// Opens the file and does the job. When this is dropped, the job is told to stop.
    pub(in crate::check::database) async fn with<T: Send + 'static>(
        &self,
        address: &Address,
        timeout: Duration,
        job: impl FnOnce(&SqliteSession) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let Place::Path(path) = &address.place else {
            return Err(Trouble::new(Kind::Missing, "SQLite's databases are files"));
        };
        let Ok(turn) = self.0.clone().acquire_owned().await else {
            return Err(Trouble::new(Kind::Lost, "the check has ended"));
        };
        let stop = Stop::default();
        let (path, stopped) = (path.clone(), stop.0.clone());
        let until = Instant::now().checked_add(timeout);
        let work = move || {
            let _turn = turn;
            let session = SqliteSession::open(&path, timeout, &stopped, until)?;
            let done = job(&session);
            // Its app has come meanwhile, and may have changed the file below us.
            if session.immutable && has_log(&path) {
                return Err(Trouble::new(Kind::Locked, "its app has just opened it"));
            }
            done
        };
        match start(work).await.ended().await {
            Ok(done) => done,
            // It panicked: so does the check, which the monitor turns into its failure.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Trouble::new(Kind::Lost, "pulsegate is ending")),
        }
    }
}

/// Says stop when it is dropped.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The longest value, in bytes, that is read: SQLite refuses a larger one.
const LONGEST_VALUE: i32 = 4 << 20;
/// How many of SQLite's instructions run between two looks at the time.
const INSTRUCTIONS: i32 = 10_000;

impl SqliteSession {
    /// Opens a file that is there, without leaving anything beside it.
    ///
    /// In WAL mode even a reader makes the files of the log, `-wal` and `-shm`, if they are not there; they would be ours,
    /// and the app could not write to them. If there is no log, nobody has the file open, and it is whole by itself
    /// (`immutable`); if there is one, we read along and leave its index alone (`readonly_shm`).
    fn open(path: &Path, timeout: Duration, stop: &Arc<AtomicBool>, until: Option<Instant>) -> Result<Self, Trouble> {
        let immutable = is_in_wal_mode(path)? && !has_log(path);
        let mode = if immutable { "immutable=1" } else { "readonly_shm=1" };
        Self::open_with(path, mode, immutable, timeout, stop, until)
    }

    fn open_with(
        path: &Path,
        mode: &str,
        immutable: bool,
        timeout: Duration,
        stop: &Arc<AtomicBool>,
        until: Option<Instant>,
    ) -> Result<Self, Trouble> {
        /// Who writes is done sooner than this, or is not done soon.
        const LONGEST_WAIT: Duration = Duration::from_secs(1);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> Result<Connection, Error> {
            let mut connection = Connection::open_with_flags(uri(path, mode), flags)?;
            connection.busy_timeout(LONGEST_WAIT.min(timeout / 2))?;
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE)?;
            let stop = stop.clone();
            let over = move || stop.load(Ordering::Relaxed) || until.is_some_and(|until| Instant::now() >= until);
            connection.progress_handler(INSTRUCTIONS, Some(over))?;
            // What a damaged or hostile file says about functions is not believed.
            connection.execute_batch("pragma trusted_schema = off; pragma query_only = on")?;
            Ok(connection)
        };
        open().map(|connection| Self { connection, immutable }).map_err(|error| trouble(&error))
    }

    /// Reads the schema: the file is a database.
    pub(in crate::check::database) fn look(&self) -> Result<(), Trouble> {
        let schema = self.connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()));
        schema.map_err(|error| trouble(&error))
    }

    /// All that follows sees the same.
    pub(in crate::check::database) fn begin(&self) -> Result<(), Trouble> {
        self.connection.execute_batch("begin").map_err(|error| trouble(&error))
    }

    /// The first rows of one statement.
    pub(in crate::check::database) fn rows(&self, sql: &str, limits: Limits) -> Result<Rows, Trouble> {
        self.try_rows(sql, limits).map_err(|error| trouble(&error))
    }

    fn try_rows(&self, sql: &str, limits: Limits) -> Result<Rows, Error> {
        let mut statement = self.connection.prepare(sql)?;
        let names: Vec<String> = statement.column_names().take(MOST_COLUMNS).map(str::to_owned).collect();
        let mut rows = Rows::default();
        let mut given = statement.query([])?;
        while let Some(row) = given.next()? {
            let read = |(index, name): (usize, &String)| {
                // The columns are those of the statement itself: each is there.
                (name.clone(), row.get_ref(index).map_or(Fact::Null, value))
            };
            if !rows.take(limits, || names.iter().enumerate().map(read).collect()) {
                break;
            }
        }
        Ok(rows)
    }
}

/// Whether the file says that it has a log (SQLite's file format, section 1.3.3).
fn is_in_wal_mode(path: &Path) -> Result<bool, Trouble> {
    use std::io::Read as _;
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Trouble::new(Kind::Missing, error),
        _ => Trouble::connecting(&error),
    };
    // Not a pipe, which would be waited for.
    if !std::fs::metadata(path).map_err(missing)?.is_file() {
        return Err(Trouble::new(Kind::NotADatabase, "no file"));
    }
    let mut head = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(20).read_to_end(&mut head)).map_err(missing)?;
    Ok(matches!(head[..], [.., 2]) && head.len() == 20)
}

/// Whether somebody has the database open in WAL mode, or left its log behind.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).exists()
}

/// SQLite's own form of URI, in which it takes these options.
fn uri(path: &Path, mode: &str) -> String {
    use std::fmt::Write as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri + "?mode=ro&" + mode
}

fn value(value: ValueRef<'_>) -> Fact {
    match value {
        ValueRef::Null => Fact::Null,
        ValueRef::Integer(number) => rows::integer(number),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => rows::text(&String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => rows::bytes(bytes.len()),
    }
}

fn trouble(error: &Error) -> Trouble {
    use ErrorCode as C;
    /// Its app died in the middle of a transaction, and only an app that may write can clear that up.
    const HOT_JOURNAL: i32 = rusqlite::ffi::SQLITE_READONLY_ROLLBACK;
    let kind = match error.sqlite_error_code() {
        _ if error.sqlite_error().is_some_and(|error| error.extended_code == HOT_JOURNAL) => Kind::Locked,
        Some(C::DatabaseBusy | C::DatabaseLocked) => Kind::Locked,
        Some(C::NotADatabase | C::DatabaseCorrupt) => Kind::NotADatabase,
        Some(C::OperationInterrupted) => Kind::Timeout,
        _ if error.to_string().starts_with("no such table") => Kind::NoTable,
        Some(C::TooBig) => Kind::TooLarge,
        Some(C::CannotOpen | C::PermissionDenied | C::SystemIoFailure) => Kind::Connect,
        _ => Kind::Query,
    };
    Trouble::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_no_option() {
        let path = Path::new("/a b/x?mode=rwc&y#z%41.db");
        assert_eq!(uri(path, "immutable=1"), "file:/a%20b/x%3Fmode%3Drwc%26y%23z%2541.db?mode=ro&immutable=1");
    }
}
