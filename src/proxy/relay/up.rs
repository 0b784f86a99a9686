use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite as _;

use super::super::connection::{ClientStream, Left, watch};
use super::super::local::Local;
use super::super::rejection::Rejection;
use super::{Down, Relay, Step, read};
use crate::clock;

/// The way from the client to the app.
impl<L: Local, S: ClientStream> Relay<'_, L, S> {
    /// Moves the request on; tells whether anything moved.
    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        let mut moved = false;
        while self.course.up.written < self.job.out.len() && !self.course.up.broken {
            match self.course.lease.stream().poll_write(cx, &self.job.out[self.course.up.written..]) {
                Poll::Ready(Ok(length @ 1..)) => {
                    self.course.up.written += length;
                    moved = true;
                }
                Poll::Ready(_) => {
                    // An app may refuse a body by answering and closing: its answer is still to be read, and first of all.
                    self.course.up.broken = true;
                    return self.note(true);
                }
                Poll::Pending => break,
            }
        }
        let flushed = self.course.up.written == self.job.out.len();
        if flushed && self.job.upload.is_done() && self.course.up.ended.is_none() {
            self.course.up.ended = Some(clock::turn());
        }
        // What the app will not take is taken from the client once there is an answer: before that it may be for the next app.
        let is_for_nobody = self.course.up.broken && matches!(self.course.down, Down::Body(_));
        if self.job.upload.is_done() || is_for_nobody {
            self.watch_client(cx)?;
        } else if flushed && !self.course.up.broken {
            moved |= self.poll_upload(cx)?;
        } else if self.client.absorb(cx) {
            return Err(Step::ClientGone);
        }
        self.note(moved)
    }

    /// Reads more of the body.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        let mut scratch = self.proxy.scratch.borrow_mut();
        let length = match read(Pin::new(&mut *self.client), cx, &mut scratch) {
            Poll::Pending => {
                if !self.client.may_send() {
                    self.course.up.pace.excuse();
                } else if !self.job.awaits_leave {
                    self.course.up.pace.wait();
                }
                return Ok(false);
            }
            Poll::Ready(Ok(length @ 1..)) => length,
            Poll::Ready(_) => return Err(Step::ClientGone),
        };
        self.job.awaits_leave = false;
        self.course.up.pace.came(length, self.proxy.settings.limits.body_min_rate.0);
        let bytes = &mut scratch[..length];
        let mut data = 0;
        let progress = match self.job.upload.advance(bytes, |part| data += part.len() as u64) {
            Ok(progress) => progress,
            Err(malformed) => return Err(self.fail(Rejection::Malformed(malformed))),
        };
        self.job.exchange.receive(data);
        let limit = self.proxy.settings.limits.body_bytes.0;
        if limit > 0 && self.job.exchange.received.get() > limit {
            return Err(self.fail(Rejection::BodyTooLarge));
        }
        self.ahead.extend_from_slice(&bytes[progress.consumed..]);
        if self.keep(progress.passed + progress.trailer.len()) {
            self.job.out.extend_from_slice(&bytes[..progress.passed]);
            self.job.out.extend_from_slice(&progress.trailer);
            return Ok(true);
        }
        // What was sent before is gone now: this request cannot be sent twice.
        self.course.up.whole = false;
        self.job.share = None;
        self.course.up.written = 0;
        self.job.out.clear();
        let mut rest = &bytes[..progress.passed];
        while let (false, Poll::Ready(Ok(length @ 1..))) =
            (rest.is_empty(), self.course.lease.stream().poll_write(cx, rest))
        {
            rest = &rest[length..];
        }
        self.job.out.extend_from_slice(rest);
        self.job.out.extend_from_slice(&progress.trailer);
        Ok(true)
    }

    /// Whether so much more of the body stays at hand, so that the request can be sent once more.
    fn keep(&mut self, more: usize) -> bool {
        let of_use = self.job.idempotent || self.course.lease.is_http2();
        of_use && self.course.up.whole && self.proxy.at_hand.keep(&mut self.job.share, self.job.out.len(), more)
    }

    /// With nothing more to come from the client, its leaving is all that can happen; a next request may come early.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Step> {
        if !self.job.upload.is_done() {
            // The rest of a body that the app does not want; the connection ends with the answer.
            self.ahead.clear();
        }
        let mut scratch = self.proxy.scratch.borrow_mut();
        let watched = watch(Pin::new(&mut *self.client), cx, &mut scratch, self.ahead);
        if !self.job.upload.is_done() && !self.ahead.is_empty() {
            self.course.up.whole = false;
        }
        match watched {
            Poll::Ready(Left::Gone) => Err(Step::ClientGone),
            Poll::Ready(Left::Ended) => {
                self.job.ended.get_or_insert_with(clock::turn);
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }
}
