use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Buf, Bytes, BytesMut};

use super::frames::Seen;

/// What a worker holds of answers that its clients of HTTP/2 have not taken, in bytes. The library itself has a bound for
/// each stream only, and a client can have many streams on many connections.
#[derive(Debug, Default)]
pub(in crate::proxy) struct InHand {
    answers: Cell<usize>,
    /// The heads of requests under way.
    heads: Cell<usize>,
}

/// One connection's part of it.
#[derive(Debug)]
pub(super) struct OfConnection {
    worker: Rc<InHand>,
    /// With the library, which waits for the socket.
    handed: Cell<usize>,
    /// Still with the engine, because a window is closed.
    offered: Cell<usize>,
    /// The heads of the requests under way.
    heads: Cell<usize>,
    /// Of requests' bodies, what the client has sent and the app has not got.
    bodies: Cell<usize>,
    seen: Rc<Seen>,
}

/// One stream's part of that.
#[derive(Debug)]
pub(super) struct OfStream {
    pub(super) connection: Rc<OfConnection>,
    handed: Cell<usize>,
    offered: Cell<usize>,
    /// Of the request's body, what the app has not got.
    body: Cell<usize>,
    /// The client has taken something since this was last asked.
    has_taken: Cell<bool>,
    /// Waits until the client has taken more.
    waiting: RefCell<Option<Waker>>,
}

/// Bytes that the library has until they are written, or until it drops them. They have their memory until the last of
/// them is gone.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Bytes,
    counted: usize,
    of: Rc<OfStream>,
}

/// One stream has so much in hand at most, and reads so much at once.
pub(super) const STEP: usize = 64 * 1024;

/// What one connection may have in hand that it cannot get rid of: from here on it is sparing.
const CONNECTION_MOST: usize = 256 * 1024;

/// From so much on, all connections of a worker are sparing: each may have one step in hand, as one of HTTP/1.1 may.
const WORKER_MOST: usize = 8 * 1024 * 1024;

/// What a stream may read in any case when it has nothing in hand, so that its head, a first piece of its body, its end and
/// what comes after that need nobody else's room.
const LEAST_STEP: usize = 4 * 1024;

/// A connection that has left so much with the engine gets no more answers that come whole and are large.
const MOST_OFFERED: usize = 1024 * 1024;

/// From so many bytes of heads of requests under way on, a connection begins no more: each of them is kept until its answer
/// has begun.
const MOST_OF_HEADS: usize = 1024 * 1024;

/// From so many bytes of those on, of all connections of a worker, each of them has one request: HPACK makes a large head
/// of a few bytes.
const WORKER_MOST_OF_HEADS: usize = 8 * 1024 * 1024;

/// What a client may send of all requests of a connection before the app has got any of it.
pub(super) const CONNECTION_WINDOW: u32 = 1024 * 1024;

impl OfConnection {
    pub(super) fn new(worker: Rc<InHand>, seen: Rc<Seen>) -> Rc<Self> {
        let [handed, offered, heads, bodies] = std::array::from_fn(|_| Cell::default());
        Rc::new(Self { worker, handed, offered, heads, bodies, seen })
    }

    /// Whether another request can begin.
    pub(super) fn has_room_for_a_head(&self) -> bool {
        let worker_has_room = self.worker.heads.get() < WORKER_MOST_OF_HEADS;
        self.heads.get() < if worker_has_room { MOST_OF_HEADS } else { 1 }
    }

    /// Whether it is for the sake of others that there is none.
    pub(super) fn is_full_for_others(&self) -> bool {
        self.heads.get() < MOST_OF_HEADS
    }

    /// Whether the window that all requests of the connection share is open. The library opens it anew by halves.
    pub(super) fn may_send(&self) -> bool {
        self.bodies.get() < CONNECTION_WINDOW as usize / 2
    }

    pub(super) fn begin_head(&self, length: usize) {
        for heads in [&self.heads, &self.worker.heads] {
            heads.set(heads.get().saturating_add(length));
        }
    }

    pub(super) fn end_head(&self, length: usize) {
        for heads in [&self.heads, &self.worker.heads] {
            heads.set(heads.get().saturating_sub(length));
        }
    }

    /// Whether another answer may begin, which comes with so many bytes. The app's come in small steps by then; answers of
    /// our own come whole.
    pub(super) fn has_room_for_an_answer(&self, length: usize) -> bool {
        length <= 2 * LEAST_STEP || self.offered.get() < MOST_OFFERED
    }

    /// What has left is of no concern, and while the socket takes what it is given, what has been handed over is leaving.
    fn is_sparing(&self) -> bool {
        let stuck = self.offered.get() + if self.seen.held_up.get() { self.handed.get() } else { 0 };
        stuck >= CONNECTION_MOST || self.worker.answers.get() >= WORKER_MOST
    }
}

impl OfStream {
    pub(super) fn new(connection: Rc<OfConnection>) -> Rc<Self> {
        Rc::new(Self {
            connection,
            handed: Cell::default(),
            offered: Cell::default(),
            body: Cell::default(),
            has_taken: Cell::default(),
            waiting: RefCell::default(),
        })
    }

    /// How much is worth reading for this stream now. With 0, `cx` is woken when that has changed: what is behind this
    /// stream's own bytes could not leave before them anyway, so nobody waits for anybody else.
    pub(super) fn room(&self, cx: &Context<'_>) -> usize {
        let (handed, connection) = (self.handed.get(), &self.connection);
        let room = match (connection.is_sparing(), handed) {
            (false, _) if handed <= STEP / 2 => STEP - handed,
            (true, 0) => STEP.saturating_sub(connection.handed.get() + connection.offered.get()).max(LEAST_STEP),
            _ => 0,
        };
        if room == 0 {
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
        }
        room
    }

