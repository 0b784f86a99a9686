//! Bytes from and to a TCP socket, by the kernel's own calls.
//!
//! Those of the C library are places at which a thread can be cancelled (`pthreads(7)`); to say so costs it two locked
//! instructions for each, in a program that cancels no thread.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

/// As [`AsyncRead::poll_read`](tokio::io::AsyncRead::poll_read) of the socket itself.
///
/// # Errors
/// Those of recv(2).
pub fn poll_read(stream: &TcpStream, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let room = buffer.initialize_unfilled();
        let length = room.len();
        if let Some(read) = once(stream, Interest::READABLE, length, || Ok(recv(stream, room, RecvFlags::empty())?.1)) {
            return Poll::Ready(read.map(|length| buffer.advance(length)));
        }
    }
}

/// As [`AsyncWrite::poll_write`](tokio::io::AsyncWrite::poll_write) of the socket itself.
///
/// # Errors
/// Those of send(2).
pub fn poll_write(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let length = bytes.len();
        if let Some(written) =
            once(stream, Interest::WRITABLE, length, || Ok(send(stream, bytes, SendFlags::NOSIGNAL)?))
        {
            return Poll::Ready(written);
        }
    }
}

/// Does it if the socket is ready, as far as is known. Fewer bytes than were asked for say that it is not any more, without
/// another system call to learn that (epoll(7), question 9).
fn once(
    stream: &TcpStream,
    interest: Interest,
    asked: usize,
    call: impl FnOnce() -> io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut some = None;
    let done = stream.try_io(interest, || {
        let length = call()?;
        if (1..asked).contains(&length) {
            some = Some(length);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(length)
    });
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => some.map(Ok),
        done => Some(done),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    /// Longer than anything here takes that is not waited for in vain.
    const LONG: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let here = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        (here, listener.accept().await.expect("accepted").0)
    }

    async fn read(stream: &TcpStream, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = poll_fn(|cx| poll_read(stream, cx, &mut buffer));
        timeout(LONG, read).await.expect("woken").expect("read");
        buffer.filled().to_vec()
    }

    #[tokio::test]
    async fn whatever_comes_is_read_in_whatever_pieces() {
        let (here, mut there) = pair().await;
        for most in [2, 3, 64] {
            let mut read_so_far = Vec::new();
            for piece in ["a", "bc", "def"] {
                there.write_all(piece.as_bytes()).await.expect("written");
                let expected = read_so_far.len() + piece.len();
                // Each read that fills its buffer leaves something to be read at once.
                while read_so_far.len() < expected {
                    read_so_far.extend(read(&here, most).await);
                }
            }
            assert_eq!(read_so_far, b"abcdef", "at most {most} at once");
        }
    }

    #[tokio::test]
    async fn the_end_is_read_behind_what_came_with_it() {
        let (here, mut there) = pair().await;
        there.write_all(b"last").await.expect("written");
        there.shutdown().await.expect("ended");
        assert_eq!(read(&here, 64).await, b"last");
        assert_eq!(read(&here, 64).await, b"");
        assert_eq!(read(&here, 64).await, b"", "and again");
    }

    #[tokio::test]
    async fn who_finds_nothing_is_woken_when_something_comes() {
        let (here, mut there) = pair().await;
        let (found, written) = tokio::join!(read(&here, 64), there.write_all(b"late"));
        written.expect("written");
        assert_eq!(found, b"late");
    }

    #[tokio::test]
    async fn what_the_other_side_does_not_take_is_written_when_it_does() {
        let (here, mut there) = pair().await;
        let all = vec![b'x'; 32 * 1024 * 1024];
        let mut written = 0;
        // Until nothing more goes in.
        let full = poll_fn(|cx| {
            while written < all.len() {
                match poll_write(&here, cx, &all[written..]) {
                    Poll::Ready(length) => written += length.expect("written"),
                    Poll::Pending => return Poll::Ready(true),
                }
            }
            Poll::Ready(false)
        });
        assert!(full.await, "no kernel takes so much");
        let rest = async {
            while written < all.len() {
                written += poll_fn(|cx| poll_write(&here, cx, &all[written..])).await.expect("written");
            }
            drop(here);
        };
        let mut came = Vec::new();
        let (_, read) = timeout(LONG, async { tokio::join!(rest, there.read_to_end(&mut came)) }).await.expect("done");
        assert_eq!(read.expect("read"), 32 * 1024 * 1024);
    }

    #[tokio::test]
    async fn an_error_is_told_and_not_waited_for() {
        let (here, there) = pair().await;
        socket2::SockRef::from(&there).set_linger(Some(Duration::ZERO)).expect("lingers");
        drop(there);
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = timeout(LONG, poll_fn(|cx| poll_read(&here, cx, &mut buffer))).await.expect("woken");
        assert_eq!(read.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
        let written = timeout(LONG, poll_fn(|cx| poll_write(&here, cx, b"x"))).await.expect("ready");
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
    }
}
