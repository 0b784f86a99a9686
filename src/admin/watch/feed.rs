use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::access::Verdict;
use super::super::report::Asked;
use super::super::service::is_certified;
use super::super::{Admin, Endpoint};
use super::Place;
use crate::clock;
use crate::dialect::{self, Query};
use crate::health::{Audience, Event, Lifecycle, Report, Subject};

/// What one watcher is told, bit by bit.
pub(super) struct Feed {
    admin: Arc<Admin>,
    endpoint: Arc<Endpoint>,
    pass: Pass,
    stage: Stage,
    /// The last event that it was told, or need not be told.
    told: u64,
    /// It knows that the engine has died.
    knows_death: bool,
    generations: watch::Receiver<u64>,
    next_beat: Instant,
    /// When it is looked at again whether its credential still admits.
    next_judgement: Instant,
    _place: Place,
}

/// How far it is.
enum Stage {
    /// Nothing was sent; whether the client comes again, and what it was told last.
    Begin(Option<LastEvent>),
    Going,
    Over,
}

/// What a client says that it was told last.
#[derive(Clone, Copy)]
enum LastEvent {
    /// An event of this process.
    Known(u64),
    /// Anything else.
    Strange,
}

/// Why a watcher has to come again, or elsewhere.
#[derive(Clone, Copy)]
enum End {
    Draining,
    Reloaded,
    Access,
}

/// For so many milliseconds a browser waits before it comes again.
const RETRY_MS: u32 = 3000;

/// So many events are written at once, so that a piece has a size.
const MOST_AT_ONCE: usize = 64;

/// Whom the app has called one of its own is asked for again after this.
const LONGEST_SESSION: Duration = Duration::from_secs(300);

/// What a watcher was admitted for.
pub(super) struct Pass {
    audience: Audience,
    certified: bool,
    /// The fields that credentials come in.
    fields: HeaderMap,
    since: Instant,
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

impl Pass {
    pub(super) fn of<B>(request: &Request<B>, audience: Audience) -> Self {
        let mut fields = HeaderMap::new();
        for name in [AUTHORIZATION, COOKIE, API_KEY] {
            for value in request.headers().get_all(&name) {
                fields.append(&name, value.clone());
            }
        }
        Self { audience, certified: is_certified(request), fields, since: Instant::now() }
    }
}

impl Feed {
    pub(super) fn new(
        admin: Arc<Admin>,
        endpoint: Arc<Endpoint>,
        pass: Pass,
        last: Option<&[u8]>,
        place: Place,
    ) -> Self {
        let watchers = &admin.watching.watchers;
        let (generations, process) = (watchers.present_generation.subscribe(), watchers.process);
        let stage = Stage::Begin(last.map(|last| LastEvent::read(last, process)));
        let next = Instant::now() + admin.watching.heartbeat;
        let (next_beat, next_judgement) = (next, next);
        Self {
            admin,
            endpoint,
            pass,
            stage,
            told: 0,
            knows_death: false,
            generations,
            next_beat,
            next_judgement,
            _place: place,
        }
    }

    /// Waits until there is something to send. `None`: that was all.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let mut text = String::new();
        match std::mem::replace(&mut self.stage, Stage::Going) {
            Stage::Over => {
                self.stage = Stage::Over;
                return None;
            }
            Stage::Begin(last) => self.begin(last, &mut text),
            Stage::Going => {}
        }
        loop {
            let report = self.admin.board.report().clone();
            self.catch_up(&report, &mut text);
            // Not before all is told that led to it.
            let is_up_to_date = self.told == report.history.last();
            if is_up_to_date && let Some(end) = self.end(&report) {
                self.stage = Stage::Over;
                let _ = write!(text, "event: end\ndata: {}\n\n", json!({ "reason": end.word() }));
            }
            if !text.is_empty() {
                self.next_beat = Instant::now() + self.admin.watching.heartbeat;
                return Some(text.into());
            }
            if is_up_to_date {
                self.wait(&mut text).await;
            }
        }
    }

    fn begin(&mut self, last: Option<LastEvent>, text: &mut String) {
        let report = self.admin.board.report().clone();
        let _ = write!(text, "retry: {RETRY_MS}\n\n");
        match last {
            None => self.snapshot(&report, text),
            Some(LastEvent::Known(id)) if report.history.after(id).is_some() => self.told = id,
            Some(LastEvent::Known(_)) => self.missed(&report, "forgotten", text),
            Some(LastEvent::Strange) => self.missed(&report, "unknown_id", text),
        }
    }

