use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What every connection of HTTP/2 begins with (RFC 9113 section 3.4); no request of HTTP/1.1 does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A byte stream of which something was read already.
#[derive(Debug)]
pub(super) struct Begun<S> {
    first: Vec<u8>,
    read: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Reads until it is clear what is spoken; by prior knowledge, HTTP/2 needs no word about it.
    pub(super) async fn look(mut stream: S) -> io::Result<(Protocol, Self)> {
        let mut first = vec![0; PREFACE.len()];
        let mut length = 0;
        while length < PREFACE.len() && PREFACE.starts_with(&first[..length]) {
            match stream.read(&mut first[length..]).await? {
                0 => break,
                more => length += more,
            }
        }
        first.truncate(length);
        let protocol = if first == PREFACE { Protocol::Http2 } else { Protocol::Http1 };
        Ok((protocol, Self { first, read: 0, stream }))
    }

    /// What was agreed on before.
    pub(super) fn agreed(stream: S) -> Self {
        Self { first: Vec::new(), read: 0, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.first[this.read..];
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        this.read += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::{Begun, PREFACE, Protocol};

    #[tokio::test]
    async fn the_preface_alone_is_http_2_and_nothing_is_lost() {
        let preface = [PREFACE, b"and frames"].concat();
        for (bytes, expected) in [
            (&preface[..], Protocol::Http2),
            (b"GET / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"POST / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Protocol::Http1),
            (b"PRI / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"P", Protocol::Http1),
            (b"", Protocol::Http1),
        ] {
            for piece in [1, 7, 100] {
                let (mut client, server) = duplex(256);
                let (seen, ()) = tokio::join!(Begun::look(server), async {
                    for piece in bytes.chunks(piece) {
                        client.write_all(piece).await.expect("written");
                        tokio::task::yield_now().await;
                    }
                    drop(client);
                });
                let (protocol, mut begun) = seen.expect("readable");
                let mut all = Vec::new();
                begun.read_to_end(&mut all).await.expect("readable");
                assert_eq!((protocol, &all[..]), (expected, bytes), "in pieces of {piece}");
            }
        }
    }
}
