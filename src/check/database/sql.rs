use std::sync::Arc;

use super::rows::{Limits, Row, Rows};
use super::session::{Session, goodbye};
use super::trouble::{Kind, Trouble};
use super::{Engine, Target};

/// Statements for whichever engine speaks SQL at a place, all of them on one connection and of one snapshot.
pub(super) struct Script {
    target: Arc<Target>,
    #[cfg(feature = "sqlite")]
    turn: super::sqlite::Turn,
}

/// One statement that reads.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// What it is called when it fails.
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) limits: Limits,
    /// Whether the server is to count all rows.
    pub(super) count: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// All of its rows, if that was asked for; else those that were looked at.
    pub(super) count: u64,
    pub(super) rows: Vec<Row>,
    /// Whether there were more rows than were looked at.
    pub(super) more: bool,
}

impl Script {
    /// For a target that speaks SQL, by a client that is built.
    pub(super) fn new(target: Arc<Target>) -> Result<Self, String> {
        match target.address.engine {
            Engine::Redis => Err("its URL must be that of a database that speaks SQL".to_owned()),
            #[cfg(not(feature = "postgres"))]
            Engine::Postgres => Err(super::not_built("postgres")),
            #[cfg(not(feature = "mysql"))]
            Engine::Mysql => Err(super::not_built("mysql")),
            #[cfg(not(feature = "sqlite"))]
            Engine::Sqlite => Err(super::not_built("sqlite")),
            #[cfg_attr(
                not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
                allow(unreachable_patterns, reason = "no client is built")
            )]
            _ => Ok(Self {
                target,
                #[cfg(feature = "sqlite")]
                turn: super::sqlite::Turn::default(),
            }),
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Without a client there is no script: see [`Self::new`].
    #[cfg(not(any(feature = "mysql", feature = "postgres", feature = "sqlite")))]
    #[expect(clippy::unused_self, reason = "the same call as with a client")]
    pub(super) fn run(&self, _: Arc<[Ask]>) -> std::future::Ready<Result<Vec<Told>, Trouble>> {
        std::future::ready(Err(Trouble::new(Kind::Query, "there is no client")))
    }

    /// Runs them, one after the other, and closes the connection.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) async fn run(&self, asks: Arc<[Ask]>) -> Result<Vec<Told>, Trouble> {
        let target = &self.target;
        match target.address.engine {
            #[cfg(feature = "postgres")]
            Engine::Postgres => on_server::<super::postgres::PostgresSession>(target, &asks).await,
            #[cfg(feature = "mysql")]
            Engine::Mysql => on_server::<super::mysql::MysqlSession>(target, &asks).await,
            #[cfg(feature = "sqlite")]
            Engine::Sqlite => {
                let job = move |session: &super::sqlite::SqliteSession| {
                    session.begin()?;
                    let one = |ask: &Ask| {
                        let rows =
                            |ask: &Ask| session.rows(&ask.sql, ask.limits).map_err(|error| error.during(&ask.name));
                        let count = if ask.count { Some(count_of(&rows(&ask.counting())?)?) } else { None };
                        match count {
                            Some(0) => Ok(Told::default()),
                            _ => Ok(Told::of(count, rows(ask)?)),
                        }
                    };
                    asks.iter().map(one).collect()
                };
                self.turn.with(&target.address, target.timeout, job).await
            }
            _ => Err(Trouble::new(Kind::Query, "it is not asked in SQL")),
        }
    }
}

/// A session at a server that speaks SQL.
pub(super) trait SqlSession: Session {
    /// Begins a transaction that only reads, in which all statements see the same.
    fn snapshot(&mut self, target: &Target) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// The first rows of a statement. However many there are, the server sends one more than may be looked at.
    fn first_rows(&mut self, ask: &Ask) -> impl Future<Output = Result<Rows, Trouble>> + Send;
}

async fn on_server<S: SqlSession>(target: &Target, asks: &[Ask]) -> Result<Vec<Told>, Trouble> {
    let mut session = S::open(target).await?;
    let told = ask_all(&mut session, target, asks).await;
    goodbye(session).await;
    told
}

async fn ask_all<S: SqlSession>(session: &mut S, target: &Target, asks: &[Ask]) -> Result<Vec<Told>, Trouble> {
    session.snapshot(target).await?;
    let mut told = Vec::with_capacity(asks.len());
    for ask in asks {
        let named = |error: Trouble| error.during(&ask.name);
        let mut count = None;
        if ask.count {
            count = Some(count_of(&session.first_rows(&ask.counting()).await.map_err(named)?)?);
        }
        told.push(match count {
            Some(0) => Told::default(),
            _ => Told::of(count, session.first_rows(ask).await.map_err(named)?),
        });
    }
    Ok(told)
}

impl Ask {
    /// The statement without what ends it.
    fn bare(&self) -> &str {
        self.sql.trim_end().trim_end_matches(';')
    }

    /// A statement that counts the rows of this one, on the server. Its last line may be a comment.
    fn counting(&self) -> Self {
        let sql = format!("select count(*) as n from (\n{}\n) as findings", self.bare());
        Self { sql, name: self.name.clone(), limits: Limits::CHECK, count: false }
    }

    /// A statement that gives at most one row more than may be looked at.
    pub(super) fn limited(&self) -> String {
        format!("select * from (\n{}\n) as findings limit {}", self.bare(), self.limits.most + 1)
    }
}

impl Told {
    fn of(count: Option<u64>, rows: Rows) -> Self {
        Self { count: count.unwrap_or(rows.count), rows: rows.kept, more: rows.more }
    }
}

fn count_of(rows: &Rows) -> Result<u64, Trouble> {
    match rows.kept.first().and_then(|row| row.first()) {
        Some((_, crate::health::Fact::Count(count))) => Ok(*count),
        _ => Err(Trouble::new(Kind::Protocol, "a count that is no number")),
    }
}
