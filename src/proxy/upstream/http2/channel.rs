use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use hyper::Request;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::super::rejection::Rejection;
use super::super::broken::Broken;
use super::super::pool::LONGEST_IDLE;
use super::super::stream::AppStream;
use super::greeting::{Greeting, Seen};
use crate::clock;
use crate::traffic::Shard;

/// At most so many exchanges share a connection, however many the app allows.
pub(super) const MOST_STREAMS: usize = 100;

/// So much of an answer's body may come before the client has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Every stream can fill its window without slowing down the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;

/// What small DATA frames may cost beyond their bytes, until their streams have absorbed them.
const SMALL_FRAMES: usize = 64 * 1024 * 1024;

/// So much of a request's body waits in the connection for the socket.
const SEND_BUFFER: usize = 256 * 1024;

/// A head of an answer may be this large; the relay has the same limit.
const LARGEST_HEAD: u32 = 256 * 1024;

/// An app that owes answers and is silent for so long is asked whether it is still there, and has so long to say so.
/// Together they are longer than a pause of half a minute.
const PING_AFTER: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(40);

/// Not more often: gRPC's servers take more than one ping in five minutes for an attack, if they have nothing to send.
const PING_AGAIN: Duration = Duration::from_secs(330);

/// So long bodies may wait in vain for the connection's window (RFC 9113 section 5.2) before others are sent elsewhere. Some
/// servers never give back what streams took that have ended.
const STARVED: Duration = Duration::from_secs(1);

/// A connection that is not needed any more has so long to say good-bye.
const CLOSING: Duration = Duration::from_secs(1);

/// Answers of which all was passed on, and whose end is still to come; more are reset.
const MOST_ENDING: usize = 100;

/// One HTTP/2 connection to the app. Dropped, it says good-bye and closes.
pub(in super::super) struct Channel {
    /// Absent once no more streams can begin.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    pub(super) is_https: bool,
    seen: Rc<Seen>,
    pulse: RefCell<Pulse>,
    ending: RefCell<Vec<RecvStream>>,
    streams: Cell<usize>,
    served: Cell<bool>,
    idle_since: Cell<Instant>,
    ended: Cell<bool>,
    /// The app has not answered when it was asked whether it is still there.
    silent: Cell<bool>,
    /// Since when bodies wait for the connection's window, and none has got any of it.
    starving: Cell<Option<Instant>>,
    counted: Cell<Counted>,
    shard: Arc<Shard>,
    task: AbortHandle,
    /// Tells the task, when it is dropped, that nobody needs the connection any more.
    _needed: oneshot::Sender<()>,
}

/// As what the connection is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    No,
    Idle,
    Active,
}

/// Whether the app is still there.
struct Pulse {
    pings: Option<PingPong>,
    reads: u64,
    heard: Instant,
    asked: Option<Instant>,
    last: Option<Instant>,
}

impl Channel {
    /// Begins HTTP/2 on a connection; ready when the app has greeted.
    pub(in super::super) async fn open(
        io: AppStream,
        is_https: bool,
        shard: Arc<Shard>,
    ) -> Result<Rc<Self>, (Rejection, io::Error)> {
        let seen = Rc::new(Seen::default());
        let failed = |error: h2::Error| {
            // It may be going down: nothing was asked yet, so another attempt is safe.
            let closed = !seen.has_begun();
            let rejection = if closed { Rejection::ConnectFailed } else { Rejection::NotHttp2 };
            (rejection, io::Error::other(error))
        };
        let io = Greeting::new(io, seen.clone());
        let (sender, mut connection) = builder().handshake::<_, Bytes>(io).await.map_err(failed)?;
        poll_fn(|cx| match (Pin::new(&mut connection).poll(cx), seen.verdict()) {
            (Poll::Ready(Err(error)), _) => Poll::Ready(Err(failed(error))),
            (Poll::Ready(Ok(())), _) => {
                Poll::Ready(Err((Rejection::ConnectFailed, io::ErrorKind::UnexpectedEof.into())))
            }
            (Poll::Pending, Some(true)) => Poll::Ready(Ok(())),
            (Poll::Pending, _) => Poll::Pending,
        })
        .await?;
        let now = Instant::now();
        let pings = connection.ping_pong();
        let (needed, not_needed) = oneshot::channel();
        let channel = Rc::new_cyclic(|channel: &std::rc::Weak<Self>| {
            let channel = channel.clone();
            #[expect(clippy::disallowed_methods, reason = "it ends with the channel, which holds its handle")]
            let task = tokio::task::spawn_local(async move {
                drive(connection, not_needed).await;
                if let Some(channel) = channel.upgrade() {
                    channel.end();
                }
            });
            Self {
                sender: RefCell::new(Some(sender)),
                is_https,
                seen,
                pulse: RefCell::new(Pulse { pings, reads: 0, heard: now, asked: None, last: None }),
                ending: RefCell::default(),
                streams: Cell::new(0),
                served: Cell::new(false),
                idle_since: Cell::new(now),
                ended: Cell::new(false),
                silent: Cell::new(false),
                starving: Cell::new(None),
                counted: Cell::new(Counted::No),
                shard,
                task: task.abort_handle(),
                _needed: needed,
            }
        });
        channel.recount();
        Ok(channel)
    }

