//! One exchange with the app, both ways at once.

mod down;
mod pace;
mod rest;
mod splice;
mod up;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use self::pace::Pace;
pub(super) use self::rest::Rest;
use super::connection::{ClientStream, HALF_CLOSED, Job, MOST_AHEAD};
use super::http1::{BodyReader, Malformed};
use super::local::Local;
use super::pipes::Pipe;
use super::reading::Reading;
use super::rejection::Rejection;
use super::settings::ProxySettings;
use super::timer::Timer;
use super::upstream::Lease;
use super::witness::Scan;
use super::worker::Proxy;
use crate::clock;
use crate::drain::Hub;
use crate::traffic::Failure;

/// One exchange with the app: the request's body up, the answer down, both at once. Written as a poll function, so that
/// whatever becomes possible is done at once, whoever woke us.
pub(super) struct Relay<'a, L, S> {
    pub(super) proxy: &'a Proxy<L>,
    pub(super) client: &'a mut S,
    pub(super) job: &'a mut Job,
    pub(super) course: &'a mut Course,
    /// What the client sends beyond this request.
    pub(super) ahead: &'a mut Vec<u8>,
    pub(super) timer: &'a mut Timer,
    pub(super) hub: &'a Hub,
}

/// How far an exchange with the app has come, with one buffer's worth of memory in each direction.
pub(super) struct Course {
    lease: Lease,
    up: Up,
    down: Down,
    /// On its way to the client.
    down_out: Vec<u8>,
    down_written: usize,
    /// What a large body passes through, once nothing more is to be done with its bytes.
    pipe: Option<Pipe>,
    /// When bytes last moved, in either direction.
    moved: Instant,
    /// When it was last looked whether a client is there from whom nothing is read.
    glanced: Option<Instant>,
}

/// The way up.
struct Up {
    /// How much of `job.out` the app has taken.
    written: usize,
    /// Whether `job.out` is still all that was sent, and what the client has yet to send is still to be read.
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

/// What follows an answer that has been passed on.
#[derive(Clone, Copy)]
pub(super) struct Completed {
    /// The client's connection can go on.
    pub(super) keep: bool,
    /// All of the request was read.
    pub(super) whole: bool,
}

/// How an exchange ended whose answer has not been passed on whole.
pub(super) enum Ended {
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
    /// The app ends the connection and has not begun with the request.
    LeftOut {
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

/// A client from whom nothing is read, because nobody would take it, is looked after so often.
pub(super) const GLANCE: Duration = Duration::from_secs(1);

/// More interim answers than this are an attack; some apps send one every ten seconds while a model thinks.
const MOST_INTERIM: u8 = 250;

/// What ends a body in chunks; a client that lacks no more than this has all of the body.
const LAST_CHUNK: usize = b"0\r\n\r\n".len();

/// A head of an answer may be this large.
const LARGEST_HEAD: usize = 256 * 1024;

impl Course {
    pub(super) fn new(lease: Lease, settings: &ProxySettings) -> Self {
        let pace = Pace::new(settings.limits.body_min_rate.0, settings.timeouts.request_body);
        let up = Up { written: 0, whole: true, broken: false, ended: None, pace };
        let down = Down::Head { partial: Vec::new(), interim: 0 };
        Self { lease, up, down, down_out: Vec::new(), down_written: 0, pipe: None, moved: clock::turn(), glanced: None }
    }

    /// Whether the app's connection had served before.
    pub(super) fn is_reused(&self) -> bool {
        self.lease.reused
    }

    /// The answer has been passed on.
    pub(super) fn complete<L: Local>(&mut self, proxy: &Proxy<L>, job: &Job) -> Completed {
        proxy.give_back_answer(std::mem::take(&mut self.down_out));
        let whole = job.upload.is_done() && !self.up.broken;
        let Down::Body(download) = &self.down else { return Completed { keep: false, whole } };
        if job.upload.is_done() && self.up.ended.is_some() {
            if download.reusable {
                self.lease.give_back(job.to_head || matches!(download.code, 204 | 304));
            } else {
                self.lease.close();
            }
        } else {
            self.lease.leave();
        }
        Completed { keep: whole && !download.close, whole }
    }

    /// What any other last step leads to.
    pub(super) fn end<L: Local>(self, step: Step, proxy: &Proxy<L>) -> Ended {
        let Self { lease, up, down, mut down_out, down_written, .. } = self;
        if let Step::Tunnel(first) = step {
            down_out.drain(..down_written);
            return Ended::Tunnel { lease, head: down_out, first };
        }
        proxy.give_back_answer(down_out);
        match step {
            Step::Stale => Ended::Stale { sent: up.written > 0 || !up.whole, whole: up.whole },
            Step::Refused => Ended::Refused { whole: up.whole },
            Step::LeftOut => Ended::LeftOut { whole: up.whole },
            Step::Failed(rejection) => Ended::Failed(rejection),
            Step::Cut => Ended::Cut { reset: matches!(&down, Down::Body(download) if download.needs_reset) },
            Step::ClientGone => {
                let finishes = !proxy.settings.finish_abandoned.is_zero() && up.ended.is_some() && !up.broken;
                Ended::ClientGone(finishes.then(|| Box::new(Rest { lease, down })))
            }
            // A tunnel was dealt with, and what is complete does not come here.
            Step::Tunnel(_) | Step::Complete => Ended::ClientGone(None),
        }
    }
}

impl<L: Local, S: ClientStream> Relay<'_, L, S> {
    /// Moves on whatever can be moved on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let step = ready!(self.poll_step(cx));
        if matches!(step, Step::ClientGone) && self.has_answer() {
            self.complete();
        } else if matches!(step, Step::ClientGone) && self.client.is_malformed() {
            return Poll::Ready(self.fail(Rejection::Malformed(Malformed::Stream)));
        }
        Poll::Ready(step)
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            // Once all of the request is sent, a short answer is the end, and then nobody need look whether the client is still
            // there. A stream of HTTP/2 says by its reading that it was given up, and that is counted.
            let sent = self.course.up.ended.is_some() && self.client.tcp().is_some();
            let moved = if sent && matches!(self.course.down, Down::Head { .. }) {
                self.poll_down(cx).and_then(|down| Ok(self.poll_up(cx)? || down))
            } else {
                // What ends the exchange ends it before anything else is passed on.
                self.poll_up(cx).and_then(|up| Ok(self.poll_down(cx)? || up))
            };
            match moved {
                Err(step) => return Poll::Ready(step),
                // The way down goes on until it has to wait; so does the way up once all of the request is there.
                Ok(moved) if !moved || self.course.up.ended.is_some() => return self.poll_deadline(cx),
                Ok(_) => {}
            }
        }
    }

