use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::ClientStream;
use super::exchange::{CLIENT_CLOSED, Exchange};
use super::relay::GLANCE;
use super::timer::Timer;
use crate::clock;
use crate::traffic::Failure;

/// The answer that begins a tunnel.
const SWITCHING_PROTOCOLS: u16 = 101;

/// How much is read at once, and held for a side that does not take it.
const CHUNK: usize = 16 * 1024;

/// Passes bytes both ways until one side ends and the other has been told, or nothing moves for too long. What each side
/// has sent already goes first. Tells what broke, if something did.
pub(super) async fn tunnel<C: ClientStream, A: AsyncRead + AsyncWrite>(
    client: &mut C,
    mut app: Pin<&mut A>,
    (from_client, from_app): (Vec<u8>, Vec<u8>),
    exchange: &mut Exchange,
    scratch: &RefCell<Box<[u8]>>,
    silence: Duration,
) -> Option<Failure> {
    let (mut up, mut down) = (Way::new(from_client), Way::new(from_app));
    let (mut timer, mut moved, mut glanced) = (Timer::default(), clock::turn(), None);
    let failure = std::future::poll_fn(|cx| {
        let mut scratch = scratch.borrow_mut();
        let chunk = &mut scratch[..CHUNK];
        // Each direction ends by itself, because half-closed is a state of its own; what breaks ends both.
        match up.poll(cx, Pin::new(client), app.as_mut(), chunk, |bytes| exchange.receive(bytes)) {
            Ok(more) => moved = if more { clock::turn() } else { moved },
            Err(Side::Read) => return Poll::Ready(Some(Failure::ClientClosed)),
            Err(Side::Write) => return Poll::Ready(Some(Failure::UpstreamReset)),
        }
        match down.poll(cx, app.as_mut(), Pin::new(client), chunk, |bytes| exchange.send(bytes)) {
            Ok(more) => moved = if more { clock::turn() } else { moved },
            Err(Side::Read) => return Poll::Ready(Some(Failure::UpstreamReset)),
            Err(Side::Write) => return Poll::Ready(Some(Failure::ClientClosed)),
        }
        if up.is_done && down.is_done {
            return Poll::Ready(None);
        }
        loop {
            let end = (!silence.is_zero()).then(|| moved + silence);
            // Nothing is read from the client until the app has taken what it sent: its reset is there to be seen all the same.
            let glance = (!up.held.is_empty()).then(|| glanced.unwrap_or(moved) + GLANCE);
            if timer.poll(cx, end.into_iter().chain(glance).min()).is_pending() {
                return Poll::Pending;
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Poll::Ready(Some(Failure::UpstreamTimeout));
            }
            glanced = Some(Instant::now());
            if client.is_broken() {
                return Poll::Ready(Some(Failure::ClientClosed));
            }
        }
    })
    .await;
    let code = if failure == Some(Failure::ClientClosed) { CLIENT_CLOSED } else { SWITCHING_PROTOCOLS };
    exchange.end(code, failure);
    failure
}

/// Which end of a way broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Read,
    Write,
}

/// One of the two directions. It has memory of its own only for what the other side does not take.
#[derive(Debug)]
struct Way {
    held: Vec<u8>,
    /// So much of it has been taken.
    written: usize,
    /// Nothing more comes.
    has_ended: bool,
    /// And the other side has been told.
    is_done: bool,
}

impl Way {
    fn new(held: Vec<u8>) -> Self {
        Self { held, written: 0, has_ended: false, is_done: false }
    }

