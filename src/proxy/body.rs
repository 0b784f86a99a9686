use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::exchange::Exchange;
use super::forward::Shared;
use super::login::Scan;
use super::pool::{Lease, io_kind};
use super::rejection::Rejection;
use crate::traffic::{Failure, Shard};

/// Why a body ends before its end. The connection that it was on is closed.
#[derive(Debug)]
pub struct Broken(&'static str);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

/// Silence in the middle of a body. The timer exists only once a body has been waited for.
struct Silence {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, waiting: false }
    }

    fn broken(&mut self) {
        self.waiting = false;
    }

    /// Nothing has come: has nothing come for too long?
    fn poll_too_long(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.limit.is_zero() {
            return Poll::Pending;
        }
        let deadline = || Instant::now() + self.limit;
        match &mut self.sleep {
            Some(sleep) if self.waiting => sleep.as_mut().poll(cx),
            Some(sleep) => {
                sleep.as_mut().reset(deadline());
                self.waiting = true;
                sleep.as_mut().poll(cx)
            }
            none => {
                let sleep = none.insert(Box::pin(tokio::time::sleep_until(deadline())));
                self.waiting = true;
                sleep.as_mut().poll(cx)
            }
        }
    }
}

/// How an upload went, for the exchange that waits for its answer.
#[derive(Debug, Default)]
pub(super) struct UploadFate {
    /// When it was complete.
    pub(super) ended: Cell<Option<Instant>>,
    /// Why it cannot be completed.
    pub(super) failed: Cell<Option<Rejection>>,
}

/// A request's body on its way to the app.
pub(super) enum Upload {
    /// There is none.
    Empty,
    /// It is passed on as it comes.
    Streamed(Streamed),
}

pub(super) struct Streamed {
    inner: Incoming,
    room: Option<u64>,
    silence: Silence,
    fate: Rc<UploadFate>,
    shard: std::sync::Arc<Shard>,
}

impl Upload {
    pub(super) fn new(
        inner: Incoming,
        shared: &Shared,
        shard: std::sync::Arc<Shard>,
    ) -> (Self, Option<Rc<UploadFate>>) {
        if inner.is_end_stream() {
            return (Self::Empty, None);
        }
        let fate = Rc::new(UploadFate::default());
        let limit = shared.settings.limits.body_bytes.0;
        let streamed = Streamed {
            inner,
            room: (limit > 0).then_some(limit),
            silence: Silence::new(shared.settings.timeouts.stream_idle),
            fate: fate.clone(),
            shard,
        };
        (Self::Streamed(streamed), Some(fate))
    }
}

impl Streamed {
    fn fail(&self, rejection: Rejection, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.fate.failed.set(Some(rejection));
        Poll::Ready(Some(Err(Broken(why))))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending => match self.silence.poll_too_long(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => self.fail(Rejection::BodyTooSlow, "the client is silent"),
            },
            Poll::Ready(None) => {
                self.fate.ended.set(Some(Instant::now()));
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => self.fail(Rejection::BodyMalformed, "the client's body broke off"),
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                if let Some(data) = frame.data_ref() {
                    let length = data.len() as u64;
                    match &mut self.room {
                        Some(room) if *room < length => {
                            return self.fail(Rejection::BodyTooLarge, "the body is too large");
                        }
                        Some(room) => *room -= length,
                        None => {}
                    }
                    self.shard.received.fetch_add(length, Relaxed);
                }
                if self.inner.is_end_stream() {
                    self.fate.ended.set(Some(Instant::now()));
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(streamed) => streamed.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(streamed) => streamed.inner.size_hint(),
        }
    }
}

/// The body of any answer on the traffic port.
pub enum ProxyBody {
    /// Ours.
    Own(Full<Bytes>),
    /// The app's.
    App(Download),
}

/// The app's answer on its way to the client: counted, watched, and the connection given back at its end.
pub struct Download {
    pub(super) inner: Incoming,
    pub(super) code: u16,
    pub(super) exchange: Exchange,
    pub(super) lease: Option<Lease>,
    pub(super) scan: Option<Scan>,
    pub(super) shared: Rc<Shared>,
    silence: Silence,
    ended: bool,
}

impl Download {
    pub(super) fn new(inner: Incoming, code: u16, exchange: Exchange, lease: Lease, shared: Rc<Shared>) -> Self {
        let silence = Silence::new(shared.settings.timeouts.stream_idle);
        let mut download =
            Self { inner, code, exchange, lease: Some(lease), scan: None, shared, silence, ended: false };
        if download.inner.is_end_stream() {
            download.end();
        }
        download
    }

    /// All of it has been passed on.
    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.exchange.end(self.code, Failure::of_code(self.code));
        if let Some(scan) = &mut self.scan {
            scan.end(&self.shared.traffic);
        }
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    /// The code was sent; what failed after it counts as the failure.
    fn cut(&mut self, failure: Failure, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.ended = true;
        self.exchange.end(self.code, Some(failure));
        Poll::Ready(Some(Err(Broken(why))))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending => match self.silence.poll_too_long(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => self.cut(Failure::UpstreamTimeout, "the app is silent"),
            },
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let reset = error.is_incomplete_message() || error.is_closed() || io_kind(&error).is_some();
                let failure = if reset { Failure::UpstreamReset } else { Failure::UpstreamProtocol };
                self.cut(failure, "the app's answer broke off")
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                if let Some(data) = frame.data_ref() {
                    self.exchange.shard().sent.fetch_add(data.len() as u64, Relaxed);
                    if let Some(scan) = &mut self.scan {
                        scan.read(data, &self.shared.login, &self.shared.traffic);
                    }
                }
                if self.inner.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::App(download) => download.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full) => full.is_end_stream(),
            Self::App(download) => download.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full) => full.size_hint(),
            Self::App(download) => download.inner.size_hint(),
        }
    }
}
