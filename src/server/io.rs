use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;

use super::Channel;
use super::crowd::Guest;
use super::held::Work;
use super::secure::Secure;
use crate::drain::Seat;
use crate::signs::shows;
use crate::tcp;
use crate::traffic::Shard;
use crate::unsent;

/// A client's byte stream.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, so that a plain connection stays small.
    Tls(Box<Secure>),
}

impl Stream {
    /// Looks at what has come, without taking it off.
    pub(super) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.async_io(Interest::READABLE, || peek(stream, buffer)).await,
            Self::Unix(stream) => stream.async_io(Interest::READABLE, || peek(stream, buffer)).await,
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the socket shows any of these signs at this moment.
    pub(super) fn shows(&self, signs: PollFlags) -> bool {
        match self {
            Self::Tcp(stream) => shows(stream, signs),
            Self::Unix(stream) => shows(stream, signs),
            Self::Tls(stream) => stream.shows(signs),
        }
    }

    /// Whether the client has all that was written. What was written to a Unix socket is with the client at once.
    pub(super) fn has_arrived(&self) -> bool {
        match self {
            Self::Tcp(stream) => unsent::has_arrived(stream),
            Self::Unix(_) => true,
            Self::Tls(stream) => stream.has_arrived(),
        }
    }

    /// Makes the coming close a reset, or an ordinary one again.
    pub(super) fn reset_on_close(&self, reset: bool) {
        match self {
            // Fails only on a socket that is already dead.
            Self::Tcp(stream) => {
                let _ = socket2::SockRef::from(stream).set_linger(reset.then_some(std::time::Duration::ZERO));
            }
            Self::Unix(_) => {}
            Self::Tls(stream) => stream.reset_on_close(reset),
        }
    }
}

fn peek(stream: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream, buffer, RecvFlags::PEEK)?.1)
}

/// A client's byte stream with everything that must be given back when it closes.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
    _seat: Seat,
    /// Its place among those of its listener that can be closed for newcomers; boxed, as most have none.
    guest: Option<Box<Guest>>,
}

impl Io {
    pub(super) fn new(
        stream: Stream,
        counted: Counted,
        permit: OwnedSemaphorePermit,
        seat: Seat,
        guest: Option<Guest>,
    ) -> Self {
        Self { stream, _counted: counted, _permit: permit, _seat: seat, guest: guest.map(Box::new) }
    }

    /// What is going on here, for whoever has to choose whom to close.
    pub(super) fn work(&self) -> Rc<Work> {
        self.guest.as_ref().map(|guest| guest.work.clone()).unwrap_or_default()
    }

    /// Passes on what became of a write: a client that takes something is not idle.
    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Some(guest) = &self.guest
            && polled.is_ready()
        {
            guest.work.touch();
        }
        polled
    }

    /// Makes the coming close a reset, or an ordinary one again.
    pub fn reset_on_close(&self, reset: bool) {
        self.stream.reset_on_close(reset);
    }

    /// The socket, if nothing stands between it and the client.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        if let Stream::Tcp(stream) = &self.stream { Some(stream) } else { None }
    }

    /// Whether the client has ended its side or reset the connection, whatever of it is still to be read.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.stream.shows(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the client has reset the connection, whatever of it is still to be read.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.stream.shows(PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the client has all that was written, as far as the kernel knows. Nothing more is to be written then.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.stream.has_arrived()
    }

    /// Whether a part of what could not be written yet is under way all the same.
    #[must_use]
    pub fn owes(&self) -> bool {
        if let Stream::Tls(stream) = &self.stream { stream.owes() } else { false }
    }

    /// The user at the other end of a Unix socket, as the kernel knows it.
    pub(super) fn user(&self) -> Option<u32> {
        match &self.stream {
            Stream::Unix(stream) => stream.peer_cred().ok().map(|peer| peer.uid()),
            Stream::Tcp(_) | Stream::Tls(_) => None,
        }
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The same under TLS.
    pub(super) async fn secure(self, accept: impl AsyncFnOnce(Stream) -> io::Result<Secure>) -> io::Result<Self> {
        Ok(Self { stream: Stream::Tls(Box::new(accept(self.stream).await?)), ..self })
    }

    /// Whether the client showed a certificate that was verified.
    pub(super) fn is_certified(&self) -> bool {
        if let Stream::Tls(stream) = &self.stream { stream.is_certified() } else { false }
    }

    pub(super) fn channel(&self) -> Channel {
        match &self.stream {
            Stream::Tcp(_) | Stream::Unix(_) => Channel::Plain,
            Stream::Tls(stream) => Channel::Tls { http2: stream.is_http2() },
        }
    }
}

/// Keeps the gauge of open connections.
#[derive(Debug)]
pub(super) struct Counted(Arc<Shard>);

impl Counted {
    pub(super) fn new(shard: Arc<Shard>) -> Self {
        shard.connections.add(1);
        Self(shard)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.sub(1);
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => tcp::poll_read(stream, cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => tcp::poll_write(stream, cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
