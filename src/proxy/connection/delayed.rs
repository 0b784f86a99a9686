use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::super::http1::{BodyReader, Expects, Framing, RequestHead};
use super::super::local::{Later, Local, LocalBody};
use super::super::rejection::Rejection;
use super::digest::Asker;
use super::{After, ClientStream, Connection, Read, Step, watch};
use crate::clock;

/// A request for an endpoint whose answer waits for the body, or for something else.
pub(super) struct Delayed {
    later: Later,
    asker: Asker,
    /// The client sends its body when it has been given leave.
    awaits_leave: bool,
    /// What is left of the body.
    body: BodyReader,
    /// What has come of it.
    collected: Vec<u8>,
    /// Whether the client wants the connection kept, and no body comes that is not read.
    keep: bool,
}

/// An endpoint's body is small: nobody waits for one longer than this, whatever an app may be sent.
const LONGEST_BODY: Duration = Duration::from_secs(20);

/// Gives a client leave to send its body (RFC 9110 section 10.1.1).
const LEAVE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Delayed {
    /// What was asked for, unless it can be refused at once.
    pub(super) fn new(later: Later, head: &RequestHead<'_, '_>, asker: Asker) -> Result<Self, Rejection> {
        let wants_body = later.most_body() > 0;
        match head.framing {
            _ if head.expects == Expects::Other => return Err(Rejection::Expectation),
            Framing::Length(length) if wants_body && length > later.most_body() as u64 => {
                return Err(Rejection::BodyTooLarge);
            }
            _ => {}
        }
        Ok(Self {
            asker,
            keep: head.keep_alive && (wants_body || head.framing == Framing::Empty),
            awaits_leave: head.expects == Expects::Continue,
            body: BodyReader::new(if wants_body { head.framing } else { Framing::Empty }, false),
            collected: Vec::new(),
            later,
        })
    }

    /// Takes in what came of the body; tells how many bytes belonged to it.
    fn take_in(&mut self, bytes: &mut [u8]) -> Result<usize, Rejection> {
        let (collected, most) = (&mut self.collected, self.later.most_body());
        let mut fits = true;
        let progress = self.body.advance(bytes, |data| {
            fits &= collected.len() + data.len() <= most;
            if fits {
                collected.extend_from_slice(data);
            }
        });
        let consumed = progress.map_err(Rejection::Malformed)?.consumed;
        if fits { Ok(consumed) } else { Err(Rejection::BodyTooLarge) }
    }
}

/// What becomes of a request whose answer waits. It is not traffic, so nothing of it is counted.
impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// Takes in what came of the body.
    pub(super) fn delay(&mut self, mut delayed: Delayed, rest: &mut [u8]) -> Step {
        match delayed.take_in(rest) {
            Ok(taken) => {
                self.ahead = rest[taken..].to_vec();
                Step::Delayed(Box::new(delayed))
            }
            Err(rejection) => self.own(&rejection.response(), delayed.asker.keeping(false)),
        }
    }

    /// Waits for what the answer waits for, and sends it.
    pub(super) async fn answer_later(&mut self, mut delayed: Delayed) -> After {
        let response = match self.read_body(&mut delayed).await {
            None => return After::Drop,
            Some(Err(rejection)) => rejection.response().map(LocalBody::Whole),
            Some(Ok(())) => {
                let answer = delayed.later.begin(delayed.collected.into());
                match self.unless_it_leaves(answer).await {
                    Some(response) => response,
                    None => return After::Drop,
                }
            }
        };
        let keep = delayed.keep && delayed.body.is_done();
        match self.own_local(response, delayed.asker.keeping(keep)) {
            Step::Own(bytes, after) => match self.write_all(bytes).await {
                Ok(()) => after,
                Err(_) => After::Drop,
            },
            Step::Streamed(streamed) => self.send_pieces(*streamed).await,
            _ => After::Drop,
        }
    }

    /// Reads the rest of the body. `None`: the client has left.
    async fn read_body(&mut self, delayed: &mut Delayed) -> Option<Result<(), Rejection>> {
        if delayed.body.is_done() {
            return Some(Ok(()));
        }
        let proxy = self.proxy.clone();
        let Ok(_place) = proxy.bodies.clone().try_acquire_owned() else {
            return Some(Err(Rejection::Overloaded));
        };
        if delayed.awaits_leave && delayed.collected.is_empty() {
            self.write_all(LEAVE.to_vec()).await.ok()?;
        }
        let patience = proxy.settings.timeouts.request_body;
        let patience = if patience.is_zero() { LONGEST_BODY } else { patience.min(LONGEST_BODY) };
        let deadline = Some(clock::turn() + patience);
        while !delayed.body.is_done() {
            match self.read(deadline, None).await {
                Read::Bytes(length) => {
                    let bytes = &mut proxy.scratch.borrow_mut()[..length];
                    match delayed.take_in(bytes) {
                        Ok(taken) => self.ahead.extend_from_slice(&bytes[taken..]),
                        Err(rejection) => return Some(Err(rejection)),
                    }
                }
                Read::Late => return Some(Err(Rejection::BodyTooSlow)),
                Read::Gone | Read::Closing | Read::Renewed => return None,
            }
        }
        Some(Ok(()))
    }

    /// Waits for something, but not for a client that has left.
    async fn unless_it_leaves<T>(&mut self, awaited: impl Future<Output = T>) -> Option<T> {
        let mut awaited = pin!(awaited);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = awaited.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            let mut scratch = self.proxy.scratch.borrow_mut();
            watch(Pin::new(&mut self.stream), cx, &mut scratch, &mut self.ahead).map(|_| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
