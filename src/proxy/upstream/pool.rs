use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::super::rejection::Rejection;
use super::connect::connect;
use super::stream::AppStream;
use super::target::Target;
use crate::clock;
use crate::tls::Distrust;
use crate::traffic::Shard;

/// At most so many idle connections are kept per worker.
const MOST_IDLE: usize = 1024;

/// An idle connection older than this is closed.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// One worker's connections to the app.
#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    pub(in crate::proxy) target: Target,
    shard: Arc<Shard>,
    /// The last one in is the first one out: the others may grow old and be closed.
    idle: RefCell<VecDeque<Idle>>,
    /// Nothing is kept any more: the app is elsewhere now.
    retired: Cell<bool>,
    /// The last trouble with certificates that was logged.
    told: Cell<Option<Rejection>>,
}

#[derive(Debug)]
struct Idle {
    stream: AppStream,
    since: Instant,
}

/// A connection that one exchange has to itself. Dropped, it is closed; given back, the next exchange may have it.
#[derive(Debug)]
pub(in crate::proxy) struct Lease {
    /// Present until it is given back.
    stream: Option<AppStream>,
    /// Whether it has served before, so that the app may have closed it meanwhile.
    pub(in crate::proxy) reused: bool,
    pool: Rc<Pool>,
}

impl Pool {
    pub(in crate::proxy) fn new(target: Target, shard: Arc<Shard>) -> Rc<Self> {
        Rc::new(Self { target, shard, idle: RefCell::default(), retired: Cell::default(), told: Cell::default() })
    }

    /// A connection that was used before and is still open, as far as can be seen without asking the kernel; `surely`
    /// asks it, for a request that could not be sent twice.
    pub(in crate::proxy) fn reuse(self: &Rc<Self>, surely: bool) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut stream, .. }) = idle.pop_back() {
            self.shard.upstream_idle.fetch_sub(1, Relaxed);
            if stream.is_quiet() && !(surely && stream.has_ended()) {
                return Some(self.lease(stream, true));
            }
        }
        None
    }

    /// A new connection.
    pub(in crate::proxy) async fn connect(self: &Rc<Self>) -> Result<Lease, Rejection> {
        let limit = self.target.connect_timeout;
        let shaking = Cell::new(false);
        let connecting = connect(&self.target, &shaking);
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
            Ok(stream) => {
                self.told.set(None);
                Ok(self.lease(stream, false))
            }
            Err((rejection, error)) => {
                // Said once: it stays so until somebody does something about it.
                if matches!(rejection, Rejection::Tls(_)) && self.told.replace(Some(rejection)) != Some(rejection) {
                    tracing::warn!(code = rejection.code(), %error, "no TLS with the app");
                }
                Err(rejection)
            }
        }
    }

    /// Closes what the app has closed, and what is too old. Called now and then.
    pub(in crate::proxy) fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|kept| now - kept.since <= LONGEST_IDLE && kept.stream.is_quiet());
        let closed = i64::try_from(before - idle.len()).unwrap_or(0);
        self.shard.upstream_idle.fetch_sub(closed, Relaxed);
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(in crate::proxy) fn retire(&self) {
        self.retired.set(true);
        let closed = std::mem::take(&mut *self.idle.borrow_mut()).len();
        self.shard.upstream_idle.fetch_sub(i64::try_from(closed).unwrap_or(0), Relaxed);
    }

    fn lease(self: &Rc<Self>, stream: AppStream, reused: bool) -> Lease {
        self.shard.upstream_active.fetch_add(1, Relaxed);
        Lease { stream: Some(stream), reused, pool: self.clone() }
    }
}

impl Lease {
    /// The byte stream.
    pub(in crate::proxy) fn stream(&mut self) -> Pin<&mut AppStream> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream),
            None => unreachable!("given back by value"),
        }
    }

    /// The socket, if there is nothing between it and the app.
    pub(in crate::proxy) fn tcp(&self) -> Option<&TcpStream> {
        self.stream.as_ref().and_then(AppStream::tcp)
    }

    /// Its exchange is over in both directions: the next one may have it.
    pub(in crate::proxy) fn give_back(mut self) {
        let mut idle = self.pool.idle.borrow_mut();
        if let (Some(stream), true) = (self.stream.take(), idle.len() < MOST_IDLE && !self.pool.retired.get()) {
            self.pool.shard.upstream_idle.fetch_add(1, Relaxed);
            idle.push_back(Idle { stream, since: clock::turn() });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.shard.upstream_active.fetch_sub(1, Relaxed);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = i64::try_from(self.idle.get_mut().len()).unwrap_or(0);
        self.shard.upstream_idle.fetch_sub(idle, Relaxed);
    }
}
