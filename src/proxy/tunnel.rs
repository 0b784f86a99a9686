use std::cell::RefCell;
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
        match up.poll(cx, Pin::new(client), app.as_mut(), chunk, |bytes| exchange.receive(bytes)) {
            Ok(more) => moved = if more { clock::turn() } else { moved },
            Err(Gone) => return Poll::Ready(Some(Failure::ClientClosed)),
        }
        match down.poll(cx, app.as_mut(), Pin::new(client), chunk, |bytes| exchange.send(bytes)) {
            Ok(more) => moved = if more { clock::turn() } else { moved },
            Err(Gone) => return Poll::Ready(Some(Failure::UpstreamReset)),
        }
        match (up.is_over(), down.end) {
            // All that the app had to say has been passed on; whether it wanted to hear more is its business.
            (true, End::Told) => return Poll::Ready(None),
            (true, End::Refused) => return Poll::Ready(Some(Failure::ClientClosed)),
            _ => {}
        }
        loop {
            let end = (!silence.is_zero()).then(|| moved + silence);
            // A client from whom nothing is read may have been reset all the same.
            let glance = (!up.is_reading()).then(|| glanced.unwrap_or(moved) + GLANCE);
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

/// The side that a way reads from has broken off, and all that it said before has been passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gone;

/// How a way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not yet.
    Open,
    /// Nothing more comes; the other side is still to be told.
    Read,
    /// And has been told.
    Told,
    /// The other side takes no more. What it has to say itself is still to be heard.
    Refused,
}

/// One of the two directions. Each ends by itself, because half-closed is a state of its own. It has memory of its own
/// only for what the other side does not take.
#[derive(Debug)]
struct Way {
    held: Vec<u8>,
    /// So much of it has been taken.
    written: usize,
    end: End,
}

impl Way {
    fn new(held: Vec<u8>) -> Self {
        Self { held, written: 0, end: End::Open }
    }

    fn is_over(&self) -> bool {
        matches!(self.end, End::Told | End::Refused)
    }

    fn is_reading(&self) -> bool {
        self.end == End::Open && self.held.is_empty()
    }

    /// Passes on what can be passed on; tells whether anything moved.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut (impl AsyncRead + ?Sized)>,
        mut to: Pin<&mut (impl AsyncWrite + ?Sized)>,
        chunk: &mut [u8],
        mut count: impl FnMut(u64),
    ) -> Result<bool, Gone> {
        let mut moved = false;
        while !self.is_over() {
            if self.written < self.held.len() {
                match to.as_mut().poll_write(cx, &self.held[self.written..]) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(taken @ 1..)) => {
                        count(taken as u64);
                        self.written += taken;
                    }
                    Poll::Ready(_) => self.end = End::Refused,
                }
            } else if self.end == End::Read {
                match to.as_mut().poll_shutdown(cx) {
                    Poll::Pending => break,
                    Poll::Ready(told) => self.end = if told.is_ok() { End::Told } else { End::Refused },
                }
            } else {
                (self.held, self.written) = (Vec::new(), 0);
                let mut buffer = ReadBuf::new(chunk);
                match from.as_mut().poll_read(cx, &mut buffer) {
                    Poll::Pending => {
                        // What TLS has taken may not be with the kernel yet.
                        let Poll::Ready(Err(_)) = to.as_mut().poll_flush(cx) else { break };
                        self.end = End::Refused;
                    }
                    Poll::Ready(Err(_)) => return Err(Gone),
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.end = End::Read,
                    Poll::Ready(Ok(())) => match to.as_mut().poll_write(cx, buffer.filled()) {
                        Poll::Ready(Ok(taken @ 1..)) => {
                            count(taken as u64);
                            self.held.extend_from_slice(&buffer.filled()[taken..]);
                        }
                        Poll::Ready(_) => self.end = End::Refused,
                        Poll::Pending => self.held.extend_from_slice(buffer.filled()),
                    },
                }
            }
            moved = true;
        }
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    type Moved = Result<(bool, u64), Gone>;

    fn moves(way: &mut Way, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> Moved {
        let (mut cx, mut counted) = (Context::from_waker(Waker::noop()), 0);
        let moved = way.poll(&mut cx, Pin::new(from), Pin::new(to), &mut [0; 8], |bytes| counted += bytes);
        moved.map(|moved| (moved, counted))
    }

    #[tokio::test]
    async fn what_is_not_taken_is_held_and_comes_first() {
        let (mut sender, mut from) = duplex(64);
        let (mut to, mut receiver) = duplex(10);
        let mut way = Way::new(b"first ".to_vec());
        sender.write_all(b"a b c d e f g").await.expect("room");
        assert_eq!(moves(&mut way, &mut from, &mut to), Ok((true, 10)));
        assert_eq!(way.held.len() - way.written, 4, "one chunk and no more");
        assert!(!way.is_reading());
        assert_eq!(moves(&mut way, &mut from, &mut to), Ok((false, 0)));
        let mut got = vec![0; 10];
        receiver.read_exact(&mut got).await.expect("bytes");
        assert_eq!(moves(&mut way, &mut from, &mut to), Ok((true, 9)));
        assert!(way.is_reading());
        assert_eq!(way.held.capacity(), 0, "nothing is held for nothing");
        drop(sender);
        assert_eq!(moves(&mut way, &mut from, &mut to), Ok((true, 0)));
        assert_eq!(way.end, End::Told);
        receiver.read_to_end(&mut got).await.expect("the end");
        assert_eq!(got, b"first a b c d e f g");
        assert_eq!(moves(&mut way, &mut from, &mut to), Ok((false, 0)), "once it is over nothing moves");
    }

    #[tokio::test]
    async fn who_takes_no_more_may_still_have_something_to_say() {
        let (mut sender, mut from) = duplex(64);
        let (mut to, receiver) = duplex(64);
        drop(receiver);
        let mut way = Way::new(Vec::new());
        sender.write_all(b"x").await.expect("room");
        assert_eq!(moves(&mut way, &mut from, &mut to), Ok((true, 0)));
        assert!(way.end == End::Refused && way.is_over() && !way.is_reading());
    }
}