    /// Passes on what can be passed on; tells whether anything moved.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut (impl AsyncRead + ?Sized)>,
        mut to: Pin<&mut (impl AsyncWrite + ?Sized)>,
        chunk: &mut [u8],
        mut count: impl FnMut(u64),
    ) -> Result<bool, Side> {
        let mut moved = false;
        loop {
            while self.written < self.held.len() {
                let Some(taken) = write(to.as_mut(), cx, &self.held[self.written..])? else { return Ok(moved) };
                count(taken as u64);
                self.written += taken;
                moved = true;
            }
            (self.held, self.written) = (Vec::new(), 0);
            if self.is_done {
                return Ok(moved);
            }
            if self.has_ended {
                match to.poll_shutdown(cx) {
                    Poll::Pending => return Ok(moved),
                    Poll::Ready(ended) => ended.map_err(|_| Side::Write)?,
                }
                self.is_done = true;
                return Ok(true);
            }
            let mut buffer = ReadBuf::new(chunk);
            match from.as_mut().poll_read(cx, &mut buffer) {
                Poll::Pending => return flush(to, cx).map(|()| moved),
                Poll::Ready(read) => read.map_err(|_| Side::Read)?,
            }
            moved = true;
            let bytes = buffer.filled();
            self.has_ended = bytes.is_empty();
            if !bytes.is_empty() {
                let taken = write(to.as_mut(), cx, bytes)?.unwrap_or(0);
                count(taken as u64);
                self.held.extend_from_slice(&bytes[taken..]);
            }
        }
    }
}

/// How much of it is taken, if anything is at present.
fn write(to: Pin<&mut (impl AsyncWrite + ?Sized)>, cx: &mut Context<'_>, bytes: &[u8]) -> Result<Option<usize>, Side> {
    match to.poll_write(cx, bytes) {
        Poll::Ready(Ok(taken @ 1..)) => Ok(Some(taken)),
        Poll::Ready(_) => Err(Side::Write),
        Poll::Pending => Ok(None),
    }
}

/// What TLS has taken may not be with the kernel yet.
fn flush(to: Pin<&mut (impl AsyncWrite + ?Sized)>, cx: &mut Context<'_>) -> Result<(), Side> {
    match to.poll_flush(cx) {
        Poll::Ready(Err::<(), io::Error>(_)) => Err(Side::Write),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn moves(way: &mut Way, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> (bool, u64) {
        let (mut cx, mut counted) = (Context::from_waker(std::task::Waker::noop()), 0);
        let moved = way.poll(&mut cx, Pin::new(from), Pin::new(to), &mut [0; 8], |bytes| counted += bytes);
        (moved.expect("both are there"), counted)
    }

    #[tokio::test]
    async fn what_is_not_taken_is_held_and_comes_first() {
        let (mut sender, mut from) = duplex(64);
        let (mut to, mut receiver) = duplex(10);
        let mut way = Way::new(b"first ".to_vec());
        sender.write_all(b"a b c d e f g").await.expect("room");
        assert_eq!(moves(&mut way, &mut from, &mut to), (true, 10));
        assert_eq!(way.held.len() - way.written, 4, "one chunk and no more");
        assert_eq!(moves(&mut way, &mut from, &mut to), (false, 0));
        let mut got = vec![0; 10];
        receiver.read_exact(&mut got).await.expect("bytes");
        assert_eq!(moves(&mut way, &mut from, &mut to), (true, 9));
        assert_eq!((way.held.capacity(), way.has_ended), (0, false), "nothing is held for nothing");
        drop(sender);
        assert_eq!(moves(&mut way, &mut from, &mut to), (true, 0));
        assert!(way.is_done);
        receiver.read_to_end(&mut got).await.expect("the end");
        assert_eq!(got, b"first a b c d e f g");
        assert_eq!(moves(&mut way, &mut from, &mut to), (false, 0), "once it is over nothing moves");
    }

    #[tokio::test]
    async fn it_is_told_which_side_broke() {
        let (sender, mut from) = duplex(64);
        let (mut to, receiver) = duplex(64);
        drop(receiver);
        let mut way = Way::new(b"x".to_vec());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let broke = way.poll(&mut cx, Pin::new(&mut from), Pin::new(&mut to), &mut [0; 8], |_| {});
        assert_eq!(broke, Err(Side::Write));
        drop(sender);
    }
}