    /// A place for one more stream.
    pub(super) fn place(self: &Rc<Self>) -> Option<Place> {
        let mut sender = self.sender.borrow_mut();
        // A sender's own question would take the place of the waker of the stream that it has begun last.
        let ready = sender.as_ref()?.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        let starved = self.starving.get().is_some_and(|since| clock::turn() - since > STARVED);
        if starved {
            let streams = self.streams.get();
            tracing::warn!(streams, "the app takes in no body on a connection of HTTP/2: further requests get another");
        }
        // The app has said that it takes no more, or lets nothing in.
        if starved || matches!(ready, Poll::Ready(Err(_))) {
            *sender = None;
        }
        let most = sender.as_ref()?.current_max_send_streams().min(MOST_STREAMS);
        drop(sender);
        // Those that the app has not ended yet count for it (RFC 9113 section 5.1.2).
        let mut ending = self.ending.borrow_mut();
        ending.retain(|answer| !answer.is_end_stream());
        if self.streams.get() + ending.len() >= most {
            return None;
        }
        drop(ending);
        self.streams.set(self.streams.get() + 1);
        self.recount();
        Some(Place(self.clone()))
    }

    /// Whether the app allows no streams on it at present.
    pub(super) fn takes_none(&self) -> bool {
        self.sender.borrow().as_ref().is_some_and(|sender| sender.current_max_send_streams() == 0)
    }

    /// Whether it has served before.
    pub(super) fn has_served(&self) -> bool {
        self.served.get()
    }

    /// Begins a stream. An error means that nothing of it was sent.
    pub(super) fn send(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Option<h2::Error>> {
        let mut sender = self.sender.borrow_mut();
        let sent = sender.as_mut().ok_or(None)?.send_request(request, end);
        self.served.set(true);
        sent.map_err(|error| {
            // The app has said that it takes no more, or it is gone.
            if error.is_go_away() || error.is_io() {
                *sender = None;
            }
            Some(error)
        })
    }

    /// No more streams begin on it. Those that have begun go on.
    pub(super) fn retire(&self) {
        *self.sender.borrow_mut() = None;
    }

    /// A body cannot begin. A stream that is new has a window of its own: what is used up is the connection's.
    pub(super) fn starves(&self) {
        if self.starving.get().is_none() {
            self.starving.set(Some(clock::turn()));
        }
    }

    /// Some of a body went out.
    pub(super) fn is_fed(&self) {
        self.starving.set(None);
    }

    /// What an error of one of its streams means. After a GOAWAY no other begins here: the next attempt would end as this one
    /// did.
    pub(super) fn broke(&self, error: &h2::Error) -> Broken {
        if error.is_go_away() {
            self.retire();
        }
        if self.silent.get() { Broken::Rejected(Rejection::ResponseTimeout) } else { Broken::of(error) }
    }

    /// Keeps an answer of which all was passed on, until its end has come: dropping it would tell the app that nobody
    /// wanted it.
    pub(super) fn let_end(&self, answer: RecvStream) {
        let mut ending = self.ending.borrow_mut();
        if !answer.is_end_stream() && ending.len() < MOST_ENDING {
            ending.push(answer);
        }
    }

    /// To be called now and then; tells whether the connection is to be kept.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        self.ending.borrow_mut().clear();
        if self.streams.get() == 0 {
            return !self.is_useless() && now - self.idle_since.get() <= LONGEST_IDLE;
        }
        if !self.pulse.borrow_mut().beats(self.seen.reads(), now) {
            let streams = self.streams.get();
            tracing::warn!(
                streams,
                "the app has answered no ping: its connection is given up, with the requests on it"
            );
            self.silent.set(true);
            self.task.abort();
            self.end();
        }
        true
    }

    /// Whether it can be forgotten.
    pub(super) fn is_useless(&self) -> bool {
        self.ended.get() || self.sender.borrow().is_none()
    }

    fn end(&self) {
        self.retire();
        self.ended.set(true);
        self.recount();
    }

    fn recount(&self) {
        let now = match (self.streams.get(), self.ended.get()) {
            (1.., _) => Counted::Active,
            (0, false) => Counted::Idle,
            (0, true) => Counted::No,
        };
        self.count(now);
    }

    fn count(&self, now: Counted) {
        let before = self.counted.replace(now);
        if before == now {
            return;
        }
        for (counted, by) in [(before, -1), (now, 1)] {
            match counted {
                Counted::No => {}
                Counted::Idle => self.shard.upstream_idle.add(by),
                Counted::Active => self.shard.upstream_active.add(by),
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.count(Counted::No);
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("streams", &self.streams.get()).finish_non_exhaustive()
    }
}

/// A stream's place on its connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Rc<Channel>);

impl std::ops::Deref for Place {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(Instant::now());
        self.0.recount();
    }
}

impl Pulse {
    /// Takes note of what came; asks when nothing did. False: the app is not there any more.
    fn beats(&mut self, reads: u64, now: Instant) -> bool {
        if let Some(pings) = &mut self.pings
            && self.asked.is_some()
            && pings.poll_pong(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            self.asked = None;
        }
        if reads != self.reads {
            self.reads = reads;
            self.heard = now;
            self.asked = None;
            return true;
        }
        if let Some(asked) = self.asked {
            return now - asked < PONG_WITHIN;
        }
        let may_ask = self.last.is_none_or(|last| now - last >= PING_AGAIN);
        if let Some(pings) = &mut self.pings
            && may_ask
            && now - self.heard >= PING_AFTER
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.asked = Some(now);
            self.last = Some(now);
        }
        true
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_header_list_size(LARGEST_HEAD);
    builder
}

/// Moves the connection's bytes until it ends.
async fn drive(connection: Connection<Greeting, Bytes>, not_needed: oneshot::Receiver<()>) {
    let mut connection = pin!(connection);
    tokio::select! {
        // What broke it is told to every stream.
        _ = &mut connection => {}
        _ = not_needed => {
            let _ = tokio::time::timeout(CLOSING, connection).await;
        }
    }
}

#[cfg(test)]
mod tests;