    fn note(&mut self, moved: bool) -> Result<bool, Step> {
        if moved {
            self.course.moved = clock::turn();
        }
        Ok(moved)
    }

    /// Whether a client that has gone was told by a model all that it had to say, or that it failed: many leave then, and do
    /// not wait for the end of the body.
    fn has_answer(&self) -> bool {
        let Down::Body(Download { reading: Some(reading), .. }) = &self.course.down else { return false };
        let unsent = self.course.down_out.len() - self.course.down_written;
        reading.failure().is_some() || (reading.has_ended() && unsent <= LAST_CHUNK)
    }

    /// All of the answer is with the client, or all that counts.
    fn complete(&mut self) -> Step {
        if let Down::Body(download) = &mut self.course.down {
            if download.needs_reset {
                self.client.reset_on_close(false);
            }
            let mut failure = Failure::of_code(download.code);
            if let Some(scan) = &mut download.scan {
                scan.end(download.reading.as_deref(), &self.proxy.traffic);
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
        if let Down::Body(download) = &self.course.down {
            self.job.exchange.end(download.code, Some(failure));
        }
        Step::Cut
    }

    /// It cannot go on: an answer of ours, if no part of another has been sent.
    fn fail(&mut self, rejection: Rejection) -> Step {
        match &self.course.down {
            // Interim answers are whole with the client, or did not leave at all.
            Down::Head { .. } if !self.has_begun() => Step::Failed(rejection),
            Down::Head { .. } => {
                self.job.exchange.reject(rejection);
                Step::Cut
            }
            Down::Body(_) => self.cut(rejection.failure()),
        }
    }

    /// Whether a part of what is on its way to the client has left already.
    fn has_begun(&self) -> bool {
        self.course.down_written > 0 || self.client.owes()
    }

    /// Whoever is waited for has taken too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let timeouts = &self.proxy.settings.timeouts;
        let client_is_slow = self.course.down_written < self.course.down_out.len()
            || self.course.pipe.as_ref().is_some_and(|pipe| pipe.held > 0)
            || self.client.room(cx) == 0;
        let uploading = !self.job.upload.is_done() && !self.course.up.broken;
        let app_takes_nothing = self.course.up.written < self.job.out.len() && !self.course.up.broken;
        let in_body = matches!(self.course.down, Down::Body(_));
        // Until it has given leave, it is the app that is waited for (RFC 9110 section 10.1.1).
        let awaits_leave = uploading && self.job.awaits_leave && !in_body;
        let (since, limit) = if client_is_slow {
            (self.course.moved, timeouts.write)
        } else if awaits_leave && !app_takes_nothing && !timeouts.response_header.is_zero() {
            (self.course.moved, timeouts.response_header)
        } else if in_body || uploading || app_takes_nothing || self.course.up.broken {
            (self.course.moved, timeouts.stream_idle)
        } else {
            (self.course.up.ended.unwrap_or(self.course.moved), timeouts.response_header)
        };
        let mut deadline = (!limit.is_zero()).then(|| since + limit);
        // An answer that has begun may be one in a conversation: then silence is all that ends it.
        if !client_is_slow && uploading && !app_takes_nothing && !in_body && self.client.may_send() {
            let end = self.course.up.pace.end();
            deadline = deadline.into_iter().chain(end).min();
        }
        // Who has to be sent something is found out by that.
        let half_closed =
            self.job.ended.filter(|_| !client_is_slow).map(|since| since.max(self.course.moved) + HALF_CLOSED);
        deadline = deadline.into_iter().chain(half_closed).min();
        let unread = !self.job.upload.is_done() && (app_takes_nothing || self.course.up.broken);
        let unwatched = unread || self.ahead.len() >= MOST_AHEAD;
        loop {
            let glance = unwatched.then(|| self.course.glanced.unwrap_or(self.course.moved) + GLANCE);
            ready!(self.timer.poll(cx, deadline.into_iter().chain(glance).min()));
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            self.course.glanced = Some(Instant::now());
            if self.client.has_left() {
                return Poll::Ready(Step::ClientGone);
            }
        }
        let is_gone = client_is_slow || half_closed.is_some_and(|end| Instant::now() >= end);
        Poll::Ready(if is_gone {
            Step::ClientGone
        } else if in_body {
            self.cut(Failure::UpstreamTimeout)
        } else if uploading && !app_takes_nothing && !awaits_leave {
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
    LeftOut,
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
