use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use rustix::event::PollFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::io::Stream;

/// A client's byte stream under TLS. What is written counts as written once the kernel has all of it, as on a plain
/// socket: nobody has to flush.
#[derive(Debug)]
pub(super) struct Secure {
    stream: TlsStream<Stream>,
    /// So many bytes of the caller's are encrypted and not all with the kernel: told when they are.
    owed: usize,
    /// The client is to see a cut, so no proper end is sent.
    cut: Cell<bool>,
}

impl Secure {
    pub(super) fn new(stream: TlsStream<Stream>) -> Self {
        Self { stream, owed: 0, cut: Cell::new(false) }
    }

    /// Whether HTTP/2 was agreed on (RFC 9113 section 3.2).
    pub(super) fn is_http2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    /// Whether the client showed a certificate. It was verified then.
    pub(super) fn is_certified(&self) -> bool {
        self.stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty())
    }

    pub(super) fn owes(&self) -> bool {
        self.owed > 0
    }

    pub(super) fn shows(&self, signs: PollFlags) -> bool {
        self.stream.get_ref().0.shows(signs)
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.stream.get_ref().0.has_arrived()
    }

    pub(super) fn reset_on_close(&self, reset: bool) {
        self.cut.set(reset);
        self.stream.get_ref().0.reset_on_close(reset);
    }
}

impl Drop for Secure {
    /// A client can tell a proper end from a cut only if we say so (RFC 8446 section 6.1). As far as the kernel takes it.
    fn drop(&mut self) {
        if !self.cut.get() {
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl AsyncRead for Secure {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.get_mut().stream;
        let polled = Pin::new(&mut *stream).poll_read(cx, buffer);
        // What was read may want an answer of the session itself, such as the alert that refuses a renegotiation (RFC 5246
        // section 7.2.2): nobody else comes to write it. Whoever reads again learns of an error.
        if stream.get_ref().1.wants_write() {
            let _ = Pin::new(stream).poll_flush(cx);
        }
        polled
    }
}

impl AsyncWrite for Secure {
    /// Called again with the same bytes after it was not ready, as every caller of ours does.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.owed == 0 {
            this.owed = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut this.owed)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
