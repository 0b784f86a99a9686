use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Seen;

/// A client's byte stream as the library has it: first what was read already. It stays ours, so that a connection that the
/// library has given up can still be read from for a moment.
pub(super) struct Shared<S> {
    first: Vec<u8>,
    read: usize,
    stream: Rc<RefCell<S>>,
    seen: Rc<Seen>,
}

impl<S> Shared<S> {
    pub(super) fn new(stream: Rc<RefCell<S>>, first: Vec<u8>, seen: Rc<Seen>) -> Self {
        seen.frames.borrow_mut().read(&first);
        Self { first, read: 0, stream, seen }
    }

    /// Writes down what became of a write.
    fn note(&self, polled: &Poll<io::Result<usize>>, slices: &[io::IoSlice<'_>]) {
        self.seen.held_up.set(polled.is_pending());
        let Poll::Ready(Ok(mut left)) = *polled else { return };
        let mut refusals = self.seen.refusals.borrow_mut();
        for slice in slices {
            let length = slice.len().min(left);
            refusals.read(&slice[..length]);
            left -= length;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Shared<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.first[this.read..];
        if rest.is_empty() {
            if !this.seen.ended.get() {
                let Some(reads_left) = this.seen.reads_left.get().checked_sub(1) else {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                };
                this.seen.reads_left.set(reads_left);
                let before = buffer.filled().len();
                let polled = Pin::new(&mut *this.stream.borrow_mut()).poll_read(cx, buffer);
                let came = &buffer.filled()[before..];
                if polled.is_pending() || !came.is_empty() {
                    this.seen.frames.borrow_mut().read(came);
                    return polled;
                }
                // However it ended.
                this.seen.ended.set(true);
            }
            // The session asks once more when it has taken what came before the end.
            return if this.seen.told.get() { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        this.read += length;
        if this.read == this.first.len() {
            (this.first, this.read) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shared<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes);
        self.note(&polled, &[io::IoSlice::new(bytes)]);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices);
        self.note(&polled, slices);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Under TLS it is only here that the socket says so.
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        self.seen.held_up.set(polled.is_pending());
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::{AsyncRead as _, Context, Pin, Rc, ReadBuf, RefCell, Seen, Shared};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_client_that_sends_without_end_has_its_turns() {
        let (seen, endless) = (Rc::<Seen>::default(), Rc::new(RefCell::new(tokio::io::repeat(0))));
        let mut shared = Shared::new(endless, Vec::new(), seen.clone());
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        let mut reads = |turn: usize| {
            seen.reads_left.set(turn);
            let mut bytes = [0; 64];
            let mut read = || Pin::new(&mut shared).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes));
            std::iter::repeat_with(|| read().is_ready()).take_while(|is_ready| *is_ready).count()
        };
        assert_eq!((reads(2), reads(3)), (2, 3));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "it comes again by itself");
    }
}
