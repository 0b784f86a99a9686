use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::channel::Channel;
use super::stream::Http2Stream;

/// A worker's HTTP/2 connections to the app: one, as long as its streams are enough.
#[derive(Debug)]
pub(in super::super) struct Channels {
    open: RefCell<Vec<Rc<Channel>>>,
    /// Who connects; the others wait for what comes of it.
    turn: Semaphore,
    /// So many have connected, and wait for the app's greeting.
    greeting: Cell<usize>,
}

impl Default for Channels {
    fn default() -> Self {
        Self { open: RefCell::default(), turn: Semaphore::new(1), greeting: Cell::new(0) }
    }
}

impl Channels {
    /// A stream on a connection that is there, and whether that has served before.
    pub(in super::super) fn stream(&self) -> Option<(Http2Stream, bool)> {
        let mut open = self.open.borrow_mut();
        if open.iter().any(|channel| channel.is_useless()) {
            // Its last streams hold it.
            open.retain(|channel| !channel.is_useless());
        }
        open.iter().find_map(|channel| Some((Http2Stream::new(channel.place()?), channel.has_served())))
    }

    /// One at a time may connect: when many requests come at once, one connection is enough for them.
    pub(in super::super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// One more connection, with a stream on it; `None` if the app allows none at present.
    pub(in super::super) fn add(&self, channel: Rc<Channel>) -> Option<Http2Stream> {
        let stream = channel.place().map(Http2Stream::new);
        self.open.borrow_mut().push(channel);
        stream
    }

    /// Whether the app takes no streams at present on a connection that lives on.
    pub(in super::super) fn takes_none(&self) -> bool {
        self.open.borrow().iter().any(|channel| channel.takes_none())
    }

    /// A connection has been made; until this is dropped, the app's greeting is waited for.
    pub(in super::super) fn greeting(&self) -> impl Drop {
        self.greeting.update(|count| count + 1);
        Greeted(&self.greeting)
    }

    /// Whether the app's greeting is waited for.
    pub(in super::super) fn is_greeting(&self) -> bool {
        self.greeting.get() > 0
    }

    /// Closes what is too old, and asks the others whether they are still there.
    pub(in super::super) fn sweep(&self, now: Instant) {
        self.open.borrow_mut().retain(|channel| channel.sweep(now));
    }

    /// Forgets all; those with streams end with them.
    pub(in super::super) fn clear(&self) {
        let forgotten = std::mem::take(&mut *self.open.borrow_mut());
        drop(forgotten);
    }
}

struct Greeted<'a>(&'a Cell<usize>);

impl Drop for Greeted<'_> {
    fn drop(&mut self) {
        self.0.update(|count| count - 1);
    }
}
