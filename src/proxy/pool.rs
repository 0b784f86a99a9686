use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::Rejection;
use crate::settings::{Scheme, Url};
use crate::traffic::Shard;

/// At most so many idle connections are kept per worker.
const MOST_IDLE: usize = 1024;

/// An idle connection older than this is closed.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// One worker's connections to the app.
#[derive(Debug)]
pub(super) struct Pool {
    upstream: Url,
    connect_timeout: Duration,
    shard: Arc<Shard>,
    /// The last one in is the first one out: the others may grow old and be closed.
    idle: RefCell<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    stream: AppStream,
    since: Instant,
}

/// A byte stream to the app.
#[derive(Debug)]
pub(super) enum AppStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that one exchange has to itself. Dropped, it is closed; given back, the next exchange may have it.
#[derive(Debug)]
pub(super) struct Lease {
    /// Present until it is given back.
    stream: Option<AppStream>,
    /// Whether it has served before, so that the app may have closed it meanwhile.
    pub(super) reused: bool,
    pool: Rc<Pool>,
}

impl Pool {
    pub(super) fn new(upstream: Url, connect_timeout: Duration, shard: Arc<Shard>) -> Rc<Self> {
        Rc::new(Self { upstream, connect_timeout, shard, idle: RefCell::default() })
    }

    /// A connection that was used before and is still open, as far as can be seen without asking the kernel; `surely`
    /// asks it, for a request that could not be sent twice.
    pub(super) fn reuse(self: &Rc<Self>, surely: bool) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut stream, .. }) = idle.pop_back() {
            self.shard.upstream_idle.fetch_sub(1, Relaxed);
            if is_quiet(&mut stream) && !(surely && has_ended(&stream)) {
                return Some(self.lease(stream, true));
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(self: &Rc<Self>) -> Result<Lease, Rejection> {
        let connecting = async {
            match &self.upstream.scheme {
                Scheme::Unix(path) => UnixStream::connect(path).await.map(AppStream::Unix),
                _ => {
                    let stream = TcpStream::connect((self.upstream.host.as_str(), self.upstream.port)).await?;
                    stream.set_nodelay(true)?;
                    Ok(AppStream::Tcp(stream))
                }
            }
        };
        let connected = if self.connect_timeout.is_zero() {
            connecting.await
        } else {
            match tokio::time::timeout(self.connect_timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => return Err(Rejection::ConnectTimeout),
            }
        };
        connected.map(|stream| self.lease(stream, false)).map_err(|error| Rejection::of_connect(&error))
    }

    /// Closes what the app has closed, and what is too old. Called now and then.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|kept| now - kept.since <= LONGEST_IDLE && is_quiet(&mut kept.stream));
        let closed = i64::try_from(before - idle.len()).unwrap_or(0);
        self.shard.upstream_idle.fetch_sub(closed, Relaxed);
    }

    fn lease(self: &Rc<Self>, stream: AppStream, reused: bool) -> Lease {
        self.shard.upstream_active.fetch_add(1, Relaxed);
        Lease { stream: Some(stream), reused, pool: self.clone() }
    }
}

/// Whether nothing has come on an idle connection, not even its end. Costs a system call only if something has.
fn is_quiet(stream: &mut AppStream) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer).is_pending()
}

/// Whether the app has closed an idle connection, as the kernel knows it at this moment.
fn has_ended(stream: &AppStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = match stream {
        AppStream::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
        AppStream::Unix(stream) => SockRef::from(stream).peek(&mut byte),
    };
    // Bytes that nobody asked for are no better than an end.
    !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Lease {
    /// The byte stream.
    pub(super) fn stream(&mut self) -> Pin<&mut AppStream> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream),
            None => unreachable!("given back by value"),
        }
    }

    /// Its exchange is over in both directions: the next one may have it.
    pub(super) fn give_back(mut self) {
        let mut idle = self.pool.idle.borrow_mut();
        if let (Some(stream), true) = (self.stream.take(), idle.len() < MOST_IDLE) {
            self.pool.shard.upstream_idle.fetch_add(1, Relaxed);
            idle.push_back(Idle { stream, since: Instant::now() });
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

impl AsyncRead for AppStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
