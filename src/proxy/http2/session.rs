use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::{Connection as Library, SendResponse};
use h2::{Reason, RecvStream};
use hyper::Request;
use tokio::time::Instant;

use super::super::arrival::Arrival;
use super::super::connection::{ClientStream, Connection};
use super::super::current::Current;
use super::super::exchange::{Asked, Exchange};
use super::super::forwarded::Forwarded;
use super::super::http1::Malformed;
use super::super::linger::READS_AT_ONCE;
use super::super::local::Local;
use super::super::rejection::Rejection;
use super::super::timer::Timer;
use super::super::worker::Proxy;
use super::departures::Departures;
use super::frames::Seen;
use super::in_hand::{Held, OfConnection, OfStream};
use super::leftovers::Leftovers;
use super::limits::builder;
use super::linger::linger;
use super::shared::Shared;
use super::stream::Stream;
use crate::clock;
use crate::drain::{CLOSING_PAUSE, Hub, Member, Phase};

/// One HTTP/2 connection, with the streams that it owns: they end with it.
pub(in crate::proxy) struct Session<'w, L, S> {
    current: &'w Current<L>,
    proxy: Rc<Proxy<L>>,
    forwarded: Rc<Forwarded>,
    hub: &'w Hub,
    member: Option<Member<'w>>,
    library: Library<Shared<S>, Held>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + 'w>>>,
    /// At most so many run at the same time.
    most: usize,
    timer: Timer,
    begun: Instant,
    /// Since when nothing runs.
    idle_since: Option<Instant>,
    /// What the client has sent.
    seen: Rc<Seen>,
    /// Requests that the library has handed out.
    handed_out: u64,
    /// Requests beyond `limits.streams`, or with too much in their heads, which were refused.
    refused: u64,
    /// Of the coming ones, those that are no fault of the client's.
    excused: u64,
    /// Since when a head is not whole, and whether that is too long.
    head_since: Option<Instant>,
    is_late: bool,
    /// The client has gone without a word.
    is_cut: bool,
    /// The library has ended the connection for a flood.
    is_flood: bool,
    /// Since when the client knows that it must go elsewhere.
    leaving_since: Option<Instant>,
    in_hand: Rc<OfConnection>,
    departures: Rc<Departures>,
    leftovers: Rc<Leftovers>,
}

/// A client that was told to go elsewhere and has nothing running may take so long to close.
const FAREWELL: Duration = Duration::from_secs(5);

/// A reset takes back what has not left yet: so long it waits for what came of an answer that breaks off, and so often it
/// looks.
const CUT_PATIENCE: Duration = Duration::from_secs(1);
const CUT_TICK: Duration = Duration::from_millis(20);

impl<'w, L: Local, S: ClientStream> Session<'w, L, S> {
    /// Serves one connection to its end. `first` was read from it already.
    pub(in crate::proxy) async fn serve(
        current: &'w Current<L>,
        stream: S,
        first: Vec<u8>,
        arrival: Arrival,
        hub: &'w Hub,
    ) {
        let proxy = current.get();
        let stream = Rc::new(RefCell::new(stream));
        let seen: Rc<Seen> = Rc::default();
        let handshake = builder(&proxy.settings.limits).handshake(Shared::new(stream.clone(), first, seen.clone()));
        let patience = proxy.settings.timeouts.request_header;
        let library = if patience.is_zero() {
            handshake.await.ok()
        } else {
            tokio::time::timeout(patience, handshake).await.ok().and_then(Result::ok)
        };
        // What does not begin as HTTP/2 after that was agreed on is nothing; but who leaves at once may have asked.
        let Some(library) = library else {
            let gone = || Exchange::begin(proxy.ledger.clone(), Asked::unread(arrival));
            return (0..seen.frames.borrow().begun).for_each(|_| drop(gone()));
        };
        seen.told.set(false);
        let now = clock::turn();
        let forwarded = Rc::new(Forwarded::new(arrival, &proxy.settings.trusted_proxies));
        let most = proxy.settings.limits.streams as usize;
        let in_hand = OfConnection::new(proxy.in_hand.clone(), seen.clone());
        let mut session = Self {
            current,
            proxy,
            forwarded,
            hub,
            member: None,
            library,
            running: FuturesUnordered::new(),
            in_hand,
            most,
            timer: Timer::default(),
            begun: now,
            idle_since: Some(now),
            seen,
            handed_out: 0,
            refused: 0,
            excused: 0,
            head_since: None,
            is_late: false,
            is_cut: false,
            is_flood: false,
            leaving_since: None,
            departures: Rc::default(),
            leftovers: Rc::default(),
        };
        let is_orderly = std::future::poll_fn(|cx| {
            let polled = session.poll(cx);
            if polled.is_ready() {
                session.begin_all(cx);
            }
            polled
        })
        .await;
        session.settle();
        let proxy = session.proxy.clone();
        drop(session);
        linger(&proxy, &stream, is_orderly).await;
    }

