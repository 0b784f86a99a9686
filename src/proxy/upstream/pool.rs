use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::super::rejection::Rejection;
use super::http2::Channels;
use super::queue::{AppsEnd, Queue};
use super::resolve::Resolver;
use super::stream::AppStream;
use super::target::{Http2, Target};
use crate::clock;
use crate::traffic::Shard;

/// At most so many idle connections are kept per worker.
const MOST_IDLE: usize = 1024;

/// An idle connection older than this is closed.
pub(super) const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// After an answer that ends with its head, whatever its fields promise, a connection rests for so long: some apps send a
/// body all the same, a little later, and that would be taken for the next answer.
const REST: Duration = Duration::from_millis(10);

/// What has come on a connection since the loop last asked the kernel nobody has been told. Where that may be longer ago than
/// this, a connection that was idle for as long is looked at closely; the others are spared the system call.
const UNSEEN: Duration = Duration::from_millis(1);

/// Once an app has closed a connection that was kept, it may be about to close others: for so long what cannot be sent twice
/// looks closely at each.
const WARY: Duration = Duration::from_secs(10);

/// One worker's connections to the app.
#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    pub(in crate::proxy) target: Target,
    pub(super) shard: Arc<Shard>,
    /// The last one in is the first one out: the others may grow old and be closed. Those that rest come after all others.
    idle: RefCell<VecDeque<Idle>>,
    pub(super) channels: Channels,
    queue: Queue,
    pub(super) resolver: Resolver,
    /// When a kept connection was last found ended.
    lost: Cell<Option<Instant>>,
    /// Whether the app took HTTP/2 the last time that it was offered.
    pub(super) takes_http2: Cell<bool>,
    /// Nothing is kept any more: the app is elsewhere now.
    retired: Cell<bool>,
    /// The last trouble with certificates that was logged.
    pub(super) told: Cell<Option<Rejection>>,
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Needs {
    /// It could not be sent twice: whether a kept connection has ended is worth a system call, unless it was just in use.
    pub(in crate::proxy) surely: bool,
    /// It wants to speak another protocol afterwards, which HTTP/2 cannot.
    pub(in crate::proxy) http1: bool,
}

#[derive(Debug)]
struct Idle {
    stream: AppStream,
    since: Instant,
    /// It must rest. Afterwards it is looked at closely.
    rests: bool,
}

/// A connection that one exchange has to itself. Dropped, it is closed; given back, the next exchange may have it.
#[derive(Debug)]
pub(in crate::proxy) struct Lease {
    /// Present until it is given back.
    stream: Option<AppStream>,
    is_counted: bool,
    /// Whether it has served before, so that the app may have closed it meanwhile.
    pub(in crate::proxy) reused: bool,
    pool: Rc<Pool>,
}

impl Pool {
    pub(in crate::proxy) fn new(target: Target, shard: Arc<Shard>) -> Rc<Self> {
        Self::resolving_by(Resolver::default(), target, shard)
    }

    fn resolving_by(resolver: Resolver, target: Target, shard: Arc<Shard>) -> Rc<Self> {
        Rc::new(Self {
            target,
            shard,
            idle: RefCell::default(),
            channels: Channels::default(),
            queue: Queue::default(),
            resolver,
            lost: Cell::default(),
            takes_http2: Cell::default(),
            retired: Cell::default(),
            told: Cell::default(),
        })
    }

    /// A connection that was used before and is still open, as far as can be seen.
    pub(in crate::proxy) fn reuse(self: &Rc<Self>, needs: Needs) -> Option<Lease> {
        if self.target.http2 != Http2::Never
            && !needs.http1
            && let Some(lease) = self.stream()
        {
            return Some(lease);
        }
        let mut idle = self.idle.borrow_mut();
        // Of those that rest the longest comes first: where that is not over, no other is.
        while idle.back().is_some_and(Idle::has_rested)
            && let Some(Idle { mut stream, since, rests }) = idle.pop_back()
        {
            self.shard.upstream_idle.sub(1);
            let closely = rests || self.looks_closely(since, needs.surely);
            if stream.is_quiet() && !(closely && stream.has_ended()) {
                return Some(self.lease(stream, true));
            }
            self.lost.set(Some(clock::turn()));
        }
        None
    }