    /// Writes what has happened since, in order.
    fn catch_up(&mut self, report: &Report, text: &mut String) {
        let Some(events) = report.history.after(self.told) else {
            return self.missed(report, "too_slow", text);
        };
        for event in events.take(MOST_AT_ONCE) {
            match &event.subject {
                Subject::Check { built_in: false, .. } => self.event("transition", event, text),
                Subject::Group { group, .. } if *group == self.endpoint.group && event.from != event.to => {
                    self.event("status", event, text);
                }
                // With other checks, what was told first is worth nothing.
                Subject::Plan => return self.snapshot(report, text),
                Subject::Check { .. } | Subject::Group { .. } => {}
            }
            self.told = self.told.max(event.id);
        }
    }

    fn event(&self, name: &str, event: &Event, text: &mut String) {
        let data = serde_json::Value::Object(dialect::event(event, self.pass.audience));
        self.write(name, event.id, &data.to_string(), text);
    }

    fn missed(&mut self, report: &Report, reason: &str, text: &mut String) {
        let data = json!({ "reason": reason }).to_string();
        self.write("missed", report.history.last(), &data, text);
        self.snapshot(report, text);
    }

    /// Writes how everything is; what has led to it need not be told any more.
    fn snapshot(&mut self, report: &Report, text: &mut String) {
        let (endpoint, now) = (self.endpoint.clone(), self.admin.clock.now());
        let asked = Asked {
            endpoint: &endpoint,
            group: &endpoint.group,
            audience: self.pass.audience,
            query: Query::default(),
        };
        let data = self.admin.rendered(asked, report, now, dialect::snapshot);
        self.knows_death = report.is_overdue(now);
        self.told = report.history.last();
        self.write("snapshot", self.told, &data, text);
    }

    /// JSON has no line ends of its own, so that one line holds it.
    fn write(&self, name: &str, id: u64, data: &str, text: &mut String) {
        let process = self.admin.watching.watchers.process;
        let _ = write!(text, "id: {process:x}-{id}\nevent: {name}\ndata: {data}\n\n");
    }

    fn end(&mut self, report: &Report) -> Option<End> {
        if report.lifecycle == Lifecycle::Draining {
            return Some(End::Draining);
        }
        let is_replaced = *self.generations.borrow() > self.admin.watching.generation;
        if is_replaced {
            return Some(End::Reloaded);
        }
        let now = Instant::now();
        if now < self.next_judgement {
            return None;
        }
        self.next_judgement = now + self.admin.watching.heartbeat;
        (!self.may_go_on()).then_some(End::Access)
    }

    /// Waits for an event, for another configuration, or for the time to say that all goes on.
    async fn wait(&mut self, text: &mut String) {
        let generation = self.admin.watching.generation;
        tokio::select! {
            _ = self.admin.board.wait_for_event(self.told) => {}
            // An error means that the process ends.
            () = async { let _ = self.generations.wait_for(|present| *present > generation).await; } => {}
            () = sleep_until(self.next_beat) => {
                let report = self.admin.board.report().clone();
                // A dead engine publishes nothing: that is noticed by the clock.
                if report.is_overdue(self.admin.clock.now()) == self.knows_death {
                    text.push_str(": heartbeat\n\n");
                } else {
                    self.snapshot(&report, text);
                }
            }
        }
    }

    /// Whether who was admitted would be admitted again: a token may have ended meanwhile.
    fn may_go_on(&self) -> bool {
        let Pass { audience, certified, fields, since } = &self.pass;
        match self.admin.credentials.judge(self.endpoint.access, fields, *certified, clock::unix()) {
            Verdict::Admitted(now) => now == *audience,
            Verdict::Ask(..) => since.elapsed() < LONGEST_SESSION,
            Verdict::Refused(_) => false,
        }
    }
}

impl LastEvent {
    fn read(text: &[u8], process: u64) -> Self {
        let known = std::str::from_utf8(text).ok().and_then(|text| text.split_once('-'));
        let known = known.filter(|(of, _)| u64::from_str_radix(of, 16) == Ok(process));
        known.and_then(|(_, id)| id.parse().ok()).map_or(Self::Strange, Self::Known)
    }
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Reloaded => "reloaded",
            Self::Access => "access",
        }
    }
}
