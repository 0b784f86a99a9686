//! One client connection: reads heads, decides what becomes of each, and lives on or ends.

mod client_stream;
mod delayed;
mod delivery;
mod digest;
mod final_answer;
mod forward;
mod hold;
mod job;
mod leaving;
mod retry;
mod slot;
mod streamed;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

pub use self::client_stream::ClientStream;
use self::delayed::Delayed;
pub(in crate::proxy) use self::delivery::{TICK, longest_write};
use self::digest::Asker;
pub(in crate::proxy) use self::hold::Hold;
pub(in crate::proxy) use self::job::Job;
pub(in crate::proxy) use self::leaving::{HALF_CLOSED, Left, MOST_AHEAD, watch};
pub(in crate::proxy) use self::retry::Budget;
pub(in crate::proxy) use self::slot::Slot;
use self::streamed::Streamed;
use super::arrival::Arrival;
use super::current::Current;
use super::exchange::{Asked, Exchange};
use super::forwarded::Forwarded;
use super::linger::Linger;
use super::local::Local;
use super::rejection::Rejection;
use super::timer::Timer;
use super::worker::Proxy;
use crate::clock;
use crate::drain::{CLOSING_PAUSE, Hub, Member, Phase};

/// One client connection.
pub(in crate::proxy) struct Connection<'w, L, S> {
    /// What the present request is served by.
    proxy: Rc<Proxy<L>>,
    /// What the next one is served by.
    current: &'w Current<L>,
    stream: S,
    hub: &'w Hub,
    member: Option<Member<'w>>,
    forwarded: Rc<Forwarded>,
    /// Nothing has been asked yet, so that it may be another protocol.
    fresh: bool,
    /// What came of the next request before its time.
    ahead: Vec<u8>,
    timer: Timer,
}

/// What the next bytes of a client ask for.
enum Step {
    /// The client is done, or we are.
    End,
    /// An answer of our own.
    Own(Vec<u8>, After),
    /// One that goes on.
    Streamed(Box<Streamed>),
    /// An answer of our own that waits for something.
    Delayed(Box<Delayed>),
    /// The app's business.
    Forward(Box<Slot>),
    /// Another protocol, which has begun with these bytes.
    Http2(Vec<u8>),
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Keep,
    /// Close once the client has read the answer: it may still be sending what nobody will read.
    Close,
    /// Close at once: all that was sent either way has been read, or nobody is there to read it.
    Drop,
    /// Close, and make sure that the client notices that the answer was cut.
    Reset,
}

/// What reading from the client brought.
enum Read {
    Bytes(usize),
    /// The end, or an error: nobody is there any more.
    Gone,
    Late,
    /// The worker is closing and nothing has been asked.
    Closing,
    /// There is another configuration and nothing has been asked.
    Renewed,
}

/// How long a client that has its last answer may say nothing until its connection is closed. What comes after that makes the
/// kernel take back what of the answer has not arrived.
const SILENCE: Duration = Duration::from_secs(5);

impl<'w, L: Local, S: ClientStream> Connection<'w, L, S> {
    pub(in crate::proxy) fn new(current: &'w Current<L>, stream: S, arrival: Arrival, hub: &'w Hub) -> Self {
        let proxy = current.get();
        let forwarded = Rc::new(Forwarded::new(arrival, &proxy.settings.trusted_proxies));
        Self { fresh: true, ..Self::stream(current, stream, forwarded, hub) }
    }

    /// One stream of a connection of another protocol, whose client is known already.
    pub(in crate::proxy) fn stream(current: &'w Current<L>, stream: S, forwarded: Rc<Forwarded>, hub: &'w Hub) -> Self {
        let (proxy, timer) = (current.get(), Timer::default());
        Self { proxy, current, stream, hub, member: None, forwarded, fresh: false, ahead: Vec::new(), timer }
    }

    /// Serves it to its end, or until it turns out to be HTTP/2: then what was read of it.
    pub(in crate::proxy) async fn run(&mut self) -> Option<Vec<u8>> {
        loop {
            let after = match self.next().await {
                Step::End => After::Drop,
                Step::Http2(first) => return Some(first),
                Step::Own(bytes, after) => match self.write_all(bytes).await {
                    Ok(()) => after,
                    Err(_) => After::Drop,
                },
                // Boxed, so that an idle connection is small.
                Step::Delayed(delayed) => Box::pin(self.answer_later(*delayed)).await,
                Step::Streamed(streamed) => Box::pin(self.send_pieces(*streamed)).await,
                Step::Forward(slot) => self.forward(slot).await,
            };
            match after {
                After::Keep => continue,
                // Boxed, as it is rare.
                After::Close => Box::pin(self.linger()).await,
                After::Drop => {}
                After::Reset => {
                    self.stream.reset_on_close(true);
                    return None;
                }
            }
            if self.hub.phase() != Phase::Serving {
                Box::pin(self.deliver()).await;
            }
            return None;
        }
    }