    /// Whether to ask the kernel about a connection that was idle since then.
    fn looks_closely(&self, since: Instant, surely: bool) -> bool {
        let now = clock::turn();
        let unseen = now - since.max(clock::awake_since());
        let is_wary = || self.lost.get().is_some_and(|lost| now - lost < WARY);
        unseen >= UNSEEN || surely && (now - since >= UNSEEN || is_wary())
    }

    /// A stream on a connection of HTTP/2 that is there.
    pub(super) fn stream(self: &Rc<Self>) -> Option<Lease> {
        let (stream, reused) = self.channels.stream()?;
        Some(self.lease(AppStream::Http2(Box::new(stream)), reused))
    }

    /// Closes what the app has closed, and what is too old. Called now and then.
    pub(in crate::proxy) fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|kept| {
            let stays = now - kept.since <= LONGEST_IDLE && kept.stream.is_quiet();
            if !stays {
                kept.stream.farewell();
            }
            stays
        });
        let closed = i64::try_from(before - idle.len()).unwrap_or(0);
        self.shard.upstream_idle.sub(closed);
        self.channels.sweep(now);
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(in crate::proxy) fn retire(&self) {
        self.retired.set(true);
        self.channels.clear();
        self.close_idle(&mut self.idle.borrow_mut());
    }

    fn close_idle(&self, idle: &mut VecDeque<Idle>) {
        for mut kept in idle.drain(..) {
            kept.stream.farewell();
            self.shard.upstream_idle.sub(1);
        }
    }

    pub(super) fn lease(self: &Rc<Self>, stream: AppStream, reused: bool) -> Lease {
        // A connection that is shared counts itself.
        let is_counted = !matches!(stream, AppStream::Http2(_));
        if is_counted {
            self.shard.upstream_active.add(1);
        }
        Lease { stream: Some(stream), is_counted, reused, pool: self.clone() }
    }
}

impl Idle {
    fn has_rested(&self) -> bool {
        !self.rests || clock::turn() - self.since >= REST
    }
}

impl Lease {
    /// The byte stream, until it is given back.
    pub(in crate::proxy) fn stream(&mut self) -> Pin<&mut AppStream> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream),
            None => unreachable!("given back when its exchange was over"),
        }
    }

    /// The socket, if there is nothing between it and the app.
    pub(in crate::proxy) fn tcp(&self) -> Option<&TcpStream> {
        self.stream.as_ref().and_then(AppStream::tcp)
    }

    /// Whether it is one of HTTP/2: then the app can say that it has not begun with a request (RFC 9113 section 8.7).
    pub(in crate::proxy) fn is_http2(&self) -> bool {
        matches!(self.stream, Some(AppStream::Http2(_)))
    }

    /// Where the app's end of it is.
    pub(in crate::proxy) fn apps_end(&self) -> AppsEnd {
        self.stream.as_ref().map_or(AppsEnd::NotQueued, |stream| self.pool.queue.look(stream))
    }

    /// Whether it was reset, by the app or by its listener.
    pub(in crate::proxy) fn was_reset(&self) -> bool {
        self.stream.as_ref().is_some_and(AppStream::was_reset)
    }

    /// Its exchange is over in both directions: the next one may have it. `rests`: the answer ended with its head, and not
    /// because a length said so.
    pub(in crate::proxy) fn give_back(&mut self, rests: bool) {
        self.uncount();
        let mut stream = match self.stream.take() {
            Some(AppStream::Http2(stream)) => return stream.finish(),
            Some(stream) => stream,
            None => return,
        };
        let mut idle = self.pool.idle.borrow_mut();
        if idle.len() < MOST_IDLE && !self.pool.retired.get() {
            self.pool.shard.upstream_idle.add(1);
            let kept = Idle { stream, since: clock::turn(), rests };
            if rests {
                idle.push_front(kept);
            } else {
                idle.push_back(kept);
            }
        } else {
            stream.farewell();
        }
    }

    /// Its exchange is over in both directions, and it cannot have another.
    pub(in crate::proxy) fn close(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.farewell();
        }
    }

    /// The app has answered before it had the whole request: its connection has no other exchange, and ends, or goes on for
    /// those who share it.
    pub(in crate::proxy) fn leave(&mut self) {
        if let Some(AppStream::Http2(stream)) = self.stream.take() {
            stream.leave();
        }
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.pool.shard.upstream_active.sub(1);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.uncount();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut idle = std::mem::take(self.idle.get_mut());
        self.close_idle(&mut idle);
    }
}

#[cfg(test)]
mod tests;
