//! `sqlite` against files that Python's SQLite writes.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Watch, once, quoted, settings};
use crate::support::{PATIENCE, Process, eventually, run};

/// Runs a program of Python with `db`, a connection to the file.
#[track_caller]
pub(super) fn python(file: &Path, program: &str) {
    let ended = run(&mut script(file, program));
    assert_eq!(ended.code, Some(0), "{program}: {}", ended.stderr);
}

fn script(file: &Path, program: &str) -> Command {
    let mut command = Command::new("python3");
    let head = "import sqlite3, sys, time\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n";
    command.args(["-c", &format!("{head}{program}")]).arg(file);
    command
}

/// Starts the program, and waits until it has said that it is there.
fn beside(file: &Path, program: &str) -> Process {
    let program = format!("{program}\nprint('there', file=sys.stderr, flush=True)\ntime.sleep(600)");
    let process = Process::start(script(file, &program).stdout(Stdio::null()));
    eventually(PATIENCE, "Python is there", || process.said().iter().any(|line| line == "there"));
    process
}

/// The names in a folder, with owner and time of the latest change.
fn folder(path: &Path) -> BTreeSet<(String, u32, i64, i64)> {
    let entries = std::fs::read_dir(path).expect("a folder");
    let read = |entry: std::fs::DirEntry| {
        let about = entry.metadata().expect("an entry");
        (entry.file_name().to_string_lossy().into_owned(), about.uid(), about.mtime(), about.mtime_nsec())
    };
    entries.map(|entry| read(entry.expect("an entry"))).collect()
}

#[test]
fn a_healthy_file_and_its_rows() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("app data?.db");
    python(
        &file,
        "db.execute('create table t(a)'); db.executemany('insert into t values(?)', [(i,) for i in range(7)])",
    );
    let before = folder(home.path());
    let watch = Watch::over(&[
        ("sqlite.path", &quoted(&file.display().to_string())),
        ("sqlite.sql", "\"select count(*) as rows, 'x' as name, 1.5 as f, null as n, x'0001' as b, -3 as i from t\""),
        ("sqlite.expect", "{ rows = \"== 7\", name = \"x\", f = \"> 1\", i = \"< 0\" }"),
    ]);
    let shown = watch.await_status("healthy");
    assert_eq!((&shown["rows"], &shown["b"], &shown["i"]), (&7.into(), &"2 bytes".into(), &(-3).into()));
    assert_eq!(folder(home.path()), before, "nothing was written");
    // Another file in its place is noticed.
    std::fs::remove_file(&file).expect("removed");
    watch.await_code("file_missing");
    assert!(!file.exists(), "it is never made");
    python(
        &file,
        "db.execute('create table t(a)'); db.executemany('insert into t values(?)', [(i,) for i in range(7)])",
    );
    watch.await_status("healthy");
}

#[test]
fn everything_that_can_be_wrong_has_a_reason_of_its_own() {
    let home = tempfile::tempdir().expect("a folder");
    let (good, text, cut) = (home.path().join("good.db"), home.path().join("text.db"), home.path().join("cut.db"));
    python(&good, "db.execute('create table t(a)'); db.executemany('insert into t values(?)', [('x' * 500,)] * 200)");
    std::fs::write(&text, "this is a text, and no database at all; ".repeat(50)).expect("a file");
    let whole = std::fs::read(&good).expect("the file");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("a file");
    let series = "with recursive n(i) as (select 1 union all select i + 1 from n limit 1000000)";
    for (file, sql, sentence) in [
        (home.path().join("none.db"), "select 1", "is not there"),
        (home.path().to_owned(), "select 1", "is not a database, or is damaged"),
        (text, "select 1", "is not a database, or is damaged"),
        (cut, "select * from t", "is not a database, or is damaged"),
        (good.clone(), "select * from nowhere", "refuses the query"),
        (good.clone(), "delete from t", "refuses the query"),
        (good.clone(), "select 1; select 2", "refuses the query"),
        (good.clone(), &format!("{series} select i from n"), "answers with more than is looked at"),
        (good.clone(), "select zeroblob(100000000)", "answers with more than is looked at"),
        (
            good.clone(),
            "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n",
            "in time",
        ),
        (good.clone(), "select 1 as n where false", "answers with an unexpected value"),
    ] {
        let path = quoted(&file.display().to_string());
        let ended = once(&settings(&[
            ("sqlite.path", &path),
            ("sqlite.sql", &quoted(sql)),
            ("sqlite.expect", "{ n = \"== 1\" }"),
        ]));
        assert!(ended.stdout.contains(" fail ") && ended.stdout.contains(sentence), "{sql}: {ended:?}");
        assert!(ended.took < PATIENCE / 2, "{sql}: {ended:?}");
    }
    let left = folder(home.path()).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert_eq!(left, ["cut.db", "good.db", "text.db"]);
}

#[test]
fn a_lock_is_not_waited_for_for_ever() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("app.db");
    python(&file, "db.execute('create table t(a)')");
    let watch = Watch::over(&[
        ("sqlite.path", &quoted(&file.display().to_string())),
        ("sqlite.sql", "\"select count(*) as n from t\""),
    ]);
    watch.await_status("healthy");
    let holder = beside(&file, "db.execute('begin exclusive'); db.execute('insert into t values(1)')");
    watch.await_code("locked");
    drop(holder);
    watch.await_status("healthy");
}

/// A reader of a database in WAL mode usually makes files beside it, which its app then cannot write to.
#[test]
fn a_log_is_read_along_and_never_made() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("app.db");
    python(&file, "db.execute('pragma journal_mode = wal'); db.execute('create table t(a)')");
    assert_eq!(folder(home.path()).len(), 1, "its app has gone, and has left no log");
    let path = quoted(&file.display().to_string());
    let kind = [("sqlite.path", &*path), ("sqlite.sql", "\"select count(*) as n from t\"")];
    let before = folder(home.path());
    let watch = Watch::over(&kind);
    assert_eq!(watch.await_status("healthy")["n"], 0);
    assert_eq!(folder(home.path()), before);
    // What is in the log and not yet in the file counts.
    let app = beside(&file, "db.execute('insert into t values(1)'); db.execute('insert into t values(2)')");
    watch.await_shown("two rows", |shown| shown["status"] == "healthy" && shown["n"] == 2);
    assert_eq!(folder(home.path()).len(), 3, "the app's own log");
    // An app that is killed leaves its log behind.
    drop(app);
    let shown = watch.shown();
    watch.await_shown("asked again", |again| again["last_check"] != shown["last_check"]);
    assert_eq!(watch.await_status("healthy")["n"], 2);
    // And one that ends properly does not mind that we were there.
    python(&file, "db.execute('insert into t values(3)')");
    watch.await_shown("three rows", |shown| shown["status"] == "healthy" && shown["n"] == 3);
    assert_eq!(folder(home.path()).into_iter().map(|(name, ..)| name).collect::<Vec<_>>(), ["app.db"]);
}
