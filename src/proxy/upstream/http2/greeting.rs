use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::stream::AppStream;

/// A connection of which the first bytes are looked at: they must be a SETTINGS frame (RFC 9113 section 3.4), or the app
/// does not speak HTTP/2. And of which the end is kept back for a moment: the library forgets with it that an answer was
/// complete, if nobody has looked yet.
#[derive(Debug)]
pub(super) struct Greeting {
    io: AppStream,
    seen: Rc<Seen>,
    /// The app takes no more.
    broken: bool,
    /// It has said something since anybody had a turn.
    spoke: bool,
    /// How it ended, until that is told.
    end: Option<io::Result<()>>,
}

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    begun: Cell<u8>,
    verdict: Cell<Option<bool>>,
    reads: Cell<u64>,
}

/// Where the type of the first frame stands, and which it must be (RFC 9113 sections 4.1 and 6.5).
const TYPE_AT: u8 = 3;
const SETTINGS: u8 = 4;

impl Seen {
    /// Whether the app has greeted as it must; `None`: not yet.
    pub(super) fn verdict(&self) -> Option<bool> {
        self.verdict.get()
    }

    /// Changes whenever something comes.
    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Whether anything came at all.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.get() > 0
    }

    fn look(&self, bytes: &[u8]) {
        self.reads.set(self.reads.get().wrapping_add(1));
        if self.verdict.get().is_some() {
            return;
        }
        let begun = self.begun.get();
        if let Some(kind) = bytes.get(usize::from(TYPE_AT - begun)) {
            self.verdict.set(Some(*kind == SETTINGS));
        }
        self.begun.set(begun + bytes.len().min(usize::from(TYPE_AT - begun)) as u8);
    }
}

impl Greeting {
    pub(super) fn new(io: AppStream, seen: Rc<Seen>) -> Self {
        Self { io, seen, broken: false, spoke: false, end: None }
    }
}

impl AsyncRead for Greeting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        if buffer.filled().len() == before {
            if !std::mem::take(&mut self.spoke) {
                return Poll::Ready(read);
            }
            self.end = Some(read);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.spoke = true;
        self.seen.look(&buffer.filled()[before..]);
        if self.seen.verdict() == Some(false) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeting {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    /// The library reads no more from whom it cannot write to. But an app may refuse a body by answering and closing, and
    /// its answer is there to be read, as is the end after it.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.broken {
            match ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts)) {
                Ok(written @ 1..) => return Poll::Ready(Ok(written)),
                _ => self.broken = true,
            }
        }
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn the_first_frame_must_be_settings_however_it_is_cut() {
        for cut in 1..9 {
            for (bytes, verdict) in
                [(b"\0\0\x06\x04\0\0\0\0\0", true), (b"HTTP/1.1 ", false), (b"\0\0\x08\x06\0\0\0\0\0", false)]
            {
                let seen = Seen::default();
                assert!(!seen.has_begun());
                bytes.chunks(cut).for_each(|part| seen.look(part));
                assert_eq!(seen.verdict(), Some(verdict), "{bytes:?} in pieces of {cut}");
                assert!(seen.has_begun());
            }
        }
    }
}
