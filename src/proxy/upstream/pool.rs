use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::super::rejection::Rejection;
use super::connect::{Connected, connect};
use super::http2::{Channel, Channels};
use super::queue::Queue;
use super::resolve::Resolver;
use super::stream::AppStream;
use super::target::{Http2, Target};
use crate::clock;
use crate::tls::Distrust;
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

/// One worker's connections to the app.
#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    pub(in crate::proxy) target: Target,
    shard: Arc<Shard>,
    /// The last one in is the first one out: the others may grow old and be closed. Those that rest come after all others.
    idle: RefCell<VecDeque<Idle>>,
    channels: Channels,
    queue: Queue,
    resolver: Resolver,
    /// Whether the app took HTTP/2 the last time that it was offered.
    takes_http2: Cell<bool>,
    /// Nothing is kept any more: the app is elsewhere now.
    retired: Cell<bool>,
    /// The last trouble with certificates that was logged.
    told: Cell<Option<Rejection>>,
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Needs {
    /// It could not be sent twice: whether a kept connection has ended is worth a system call.
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
            takes_http2: Cell::default(),
            retired: Cell::default(),
            told: Cell::default(),
        })
    }

    /// A connection that was used before and is still open, as far as can be seen.
    pub(in crate::proxy) fn reuse(self: &Rc<Self>, needs: Needs) -> Option<Lease> {
        if self.target.http2 != Http2::Never
            && !needs.http1
            && let Some((stream, reused)) = self.channels.stream()
        {
            return Some(self.lease(AppStream::Http2(Box::new(stream)), reused));
        }
        let mut idle = self.idle.borrow_mut();
        // Of those that rest the longest comes first: where that is not over, no other is.
        while idle.back().is_some_and(Idle::has_rested)
            && let Some(Idle { mut stream, since, rests }) = idle.pop_back()
        {
            self.shard.upstream_idle.sub(1);
            let unseen = clock::turn() - since.max(clock::awake_since());
            let closely = needs.surely || rests || unseen >= UNSEEN;
            if stream.is_quiet() && !(closely && stream.has_ended()) {
                return Some(self.lease(stream, true));
            }
        }
        None
    }

    /// A new connection, or a stream on one that another request has made meanwhile.
    pub(in crate::proxy) async fn connect(self: &Rc<Self>, needs: Needs) -> Result<Lease, Rejection> {
        let limit = self.target.connect_timeout;
        let shaking = Cell::new(false);
        let connecting = self.connect_in_turn(needs, &shaking);
        let connected = if limit.is_zero() {
            connecting.await
        } else {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) if shaking.get() => return Err(Rejection::Tls(Distrust::TooSlow)),
                Err(_) => return Err(Rejection::ConnectTimeout),
            }
        };
        match connected {
            Ok(lease) => {
                self.told.set(None);
                Ok(lease)
            }
            Err((rejection, error)) => {
                // Said once: it stays so until somebody does something about it.
                let is_lasting = matches!(rejection, Rejection::Tls(_) | Rejection::NotHttp2);
                if is_lasting && self.told.replace(Some(rejection)) != Some(rejection) {
                    tracing::warn!(code = rejection.code(), %error, "no TLS or no HTTP/2 with the app");
                }
                Err(rejection)
            }
        }
    }

    async fn connect_in_turn(
        self: &Rc<Self>,
        needs: Needs,
        shaking: &Cell<bool>,
    ) -> Result<Lease, (Rejection, io::Error)> {
        let one_by_one = !needs.http1 && (self.target.http2 == Http2::Always || self.takes_http2.get());
        let turn = if one_by_one { self.channels.turn().await } else { None };
        if turn.is_some()
            && let Some((stream, reused)) = self.channels.stream()
        {
            return Ok(self.lease(AppStream::Http2(Box::new(stream)), reused));
        }
        let Connected { stream, is_http2 } = connect(&self.target, &self.resolver, needs.http1, shaking).await?;
        if self.target.http2 == Http2::Offered && !needs.http1 {
            self.takes_http2.set(is_http2);
        }
        if !is_http2 {
            return Ok(self.lease(stream, false));
        }
        let channel = Channel::open(stream, self.target.tls.is_some(), self.shard.clone()).await?;
        match self.channels.add(channel) {
            Some(stream) => Ok(self.lease(AppStream::Http2(Box::new(stream)), false)),
            None => Err((Rejection::StreamRefused, io::ErrorKind::ConnectionRefused.into())),
        }
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

    fn lease(self: &Rc<Self>, stream: AppStream, reused: bool) -> Lease {
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

    /// Whether the app's kernel has accepted the connection and the app has not yet.
    pub(in crate::proxy) fn is_queued(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| self.pool.queue.holds(stream))
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
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::net::TcpListener;

    use super::super::target::Http2;
    use super::*;
    use crate::settings::Url;

    const NEEDS: Needs = Needs { surely: false, http1: false };

    fn pool(resolver: Resolver, connect_timeout: Duration) -> Rc<Pool> {
        let url = Url::parse("http://app.example:80").expect("a URL");
        let target = Target { url, tls: None, http2: Http2::Never, connect_timeout };
        Pool::resolving_by(resolver, target, Arc::default())
    }

    #[tokio::test]
    async fn an_app_that_moves_is_found_and_connections_to_its_old_place_grow_old() {
        let (old, new) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
        let (old, new) = (old.expect("a port"), new.expect("a port"));
        let place = Arc::new(Mutex::new(old.local_addr().expect("an address")));
        let told = place.clone();
        let resolver = Resolver::by(move |_, _| Ok(vec![*told.lock().expect("the place")]));
        let pool = pool(resolver, Duration::ZERO);
        let mut lease = pool.connect(NEEDS).await.expect("a connection");
        let (_kept, _) = old.accept().await.expect("a client");
        lease.give_back(false);
        *place.lock().expect("the place") = new.local_addr().expect("an address");

        // What is kept is used while it works, however the name resolves now.
        let mut lease = pool.reuse(NEEDS).expect("a kept connection");
        let further = pool.connect(NEEDS).await.expect("a connection");
        assert!(new.accept().await.is_ok(), "a new connection goes where the app is now");
        drop(further);
        lease.give_back(false);
        assert_eq!(pool.shard.upstream_idle.get(), 1);
        tokio::time::pause();
        tokio::time::advance(LONGEST_IDLE + Duration::from_secs(1)).await;
        pool.sweep();
        assert_eq!(pool.shard.upstream_idle.get(), 0);
        assert!(pool.reuse(NEEDS).is_none());
        assert_eq!(pool.shard.upstream_active.get(), 0);
    }

    #[tokio::test]
    async fn what_came_on_an_idle_connection_is_seen_before_the_loop_turns() {
        for (idle, has_slept, is_seen) in [(UNSEEN, false, true), (Duration::ZERO, false, false), (UNSEEN, true, false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let pool = pool(Resolver::by(move |_, _| Ok(vec![address])), Duration::ZERO);
            let mut lease = pool.connect(NEEDS).await.expect("a connection");
            let (app, _) = listener.accept().await.expect("a client");
            // Nothing is awaited from here on: the loop has no turn.
            clock::wake_up();
            clock::begin_turn();
            while !has_slept && clock::turn() - clock::awake_since() < UNSEEN {
                clock::begin_turn();
            }
            lease.give_back(false);
            pool.idle.borrow_mut()[0].since -= idle;
            let mut app = app.into_std().expect("a socket");
            io::Write::write_all(&mut app, b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer to nothing");
            assert_eq!(pool.reuse(NEEDS).is_none(), is_seen, "idle for {idle:?}, has slept: {has_slept}");
        }
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_costs_the_time_for_connecting_and_one_thread() {
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        let (held, lookups) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
        let counted = lookups.clone();
        let resolver = Resolver::by(move |_, _| {
            counted.fetch_add(1, Relaxed);
            let _ = held.lock().expect("no other lookup").recv();
            Ok(Vec::<SocketAddr>::new())
        });
        let pool = pool(resolver, Duration::from_millis(20));
        for _ in 0..3 {
            assert_eq!(pool.connect(NEEDS).await.err(), Some(Rejection::ConnectTimeout));
        }
        assert_eq!(lookups.load(Relaxed), 1);
        drop(release);
        let nowhere = loop {
            match pool.connect(NEEDS).await.err() {
                Some(Rejection::ConnectTimeout) => {}
                other => break other,
            }
        };
        assert_eq!(nowhere, Some(Rejection::ConnectFailed));
    }
}