    /// What was served, for whoever goes on with it.
    pub(in crate::proxy) fn into_stream(self) -> S {
        self.stream
    }

    /// Reads until there is a head.
    async fn next(&mut self) -> Step {
        self.renew();
        let idle_since = clock::turn();
        if !self.ahead.is_empty() {
            // One each, then it is another connection's turn: who asks for many at once holds up nobody.
            tokio::task::yield_now().await;
            if let Some(step) = self.digest(0) {
                return step;
            }
        }
        let mut begun = (!self.ahead.is_empty()).then_some(idle_since);
        loop {
            let timeouts = &self.proxy.settings.timeouts;
            let (since, limit) = begun.map_or((idle_since, timeouts.idle), |begun| (begun, timeouts.request_header));
            let deadline = (!limit.is_zero()).then(|| since + limit);
            match (self.read(deadline, begun.is_none().then_some(idle_since)).await, begun) {
                (Read::Bytes(length), _) => {
                    if begun.is_none() {
                        self.renew();
                    }
                    if let Some(step) = self.digest(length) {
                        return step;
                    }
                    // An empty line before a request is nothing, in however many pieces it came.
                    begun = (!self.ahead.is_empty()).then(|| begun.unwrap_or_else(clock::turn));
                }
                (Read::Late, Some(_)) => return self.refuse(self.unread(), Rejection::HeadTooSlow, Asker::default()),
                (Read::Gone, Some(_)) => {
                    drop(Exchange::begin(self.proxy.ledger.clone(), self.unread()));
                    return Step::End;
                }
                (Read::Renewed, _) => self.renew(),
                (Read::Gone | Read::Late | Read::Closing, _) => return Step::End,
            }
        }
    }

    /// Between two requests: takes the configuration as it is now.
    fn renew(&mut self) {
        if !self.current.is(&self.proxy) {
            self.proxy = self.current.get();
            let trusted = &self.proxy.settings.trusted_proxies;
            self.forwarded = Rc::new(Forwarded::new(self.forwarded.arrival, trusted));
        }
    }

    /// A request of which no head could be read.
    fn unread(&self) -> Asked {
        Asked::unread(self.forwarded.arrival)
    }

    /// Is woken from now on when the worker enters another phase, or has another configuration.
    fn join(&mut self, cx: &Context<'_>) {
        if self.member.is_none() {
            self.member = Some(self.hub.join(cx.waker()));
        }
    }

    /// `idle_since`: nothing has been asked since then.
    async fn read(&mut self, deadline: Option<Instant>, idle_since: Option<Instant>) -> Read {
        std::future::poll_fn(|cx| {
            self.join(cx);
            let mut scratch = self.proxy.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Poll::Ready(Read::Bytes(buffer.filled().len())),
                Poll::Ready(_) => Poll::Ready(Read::Gone),
                Poll::Pending if idle_since.is_some() && !self.current.is(&self.proxy) => Poll::Ready(Read::Renewed),
                Poll::Pending => match idle_since.filter(|_| self.hub.phase() == Phase::Closing) {
                    // Who has just connected, or just had an answer, is about to ask.
                    Some(since) => self.timer.poll(cx, Some(since + CLOSING_PAUSE)).map(|()| Read::Closing),
                    None => self.timer.poll(cx, deadline).map(|()| Read::Late),
                },
            }
        })
        .await
    }

    async fn write_all(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let limit = self.proxy.settings.timeouts.write;
        let mut written = 0;
        while written < bytes.len() {
            let mut deadline = None;
            written += std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut self.stream).poll_write(cx, &bytes[written..]);
                if polled.is_ready() || limit.is_zero() {
                    return polled;
                }
                let deadline = *deadline.get_or_insert_with(|| clock::turn() + limit);
                self.timer.poll(cx, Some(deadline)).map(|()| Err(io::ErrorKind::TimedOut.into()))
            })
            .await?;
        }
        self.proxy.give_back_answer(bytes);
        Ok(())
    }

    /// Ends our side and reads on for a moment.
    async fn linger(&mut self) {
        if std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await.is_err() {
            return;
        }
        let mut linger = Linger::new(SILENCE);
        std::future::poll_fn(|cx| {
            self.join(cx);
            let mut scratch = self.proxy.scratch.borrow_mut();
            linger.poll(cx, &mut self.timer, self.hub.phase(), |cx| {
                let mut buffer = ReadBuf::new(&mut scratch);
                let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
                polled.map(|read| read.ok().map(|()| buffer.filled().len()).filter(|length| *length > 0))
            })
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
