use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::Rejection;
use super::body::Upload;
use crate::settings::{Scheme, Url};
use crate::traffic::Shard;

/// At most so many idle connections are kept per worker.
const MOST_IDLE: usize = 1024;

/// An idle connection older than this is closed when the next one comes back.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// One worker's connections to the app.
pub(super) struct Pool {
    upstream: Url,
    connect_timeout: Duration,
    shard: Arc<Shard>,
    /// The last one in is the first one out: the others may grow old and be closed.
    idle: RefCell<std::collections::VecDeque<Idle>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

/// One connection to the app.
struct Link {
    sender: SendRequest<Upload>,
    gauge: Rc<Gauge>,
}

/// Borrowed from the pool for one exchange; dropped, it closes the connection; given back, it is used again.
pub(super) struct Lease {
    link: Link,
    pool: Rc<Pool>,
    /// Whether it has served before, so that the app may have closed it meanwhile.
    pub(super) reused: bool,
}

impl Pool {
    pub(super) fn new(upstream: Url, connect_timeout: Duration, shard: Arc<Shard>) -> Rc<Self> {
        Rc::new(Self { upstream, connect_timeout, shard, idle: RefCell::default() })
    }

    /// A connection that was used before and is still open.
    pub(super) fn reuse(self: &Rc<Self>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { link, .. }) = idle.pop_back() {
            if link.sender.is_ready() {
                link.gauge.set(Use::Active);
                return Some(Lease { link, pool: self.clone(), reused: true });
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(self: &Rc<Self>) -> Result<Lease, Rejection> {
        let connecting = async {
            match &self.upstream.scheme {
                Scheme::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(|error| Rejection::of_connect(&error))?;
                    self.link(stream).await
                }
                _ => {
                    let address = (self.upstream.host.as_str(), self.upstream.port);
                    let stream = TcpStream::connect(address).await.map_err(|error| Rejection::of_connect(&error))?;
                    stream.set_nodelay(true).map_err(|error| Rejection::of_connect(&error))?;
                    self.link(stream).await
                }
            }
        };
        let link = if self.connect_timeout.is_zero() {
            connecting.await?
        } else {
            match tokio::time::timeout(self.connect_timeout, connecting).await {
                Ok(connected) => connected?,
                Err(_) => return Err(Rejection::ConnectTimeout),
            }
        };
        Ok(Lease { link, pool: self.clone(), reused: false })
    }

    async fn link<S>(&self, stream: S) -> Result<Link, Rejection>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| Rejection::of_exchange(&error))?;
        let gauge = Rc::new(Gauge::new(self.shard.clone()));
        let counted = gauge.clone();
        tokio::task::spawn_local(async move {
            // How it ended, the exchange that was on it is told; on an idle one it does not matter.
            let _ = connection.with_upgrades().await;
            counted.set(Use::Closed);
        });
        Ok(Link { sender, gauge })
    }
}

impl Lease {
    pub(super) fn sender(&mut self) -> &mut SendRequest<Upload> {
        &mut self.link.sender
    }

    /// Its exchange is over in both directions: the next one may have it.
    pub(super) fn give_back(self) {
        let Self { link, pool, .. } = self;
        if link.sender.is_closed() {
            return;
        }
        link.gauge.set(Use::Idle);
        let now = Instant::now();
        let mut idle = pool.idle.borrow_mut();
        while idle.front().is_some_and(|first| now - first.since > LONGEST_IDLE) || idle.len() >= MOST_IDLE {
            idle.pop_front();
        }
        idle.push_back(Idle { link, since: now });
    }
}

/// Which gauge a connection counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Active,
    Idle,
    Closed,
}

struct Gauge {
    shard: Arc<Shard>,
    counted: Cell<Use>,
}

impl Gauge {
    fn new(shard: Arc<Shard>) -> Self {
        shard.upstream_active.fetch_add(1, Relaxed);
        Self { shard, counted: Cell::new(Use::Active) }
    }

    fn set(&self, now: Use) {
        let before = self.counted.get();
        if before == now || before == Use::Closed {
            return;
        }
        self.counted.set(now);
        for (kind, change) in [(before, -1), (now, 1)] {
            match kind {
                Use::Active => self.shard.upstream_active.fetch_add(change, Relaxed),
                Use::Idle => self.shard.upstream_idle.fetch_add(change, Relaxed),
                Use::Closed => 0,
            };
        }
    }
}

/// Why a failed connection attempt is worth another.
pub(super) fn is_worth_another_attempt(rejection: Rejection) -> bool {
    matches!(rejection, Rejection::ConnectRefused | Rejection::ConnectFailed)
}

/// The io error at the bottom of a hyper error.
pub(super) fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = inner.source();
    }
    None
}
