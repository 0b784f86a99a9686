//! One exchange with the app, both ways at once.

mod down;
mod pace;
mod rest;
mod splice;
mod up;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use self::pace::Pace;
pub(super) use self::rest::Rest;
use super::connection::{ClientStream, Job};
use super::http1::BodyReader;
use super::local::Local;
use super::pipes::Pipe;
use super::reading::Reading;
use super::rejection::Rejection;
use super::timer::Timer;
use super::upstream::Lease;
use super::witness::Scan;
use super::worker::Proxy;
use crate::clock;
use crate::drain::Hub;
use crate::traffic::Failure;

/// One exchange with the app: the request's body up, the answer down, both at once, with one buffer's worth of memory in
/// each direction. Written as a poll function, so that whatever becomes possible is done at once, whoever woke us.
pub(super) struct Relay<'a, L, S> {
    proxy: &'a Proxy<L>,
    client: &'a mut S,
    lease: Lease,
    job: &'a mut Job,
    /// What the client sends beyond this request.
    ahead: &'a mut Vec<u8>,
    timer: &'a mut Timer,
    hub: &'a Hub,

    up: Up,
    down: Down,
    /// On its way to the client.
    down_out: Vec<u8>,
    down_written: usize,
    /// What a large body passes through, once nothing more is to be done with its bytes.
    pipe: Option<Pipe>,
    /// When bytes last moved, in either direction.
    moved: Instant,
}

/// The way up.
struct Up {
    /// How much of `job.out` the app has taken.
    written: usize,
    /// Whether `job.out` is still all that was sent.
    whole: bool,
    /// The app takes no more; what it answered may still come.
    broken: bool,
    /// When all of it was sent.
    ended: Option<Instant>,
    pace: Pace,
}

/// The way down.
enum Down {
    /// Waiting for the head; what came of it, and how many interim answers came before.
    Head {
        partial: Vec<u8>,
        interim: u8,
    },
    Body(Download),
}

/// An answer's body on its way.
struct Download {
    code: u16,
    reader: BodyReader,
    /// Chunks are made here, because the app gave the body no length.
    make_chunks: bool,
    scan: Option<Scan>,
    /// Of a model.
    reading: Option<Box<Reading>>,
    /// The app may have the connection back afterwards.
    reusable: bool,
    /// The client's connection ends with the answer.
    close: bool,
    /// Should it break off, only a reset can tell the client.
    needs_reset: bool,
}

/// How an exchange ended.
pub(super) enum Ended {
    /// The answer has been passed on.
    Complete {
        /// The client's connection can go on.
        keep: bool,
        /// All of the request was read.
        whole: bool,
    },
    /// Both speak another protocol now.
    Tunnel {
        lease: Lease,
        /// The head that says so, on its way to the client.
        head: Vec<u8>,
        /// What the app said after it.
        first: Vec<u8>,
    },
    /// The connection turned out closed before any byte of an answer came.
    Stale {
        /// Whether the app may have seen something.
        sent: bool,
        /// Whether all that was sent is still there to be sent again.
        whole: bool,
    },
    /// The app has not begun with the request, and will not.
    Refused {
        /// Whether all that was sent is still there to be sent again.
        whole: bool,
    },
    /// No answer, and nothing of one has been passed on.
    Failed(Rejection),
    /// The answer broke off after a part of it was passed on.
    Cut {
        /// Only a reset can tell the client: it knows no length, and has no chunks.
        reset: bool,
    },
    /// Nobody waits for the answer any more; what is left of it, if the app may finish it all the same.
    ClientGone(Option<Box<Rest>>),
}

/// More interim answers than this are an attack; some apps send one every ten seconds while a model thinks.
const MOST_INTERIM: u8 = 250;

/// A head of an answer may be this large.
const LARGEST_HEAD: usize = 256 * 1024;

impl<'a, L: Local, S: ClientStream> Relay<'a, L, S> {
    pub(super) fn new(
        proxy: &'a Proxy<L>,
        client: &'a mut S,
        lease: Lease,
        job: &'a mut Job,
        ahead: &'a mut Vec<u8>,
        timer: &'a mut Timer,
        hub: &'a Hub,
    ) -> Self {
        let pace = Pace::new(proxy.settings.limits.body_min_rate.0, proxy.settings.timeouts.request_body);
        let up = Up { written: 0, whole: true, broken: false, ended: None, pace };
        let down = Down::Head { partial: Vec::new(), interim: 0 };
        let (down_out, moved) = (Vec::new(), clock::turn());
        Self { proxy, client, lease, job, ahead, timer, hub, up, down, down_out, down_written: 0, pipe: None, moved }
    }

