use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::check::database::rows::{self, Row};
use crate::check::database::session::{Answer, Session};
use crate::check::database::trouble::{Kind, Trouble};
use crate::check::database::wire::{self, Allowance, Metered, Stream};
use crate::check::database::{APPLICATION, Target};
use crate::health::Fact;

/// A session at Redis: one command, one answer. Commands are written and answers are read by the `redis` crate; its
/// connections are not used, as they hang up on what a server says unasked, such as that it has no room.
pub(super) struct RedisSession {
    stream: Metered<Box<dyn Stream>>,
    allowance: Arc<Allowance>,
}

impl Session for RedisSession {
    type Question = Vec<String>;

    async fn open(target: &Target) -> Result<Self, Trouble> {
        let address = &target.address;
        let mut stream = wire::connect(address).await?;
        if let Some(tls) = &target.tls {
            stream = wire::secure(stream, address, tls).await?;
        }
        let allowance = Arc::new(Allowance::default());
        allowance.renew();
        let mut session = Self { stream: Metered::new(stream, allowance.clone()), allowance };
        match session.log_in(target).await {
            Err(trouble) if trouble.is(Kind::TooLarge) => Err(Trouble::new(Kind::Protocol, "an answer without end")),
            Err(trouble) => Err(trouble),
            Ok(()) => Ok(session),
        }
    }

    async fn ask(&mut self, _: &Target, command: &Vec<String>) -> Result<Answer, Trouble> {
        self.allowance.renew();
        let answer = self.send(command).await?;
        if command[0].eq_ignore_ascii_case("PING") {
            return match answer {
                Value::SimpleString(text) if command.len() > 1 || text == "PONG" => Ok(Answer::default()),
                Value::BulkString(_) => Ok(Answer::default()),
                _ => Err(Trouble::new(Kind::Protocol, "the answer to PING is not PONG")),
            };
        }
        let more = match text_of(&answer) {
            Some(text) if command[0].eq_ignore_ascii_case("INFO") || command[0].eq_ignore_ascii_case("CLUSTER") => {
                lines(&text)
            }
            _ => vec![("value".to_owned(), fact(answer, 0))],
        };
        Ok(Answer { more, ..Answer::default() })
    }

    /// Redis takes a closed connection for a goodbye.
    async fn close(self) {}
}

impl RedisSession {
    async fn log_in(&mut self, target: &Target) -> Result<(), Trouble> {
        let address = &target.address;
        match (address.user.as_deref(), address.password.as_deref()) {
            (Some(user), Some(password)) => drop(self.send(&["AUTH", user, password]).await?),
            (None, Some(password)) => drop(self.send(&["AUTH", password]).await?),
            (_, None) => {}
        }
        if let Some(number) = address.name.as_deref() {
            self.send(&["SELECT", number]).await?;
        }
        // Whether we may have a name is up to the server.
        match self.send(&["CLIENT", "SETNAME", APPLICATION]).await {
            Err(trouble) if !trouble.is(Kind::Query) && !trouble.is(Kind::Auth) => Err(trouble),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, words: &[impl AsRef<str>]) -> Result<Value, Trouble> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        // A server that has closed the connection may have said why before that.
        let written = self.stream.write_all(&command.get_packed_command()).await;
        let lost = |error| match self.allowance.is_exceeded() {
            true => Trouble::new(Kind::TooLarge, "more than 4 MiB: ask for less"),
            false => Trouble::new(Kind::Lost, written.as_ref().err().unwrap_or(&error)),
        };
        let mut answer = Vec::new();
        loop {
            if self.stream.read_buf(&mut answer).await.map_err(lost)? == 0 {
                return Err(Trouble::new(Kind::Lost, "the server has closed the connection"));
            }
            // Every answer ends so, and may go on after it.
            if !answer.ends_with(b"\r\n") {
                continue;
            }
            match redis::parse_redis_value(&answer) {
                Ok(Value::ServerError(said)) => return Err(refused(&said.into())),
                Ok(value) => return Ok(value),
                Err(error) if error.kind() == ErrorKind::Io => {}
                Err(error) => return Err(Trouble::said(Kind::Protocol, error)),
            }
        }
    }
}

/// What the server says itself.
fn refused(error: &RedisError) -> Trouble {
    let (code, detail) = (error.code().unwrap_or_default(), error.detail().unwrap_or_default());
    let kind = match error.kind() {
        _ if matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED") => Kind::Auth,
        // An old server, or one that wants no password.
        _ if detail.contains("invalid password") || detail.contains("AUTH") => Kind::Auth,
        _ if detail.contains("max number of clients") => Kind::Full,
        _ if detail.contains("DB index") => Kind::NoDatabase,
        ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown) => Kind::Starting,
        _ => Kind::Query,
    };
    Trouble::said(kind, error)
}

/// The items of a list that are looked at.
const MOST_ITEMS: usize = 100;
/// How deep lists in lists are looked at.
const DEEPEST: usize = 4;

fn fact(value: Value, depth: usize) -> Fact {
    if depth > DEEPEST {
        return "…".into();
    }
    match value {
        Value::Nil => Fact::Null,
        Value::Int(number) => rows::integer(number),
        Value::Double(number) => number.into(),
        Value::Boolean(flag) => flag.into(),
        Value::Array(items) | Value::Set(items) => {
            Fact::List(items.into_iter().take(MOST_ITEMS).map(|item| fact(item, depth + 1)).collect())
        }
        Value::Map(entries) => {
            let entry = |(name, value): (Value, Value)| (text_of(&name).unwrap_or_default(), fact(value, depth + 1));
            Fact::Record(entries.into_iter().take(MOST_ITEMS).map(entry).collect())
        }
        other => text_of(&other).map_or(Fact::Null, |text| rows::text(&text)),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) | Value::BigNumber(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

/// What INFO says: `name:value` in lines, with headings.
fn lines(text: &str) -> Row {
    /// All that there is has some two hundred.
    const MOST_LINES: usize = 1000;
    let read = |line: &str| {
        let (name, value) = line.trim_end().split_once(':').filter(|_| !line.starts_with('#'))?;
        let fact = match (value.parse::<i64>(), value.parse::<f64>()) {
            (Ok(number), _) => rows::integer(number),
            (_, Ok(number)) if number.is_finite() => number.into(),
            _ => rows::text(value),
        };
        Some((name.to_owned(), fact))
    };
    text.lines().filter_map(read).take(MOST_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_info_says_becomes_facts() {
        let read = lines("# Replication\r\nrole:master\r\nconnected_slaves:0\r\nratio:1.5\r\n\r\nkeys=1,expires=0\r\n");
        let expected =
            [("role", Fact::from("master")), ("connected_slaves", Fact::Count(0)), ("ratio", Fact::Number(1.5))];
        assert_eq!(read, expected.map(|(name, fact)| (name.to_owned(), fact)));
    }

    #[test]
    fn lists_are_cut_in_length_and_depth() {
        let long = Value::Array(vec![Value::Int(1); 5000]);
        assert!(matches!(fact(long, 0), Fact::List(items) if items.len() == MOST_ITEMS));
        let deep = (0..50).fold(Value::Nil, |value, _| Value::Array(vec![value]));
        assert!(!format!("{:?}", fact(deep, 0)).contains("Null"));
    }
}