    /// Whether the client has taken something since this was last asked.
    pub(super) fn has_taken(&self) -> bool {
        self.has_taken.take()
    }

    /// Of so many bytes that the engine has, so many were taken. It may keep the room for all of them until the last is.
    pub(super) fn offer(&self, bytes: usize, taken: usize) {
        let before = self.offered.get();
        let now = if taken == bytes { 0 } else { before.max(bytes) };
        if now != before {
            self.offered.set(now);
            for count in [&self.connection.offered, &self.connection.worker.answers] {
                count.set(count.get().saturating_sub(before).saturating_add(now));
            }
        }
    }

    /// So much of the request's body has come.
    pub(super) fn take(&self, length: usize) {
        for bodies in [&self.body, &self.connection.bodies] {
            bodies.set(bodies.get() + length);
        }
    }

    /// So much of that goes on to the app, at most all of it.
    pub(super) fn give_away(&self, length: usize) {
        let length = length.min(self.body.get());
        for bodies in [&self.body, &self.connection.bodies] {
            bodies.set(bodies.get() - length);
        }
    }

    /// Bytes for the library. It is their memory that counts, which can be more than they are.
    pub(super) fn hand(self: &Rc<Self>, bytes: BytesMut) -> Held {
        let counted = bytes.capacity();
        for count in self.counts() {
            count.set(count.get().saturating_add(counted));
        }
        Held { counted, bytes: bytes.freeze(), of: self.clone() }
    }

    fn take_back(&self, bytes: usize) {
        for count in self.counts() {
            count.set(count.get().saturating_sub(bytes));
        }
        self.wake();
    }

    fn wake(&self) {
        let waiting = self.waiting.borrow_mut().take();
        waiting.into_iter().for_each(Waker::wake);
    }

    fn counts(&self) -> [&Cell<usize>; 3] {
        [&self.handed, &self.connection.handed, &self.connection.worker.answers]
    }
}

impl Buf for Held {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.of.has_taken.set(true);
        if self.bytes.is_empty() {
            self.of.take_back(std::mem::take(&mut self.counted));
        } else {
            self.of.wake();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.counted > 0 {
            self.of.take_back(self.counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Wake, Waker};

    use bytes::{Buf as _, BytesMut};

    use super::{CONNECTION_MOST, InHand, LEAST_STEP, OfConnection, OfStream, STEP, WORKER_MOST};

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn connection(worker: &Rc<InHand>) -> Rc<OfConnection> {
        OfConnection::new(worker.clone(), Rc::default())
    }

    fn bytes(length: usize) -> BytesMut {
        BytesMut::zeroed(length)
    }

    #[test]
    fn a_stream_waits_for_its_own_bytes_alone() {
        let connection = connection(&Rc::default());
        let (stream, other) = (OfStream::new(connection.clone()), OfStream::new(connection));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        assert_eq!(stream.room(&cx), STEP);
        let (mut first, second) = (stream.hand(bytes(STEP / 2)), stream.hand(bytes(STEP / 2)));
        assert_eq!((stream.room(&cx), other.room(&cx)), (0, STEP));
        first.advance(STEP / 2 - 1);
        assert_eq!((woken.0.load(SeqCst), stream.has_taken(), stream.has_taken()), (1, true, false));
        assert_eq!(stream.room(&cx), 0, "all of it has its memory still");
        first.advance(1);
        assert_eq!((woken.0.load(SeqCst), stream.room(&cx)), (2, STEP / 2));
        // A stream that the client takes back takes its bytes with it.
        let third = stream.hand(bytes(STEP / 2));
        assert_eq!(stream.room(&cx), 0);
        drop((first, second));
        assert_eq!((woken.0.load(SeqCst), stream.room(&cx)), (3, STEP / 2));
        drop(third);
        assert_eq!(stream.room(&cx), STEP);
    }

    #[test]
    fn a_full_worker_leaves_each_stream_a_step() {
        let worker: Rc<InHand> = Rc::default();
        let (cx, full, good) = (Context::from_waker(Waker::noop()), connection(&worker), connection(&worker));
        let hogs: Vec<_> = (0..WORKER_MOST / STEP).map(|_| OfStream::new(full.clone())).collect();
        hogs.iter().for_each(|hog| hog.offer(STEP, 0));
        let (late, stream, other) = (OfStream::new(full), OfStream::new(good.clone()), OfStream::new(good));
        assert_eq!(late.room(&cx), LEAST_STEP, "the connection has its step already");
        let held = stream.hand(bytes(1));
        assert_eq!((stream.room(&cx), other.room(&cx)), (0, STEP - 1), "a connection has a step");
        drop(held);
        assert_eq!(stream.room(&cx), STEP);
        hogs[0].offer(STEP, STEP);
        assert_eq!(stream.room(&cx), STEP, "the worker has room again");
        hogs.iter().for_each(|hog| hog.offer(0, 0));
        assert_eq!(worker.answers.get(), 0);
    }

    #[test]
    fn a_stuck_connection_is_sparing_alone() {
        let worker: Rc<InHand> = Rc::default();
        let (cx, stuck, good) = (Context::from_waker(Waker::noop()), connection(&worker), connection(&worker));
        let (stream, late, other) = (OfStream::new(stuck.clone()), OfStream::new(stuck.clone()), OfStream::new(good));
        let held = stream.hand(bytes(CONNECTION_MOST));
        assert_eq!(late.room(&cx), STEP, "what the socket takes is leaving");
        stuck.seen.held_up.set(true);
        assert_eq!((late.room(&cx), other.room(&cx)), (LEAST_STEP, STEP));
        drop(held);
        assert_eq!((late.room(&cx), worker.answers.get()), (STEP, 0));
    }
}