    /// What the last step leads to.
    pub(super) fn end(self, step: Step) -> Ended {
        let Self { proxy, lease, up, down, mut down_out, down_written, job, .. } = self;
        if let Step::Tunnel(first) = step {
            down_out.drain(..down_written);
            return Ended::Tunnel { lease, head: down_out, first };
        }
        proxy.give_back_answer(down_out);
        match step {
            Step::Complete => {
                let whole = job.upload.is_done() && !up.broken;
                let Down::Body(download) = down else { return Ended::Complete { keep: false, whole } };
                let keep = !download.close && whole;
                if download.reusable && job.upload.is_done() && up.ended.is_some() {
                    lease.give_back(job.to_head || matches!(download.code, 204 | 304));
                }
                Ended::Complete { keep, whole }
            }
            Step::Stale => {
                let whole = up.whole && job.upload.is_done();
                Ended::Stale { sent: up.written > 0 || !up.whole, whole }
            }
            Step::Refused => Ended::Refused { whole: up.whole && job.upload.is_done() },
            Step::Failed(rejection) => Ended::Failed(rejection),
            Step::Cut => Ended::Cut { reset: matches!(&down, Down::Body(download) if download.needs_reset) },
            Step::ClientGone | Step::Tunnel(_) => {
                let finishes = !proxy.settings.finish_abandoned.is_zero() && up.ended.is_some() && !up.broken;
                Ended::ClientGone(finishes.then(|| Box::new(Rest { lease, down })))
            }
        }
    }

    /// Moves on whatever can be moved on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            // What ends the exchange ends it before anything else is passed on.
            let moved = match self.poll_up(cx).and_then(|up| Ok(self.poll_down(cx)? || up)) {
                Ok(moved) => moved,
                Err(step) => return Poll::Ready(step),
            };
            // The way down goes on until it has to wait; so does the way up once all of the request is there.
            if !moved || self.up.ended.is_some() {
                return self.poll_deadline(cx);
            }
        }
    }

    fn note(&mut self, moved: bool) -> Result<bool, Step> {
        if moved {
            self.moved = clock::turn();
        }
        Ok(moved)
    }

    /// All of the answer is with the client.
    fn complete(&mut self) -> Step {
        if let Down::Body(download) = &mut self.down {
            if download.needs_reset {
                self.client.reset_on_close(false);
            }
            let mut failure = Failure::of_code(download.code);
            if let Some(scan) = &mut download.scan {
                scan.end(&self.proxy.traffic);
                failure = if scan.is_overloaded() { Some(Failure::Overloaded) } else { failure };
            }
            if let Some(reading) = &download.reading {
                failure = failure.or(reading.failure());
            }
            self.job.exchange.end(download.code, failure);
        }
        Step::Complete
    }

    /// The code was sent already; what failed after it counts as the failure.
    fn cut(&mut self, failure: Failure) -> Step {
        if let Down::Body(download) = &self.down {
            self.job.exchange.end(download.code, Some(failure));
        }
        Step::Cut
    }

    /// It cannot go on: an answer of ours, if no part of another has been sent.
    fn fail(&mut self, rejection: Rejection) -> Step {
        match &self.down {
            // Interim answers are whole with the client, or did not leave at all.
            Down::Head { .. } if self.down_written == 0 => Step::Failed(rejection),
            Down::Head { .. } => {
                self.job.exchange.reject(rejection);
                Step::Cut
            }
            Down::Body(_) => self.cut(rejection.failure()),
        }
    }

    /// Whoever is waited for has taken too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let timeouts = &self.proxy.settings.timeouts;
        let client_is_slow = self.down_written < self.down_out.len()
            || self.pipe.as_ref().is_some_and(|pipe| pipe.held > 0)
            || self.client.room(cx) == 0;
        let uploading = !self.job.upload.is_done() && !self.up.broken;
        let app_takes_nothing = self.up.written < self.job.out.len() && !self.up.broken;
        let in_body = matches!(self.down, Down::Body(_));
        let (since, limit) = if client_is_slow {
            (self.moved, timeouts.write)
        } else if in_body || uploading || app_takes_nothing || self.up.broken {
            (self.moved, timeouts.stream_idle)
        } else {
            (self.up.ended.unwrap_or(self.moved), timeouts.response_header)
        };
        let mut deadline = (!limit.is_zero()).then(|| since + limit);
        // An answer that has begun may be one in a conversation: then silence is all that ends it.
        if !client_is_slow && uploading && !app_takes_nothing && !in_body {
            let end = self.up.pace.end();
            deadline = deadline.into_iter().chain(end).min();
        }
        if self.timer.poll(cx, deadline).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(if client_is_slow {
            Step::ClientGone
        } else if in_body {
            self.cut(Failure::UpstreamTimeout)
        } else if uploading && !app_takes_nothing {
            self.fail(Rejection::BodyTooSlow)
        } else {
            self.fail(Rejection::ResponseTimeout)
        })
    }
}

/// How the poll function ends.
pub(super) enum Step {
    Complete,
    Tunnel(Vec<u8>),
    Stale,
    Refused,
    Failed(Rejection),
    Cut,
    ClientGone,
}

/// Reads what is there into the scratch buffer; 0 is the end.
fn read(
    stream: Pin<&mut (impl AsyncRead + ?Sized)>,
    cx: &mut Context<'_>,
    scratch: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    stream.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
}
