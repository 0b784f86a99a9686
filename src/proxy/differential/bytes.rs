use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// A connection of which all that will be read is known, and what is written is forgotten.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    pub(super) input: Vec<u8>,
    pub(super) read: usize,
    /// Nothing is read before something was written: an answer comes after its request.
    pub(super) after_write: bool,
    /// Whether the end of the input is the end of the connection; until then it waits.
    pub(super) ends: std::rc::Rc<std::cell::Cell<bool>>,
}

impl Read for Bytes {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.after_write {
            return Poll::Pending;
        }
        let left = self.input.len() - self.read;
        if left == 0 && !self.ends.get() {
            return Poll::Pending;
        }
        let length = left.min(buffer.remaining());
        buffer.put_slice(&self.input[self.read..self.read + length]);
        self.read += length;
        Poll::Ready(Ok(()))
    }
}

impl Write for Bytes {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.after_write = false;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
