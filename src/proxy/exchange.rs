use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admission::{Place, Share};
use super::arrival::Arrival;
use super::http1::RequestHead;
use super::rejection::Rejection;
use super::request_log::{LoggedPath, RequestLog};
use super::trace::{TraceId, Tracer};
use crate::clock;
use crate::traffic::{Failure, Method, Shard};

/// One request from its first byte to its last: counted exactly once, and logged if it is to be, when this is dropped,
/// however it ends.
///
/// Until told otherwise the end is that the client has left, because that is what dropping means.
#[derive(Debug)]
pub(super) struct Exchange {
    ledger: Rc<Ledger>,
    pub(super) asked: Asked,
    begun: Instant,
    pub(super) end: End,
    /// From the beginning to the head of the app's answer.
    pub(super) first_byte: Cell<Option<Duration>>,
    /// What it waited for a place among the requests in flight, where those are limited.
    pub(super) queued: Option<Duration>,
    /// Attempts beyond the first.
    pub(super) retries: u32,
    /// What is wrong with the app's answer, for the log.
    pub(super) flaw: Option<&'static str>,
    /// Body bytes from the client, and to it.
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    /// It may be with the app: it has a place, or needs none.
    is_admitted: bool,
    /// Given back when this is dropped.
    place: Option<Place>,
    pub(super) share: Option<Share>,
}

/// What is remembered of a request until its end.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) protocol: &'static str,
    pub(super) path: LoggedPath,
    /// Whose request it is, as far as trusted proxies tell.
    pub(super) client: Option<IpAddr>,
    pub(super) trace: Option<TraceId>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) code: u16,
    pub(super) failure: Option<Failure>,
    /// The answer of ours in place of the app's.
    pub(super) rejection: Option<Rejection>,
}

/// Where one worker writes down its requests.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) shard: Arc<Shard>,
    pub(super) log: RequestLog,
    pub(super) tracer: Tracer,
}

/// nginx's code for a client that closed its request; never sent to anybody.
pub(super) const CLIENT_CLOSED: u16 = 499;

impl Ledger {
    pub(super) fn new(shard: Arc<Shard>) -> Rc<Self> {
        Rc::new(Self { shard, log: RequestLog::new(), tracer: Tracer::new() })
    }
}

impl Asked {
    /// A request whose head cannot be read.
    pub(super) fn unread(arrival: Arrival) -> Self {
        let protocol = if arrival.http2 { "HTTP/2" } else { "HTTP/1.1" };
        let (path, client) = (LoggedPath::default(), arrival.peer);
        Self { method: Method::Other, protocol, path, client, trace: None }
    }

    pub(super) fn of(head: &RequestHead<'_, '_>, http2: bool, client: Option<IpAddr>, trace: Option<TraceId>) -> Self {
        Self {
            method: Method::of(head.method),
            protocol: match (http2, head.is_http10) {
                (true, _) => "HTTP/2",
                (false, true) => "HTTP/1.0",
                (false, false) => "HTTP/1.1",
            },
            path: LoggedPath::of(head.target.path()),
            client,
            trace,
        }
    }
}

impl Exchange {
    pub(super) fn begin(ledger: Rc<Ledger>, asked: Asked) -> Self {
        ledger.shard.in_flight.add(1);
        Self {
            ledger,
            asked,
            begun: clock::turn(),
            end: End { code: CLIENT_CLOSED, failure: Some(Failure::ClientClosed), rejection: None },
            first_byte: Cell::new(None),
            queued: None,
            retries: 0,
            flaw: None,
            received: Cell::new(0),
            sent: Cell::new(0),
            is_admitted: false,
            place: None,
            share: None,
        }
    }

    /// It ended so.
    pub(super) fn end(&mut self, code: u16, failure: Option<Failure>) {
        self.end = End { code, failure, rejection: None };
    }

    /// It ends with an answer of ours, or would if the head of another had not left.
    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.end = End { code: rejection.status(), failure: Some(rejection.failure()), rejection: Some(rejection) };
    }

    /// It has a place among the requests in flight, until its end; with none, there is no limit.
    pub(super) fn admit(&mut self, place: Option<Place>) {
        self.queued = place.is_some().then(|| clock::turn() - self.begun);
        self.place = place;
        self.is_admitted = true;
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.is_admitted
    }

    /// How long ago it began.
    pub(super) fn elapsed(&self) -> Duration {
        clock::turn() - self.begun
    }

    /// The head of the app's answer is there.
    pub(super) fn answered(&self) {
        let after = self.elapsed();
        self.first_byte.set(Some(after));
        self.ledger.shard.first_byte(after);
    }

    /// The model has begun to say something.
    pub(super) fn first_token(&self) {
        self.ledger.shard.first_token(self.elapsed());
    }

    /// So many more bytes of the body came from the client.
    pub(super) fn receive(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
        self.ledger.shard.received.add(bytes);
    }

    /// So many more bytes of the body are for the client.
    pub(super) fn send(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
        self.ledger.shard.sent.add(bytes);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (shard, duration) = (&self.ledger.shard, clock::turn() - self.begun);
        shard.in_flight.sub(1);
        shard.request(self.asked.method, self.end.code, self.end.failure, duration);
        self.ledger.log.note(self, duration);
    }
}
