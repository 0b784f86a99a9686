use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::event::PollFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::http2::Http2Stream;
use crate::signs::shows;
use crate::tcp;

/// A byte stream to the app.
#[derive(Debug)]
pub(in crate::proxy) enum AppStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// One of many on a connection.
    Http2(Box<Http2Stream>),
}

impl AppStream {
    /// The socket, if what is read from it is what the app writes.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        if let Self::Tcp(stream) = self { Some(stream) } else { None }
    }

    /// Looks after an answer that the client does not take at present.
    pub(in crate::proxy) fn absorb(&mut self, cx: &mut Context<'_>) {
        if let Self::Http2(stream) = self {
            stream.absorb(cx);
        }
    }

    /// Says that all has been said (RFC 8446 section 6.1), before a connection is closed on which nothing is under way. What
    /// is cut short must not look like that. As far as the kernel takes it.
    pub(super) fn farewell(&mut self) {
        if let Self::Tls(stream) = self {
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Whether nothing has come on an idle connection, not even its end. Costs a system call only if something has.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        // Without a waker to be registered and replaced again.
        if let Self::Tcp(stream) = self {
            return stream.try_read(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        }
        let mut buffer = ReadBuf::new(&mut byte);
        Pin::new(self).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer).is_pending()
    }

    /// Whether the app has closed an idle connection, as the kernel knows it at this moment. Bytes that nobody asked for are no
    /// better than an end.
    pub(super) fn has_ended(&self) -> bool {
        self.shows(PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the other side has reset it; whoever reads learns that afterwards all the same.
    pub(super) fn was_reset(&self) -> bool {
        self.shows(PollFlags::ERR)
    }

    fn shows(&self, signs: PollFlags) -> bool {
        match self {
            Self::Tcp(stream) => shows(stream, signs),
            Self::Unix(stream) => shows(stream, signs),
            Self::Tls(stream) => shows(stream.get_ref().0, signs),
            // Never kept; its connection is looked after elsewhere.
            Self::Http2(_) => false,
        }
    }
}

impl AsyncRead for AppStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => tcp::poll_read(stream, cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => {
                let polled = Pin::new(&mut *stream).poll_read(cx, buffer);
                // What was written may still be in the session, and what was read may want an answer of its own, such as the
                // alert that refuses a renegotiation (RFC 5246 section 7.2.2): nobody else comes back for it. Where the app
                // takes no more, reading fails as well, after what it may have said before.
                if stream.get_ref().1.wants_write() {
                    let _ = Pin::new(stream).poll_flush(cx);
                }
                polled
            }
            Self::Http2(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => tcp::poll_write(stream, cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Http2(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            other => {
                let first = parts.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
                Pin::new(other).poll_write(cx, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Http2(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
