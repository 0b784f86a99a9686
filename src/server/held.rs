use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// What a connection is busy with.
#[derive(Debug)]
pub(super) struct Work {
    /// Requests that are being answered.
    present: Cell<usize>,
    /// Those of them that wait for us, and not for a client that takes what there is.
    going: Cell<usize>,
    /// When something happened last: it came, a request began or ended to wait for us, its client took something.
    since: Cell<Instant>,
}

impl Default for Work {
    fn default() -> Self {
        Self { present: Cell::new(0), going: Cell::new(0), since: Cell::new(Instant::now()) }
    }
}

impl Work {
    /// Whether anything is being answered.
    pub(super) fn is_any(&self) -> bool {
        self.present.get() > 0
    }

    /// Whether anything waits for us.
    pub(super) fn is_going(&self) -> bool {
        self.going.get() > 0
    }

    /// When something happened last.
    pub(super) fn since(&self) -> Instant {
        self.since.get()
    }

    /// Something happens now.
    pub(super) fn touch(&self) {
        self.since.set(Instant::now());
    }
}

/// One of the requests that a connection is busy with, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    work: Rc<Work>,
    is_going: bool,
}

impl Busy {
    pub(super) fn new(work: Rc<Work>) -> Self {
        work.present.update(|count| count + 1);
        let mut busy = Self { work, is_going: false };
        busy.goes(true);
        busy
    }

    fn goes(&mut self, goes: bool) {
        if self.is_going == goes {
            return;
        }
        self.work.going.update(|count| if goes { count + 1 } else { count.saturating_sub(1) });
        self.work.touch();
        self.is_going = goes;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.goes(false);
        self.work.present.update(|count| count.saturating_sub(1));
    }
}

/// A body, and with it what keeps its connection going until it ends.
#[derive(Debug)]
pub(super) struct Held<B> {
    body: B,
    busy: Option<Busy>,
}

impl<B> Held<B> {
    pub(super) fn new(body: B, busy: Option<Busy>) -> Self {
        Self { body, busy }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(busy) = &mut this.busy {
            // Who is not asked for more waits for a client.
            busy.goes(polled.is_pending());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
