use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::trouble::{Kind, Trouble};
use super::{Address, Place};
use crate::loopback::connect_unix;
use crate::tls::Client;

/// A byte stream to a server.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Connects, in plain text so far.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Stream>, Trouble> {
    let connected = match &address.place {
        Place::Tcp(host, port) => TcpStream::connect((host.as_str(), *port)).await.and_then(|stream| {
            // Each statement waits for its answer.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }),
        Place::Path(path) => connect_unix(path).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
    };
    connected.map_err(|error| Trouble::connecting(&error))
}

/// Shakes hands. A Unix socket needs no TLS: nobody is in between.
pub(super) async fn secure(
    stream: Box<dyn Stream>,
    address: &Address,
    tls: &Client,
) -> Result<Box<dyn Stream>, Trouble> {
    let Place::Tcp(host, _) = &address.place else { return Ok(stream) };
    let stream = tls.connect(host, stream, false).await.map_err(|error| Trouble::new(Kind::Tls, error))?;
    Ok(Box::new(stream))
}

/// What a server may still send.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// In bytes.
    left: AtomicU64,
    exceeded: AtomicBool,
}

impl Allowance {
    /// What one run reads at most: far more than checks need, and nothing that hurts in memory.
    const RUN: u64 = 4 << 20;

    /// A run begins.
    pub(super) fn renew(&self) {
        self.left.store(Self::RUN, Ordering::Relaxed);
        self.exceeded.store(false, Ordering::Relaxed);
    }

    /// Whether more came than is looked at, or was announced.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Takes in bytes that came, and what they announce.
    fn take(&self, came: u64, announced: u64) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        if came.max(announced) > left {
            self.exceeded.store(true, Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sends more than is looked at"));
        }
        self.left.store(left - came, Ordering::Relaxed);
        Ok(())
    }
}

/// A stream of which no more is read than is allowed: clients collect whole messages, however large.
#[derive(Debug)]
pub(super) struct Metered<S> {
    inner: S,
    allowance: Arc<Allowance>,
    /// Where in PostgreSQL's messages the stream is, if it is one of those.
    messages: Option<Messages>,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S, allowance: Arc<Allowance>) -> Self {
        Self { inner, allowance, messages: None }
    }

    /// Also looks at the lengths that PostgreSQL's messages announce: its client makes room for all of one at once.
    pub(super) fn of_messages(inner: S, allowance: Arc<Allowance>) -> Self {
        Self { inner, allowance, messages: Some(Messages::default()) }
    }
}

/// Follows PostgreSQL's messages: a byte for the type, four for the length of the rest, these four included.
#[derive(Debug, Default)]
struct Messages {
    head: Vec<u8>,
    body: u64,
}

impl Messages {
    /// Takes in bytes as they come; the longest message that they announce.
    fn longest(&mut self, mut bytes: &[u8]) -> u64 {
        let mut longest = 0;
        while !bytes.is_empty() {
            let skipped = self.body.min(bytes.len() as u64);
            self.body -= skipped;
            bytes = &bytes[skipped as usize..];
            let taken = (5 - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [_, a, b, c, d] = self.head[..] {
                let length = u32::from_be_bytes([a, b, c, d]);
                longest = longest.max(u64::from(length));
                self.body = u64::from(length).saturating_sub(4);
                self.head.clear();
            }
        }
        longest
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, into))?;
        let came = &into.filled()[before..];
        let announced = self.messages.as_mut().map_or(0, |messages| messages.longest(came));
        let taken = self.allowance.take(came.len() as u64, announced);
        if taken.is_err() {
            into.set_filled(before);
        }
        Poll::Ready(taken)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn message(length: u32, body: usize) -> Vec<u8> {
        let mut bytes = vec![b'D'];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(5 + body, b'x');
        bytes
    }

    async fn read_all(bytes: &[u8], messages: bool) -> io::Result<usize> {
        let allowance = Arc::new(Allowance::default());
        allowance.renew();
        let stream = tokio::io::join(bytes, tokio::io::sink());
        let mut metered = match messages {
            true => Metered::of_messages(stream, allowance.clone()),
            false => Metered::new(stream, allowance.clone()),
        };
        let mut all = Vec::new();
        let read = metered.read_to_end(&mut all).await;
        assert_eq!(read.is_err(), allowance.is_exceeded());
        read
    }

    #[tokio::test]
    async fn no_more_is_read_than_is_allowed() {
        let most = vec![0; Allowance::RUN as usize];
        assert_eq!(read_all(&most, false).await.expect("allowed"), most.len());
        assert!(read_all(&vec![0; most.len() + 1], false).await.is_err());
    }

    #[tokio::test]
    async fn a_message_that_announces_too_much_is_refused_at_once() {
        let mut bytes = message(104, 100);
        bytes.extend(message(4, 0));
        assert!(read_all(&bytes, true).await.is_ok());
        bytes.extend(message(u32::MAX, 10));
        assert!(read_all(&bytes, true).await.is_err());
        assert!(read_all(b"HTTP/1.1 400 Bad Request\r\n\r\n", true).await.is_err());
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut bytes = message(104, 100);
        bytes.extend(message(7, 3));
        bytes.extend(message(999, 5));
        for size in 1..bytes.len() {
            let mut messages = Messages::default();
            let longest = bytes.chunks(size).map(|chunk| messages.longest(chunk)).max();
            assert_eq!(longest, Some(999), "in parts of {size}");
        }
    }
}