    /// Ready when the connection is over; tells whether both sides agree on that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.member.is_none() {
            self.member = Some(self.hub.join(cx.waker()));
        }
        self.seen.reads_left.set(READS_AT_ONCE);
        loop {
            self.take_leave();
            self.seen.turns.set(self.seen.turns.get().wrapping_add(1));
            let has_room = self.has_room();
            if has_room {
                match self.library.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        self.begin(request, respond);
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(self.broke(&error)),
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Pending => {}
                }
            } else if let Poll::Ready(closed) = self.library.poll_closed(cx) {
                return Poll::Ready(closed.map_or_else(|error| self.broke(&error), |()| true));
            }
            if self.count_refused() {
                continue;
            }
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => self.ended(),
                Poll::Ready(None) | Poll::Pending if self.leftovers.give_way(self.open(), self.most) => {}
                // Those that were just given up made room, and their wake-up may have been taken for another.
                Poll::Ready(None) | Poll::Pending if !has_room && self.has_room() => {}
                Poll::Ready(None) | Poll::Pending if self.seen.ended.get() && !self.seen.told.get() => {
                    self.seen.told.set(true);
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        self.poll_deadline(cx)
    }

    /// Whether another request may run. Those that the client has given up may be as many as those that it may have, no more.
    fn has_room(&self) -> bool {
        self.open() < self.most && self.running.len() < 2 * self.most
    }

    /// How many streams the client has. Those that it has given up do not count (RFC 9113 section 5.1.2).
    fn open(&self) -> usize {
        self.running.len().saturating_sub(self.departures.running())
    }

    /// Notes how the connection ended; never in order.
    fn broke(&mut self, error: &h2::Error) -> bool {
        self.is_cut = error.is_io();
        self.is_flood = !error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        false
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Held>) {
        if !self.in_hand.has_room_for_a_head() {
            // Seen on its way out, and counted, as are those that the library refuses.
            self.excused += u64::from(self.in_hand.is_full_for_others());
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        self.renew();
        let in_hand = OfStream::new(self.in_hand.clone());
        let stream = Stream::new(request, respond, self.departures.clone(), in_hand);
        let mut connection = Connection::stream(self.current, stream, self.forwarded.clone(), self.hub);
        let (seen, hub, leftovers) = (self.seen.clone(), self.hub, self.leftovers.clone());
        self.running.push(Box::pin(async move {
            // A stream cannot become another protocol.
            let _ = connection.run().await;
            let mut stream = connection.into_stream();
            if stream.has_more_to_say() {
                stream.discard(hub, &leftovers).await;
            } else if stream.breaks_off() {
                let _ = tokio::time::timeout(CUT_PATIENCE, all_left(&seen)).await;
            }
        }));
        self.handed_out += 1;
        self.idle_since = None;
    }

    /// One request is over.
    fn ended(&mut self) {
        if self.running.is_empty() {
            self.idle_since = Some(clock::turn());
        }
        self.calm();
    }

    /// Ends the connection of a client that gives up too much, or asks too often for more than it may; tells whether it has.
    fn calm(&mut self) -> bool {
        let floods = self.departures.are_a_flood();
        if floods {
            self.library.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
        floods
    }

    /// What was handed out at the end has not begun: a request that is not polled is not counted.
    fn begin_all(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
    }

    /// Counts the requests that the library did not hand out: their heads are malformed, or they came with what ended the
    /// connection, or after we had told the client to ask elsewhere.
    fn settle(&mut self) {
        self.count_refused();
        let frames = self.seen.frames.borrow();
        for left in (0..frames.begun.saturating_sub(self.handed_out + self.refused)).rev() {
            let mut exchange = self.unread();
            let is_last_half = frames.in_head && left == 0;
            if is_last_half && self.is_late {
                exchange.reject(Rejection::HeadTooSlow);
            } else if self.is_flood {
                exchange.reject(Rejection::TooManyAtOnce);
            } else if !self.is_cut && self.leaving_since.is_none() && !(is_last_half && self.seen.ended.get()) {
                exchange.reject(Rejection::Malformed(Malformed::RequestLine));
            }
        }
    }

    /// Counts the requests that were just refused, because too many were under way; tells whether they were a flood.
    fn count_refused(&mut self) -> bool {
        let (refused, faults) = self.seen.refusals.borrow_mut().take();
        for _ in 0..refused {
            self.unread().reject(Rejection::TooManyAtOnce);
        }
        self.refused += refused;
        let excused = self.excused.min(refused);
        self.excused -= excused;
        let its_fault = refused - excused + faults;
        self.departures.add(its_fault);
        its_fault > 0 && self.calm()
    }

    /// A request that the library has not handed out.
    fn unread(&self) -> Exchange {
        Exchange::begin(self.proxy.ledger.clone(), Asked::unread(self.forwarded.arrival))
    }

    /// Told to stop, we tell the client to ask elsewhere; what runs is finished. A client that has just connected is about
    /// to ask, and is told with its first answer.
    fn take_leave(&mut self) {
        let is_met = || self.handed_out > 0 || clock::turn() - self.begun >= CLOSING_PAUSE;
        if self.leaving_since.is_none() && self.hub.phase() != Phase::Serving && is_met() {
            self.leave();
        }
    }

    /// The first of two GOAWAY frames; the library sends the other when the client has seen it (RFC 9113 section 6.8).
    fn leave(&mut self) {
        self.library.graceful_shutdown();
        self.leaving_since = Some(clock::turn());
    }

    /// Until when a head that has begun must be whole: nothing else can come before its end (RFC 9113 section 6.2).
    fn head_deadline(&mut self) -> Option<Instant> {
        let limit = self.proxy.settings.timeouts.request_header;
        if !self.seen.frames.borrow().in_head || limit.is_zero() {
            self.head_since = None;
            return None;
        }
        Some(*self.head_since.get_or_insert_with(clock::turn) + limit)
    }

    /// Takes the configuration as it is now.
    fn renew(&mut self) {
        if !self.current.is(&self.proxy) {
            self.proxy = self.current.get();
            let trusted = &self.proxy.settings.trusted_proxies;
            self.forwarded = Rc::new(Forwarded::new(self.forwarded.arrival, trusted));
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.renew();
        loop {
            let is_stopping = self.hub.phase() != Phase::Serving;
            let idle = self.proxy.settings.timeouts.idle;
            let deadline = match (self.idle_since, self.leaving_since) {
                (None, _) => None,
                (Some(idle), Some(leaving)) => {
                    let patience = if self.hub.phase() == Phase::Closing { CLOSING_PAUSE } else { FAREWELL };
                    Some(idle.max(leaving) + patience)
                }
                (Some(_), None) if is_stopping => Some(self.begun + CLOSING_PAUSE),
                (Some(since), None) => (!idle.is_zero()).then(|| since + idle),
            };
            let head = self.head_deadline();
            let deadline = deadline.into_iter().chain(head).min();
            std::task::ready!(self.timer.poll(cx, deadline));
            if head.is_some_and(|head| Instant::now() >= head) {
                self.is_late = true;
                self.library.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let _ = self.library.poll_closed(cx);
                return Poll::Ready(false);
            }
            if self.leaving_since.is_some() {
                return Poll::Ready(true);
            }
            self.leave();
            if let Poll::Ready(closed) = self.library.poll_closed(cx) {
                return Poll::Ready(closed.is_ok());
            }
        }
    }
}

/// Ready when the library has written what it was given, as far as the client's windows let it.
async fn all_left(seen: &Seen) {
    loop {
        let turn = seen.turns.get();
        while seen.turns.get() == turn {
            tokio::task::yield_now().await;
        }
        if !seen.held_up.get() {
            return;
        }
        tokio::time::sleep(CUT_TICK).await;
    }
}
