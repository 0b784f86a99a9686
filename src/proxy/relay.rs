use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::{ClientStream, Job};
use super::http1::{BodyReader, Framing, MOST_FIELDS, Parsed, ResponseHead, parse_response};
use super::local::Local;
use super::login::Scan;
use super::pool::Lease;
use super::rejection::Rejection;
use super::rewrite::{delivery_of, write_response};
use super::timer::Timer;
use super::worker::Proxy;
use crate::drain::{Hub, Phase};
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
}

/// The way down.
enum Down {
    /// Waiting for the head; what came of it, and how many interim answers came before.
    Head {
        partial: Vec<u8>,
        interim: u8,
    },
    Body(Box<Download>),
}

/// An answer's body on its way.
struct Download {
    code: u16,
    reader: BodyReader,
    /// Chunks are made here, because the app gave the body no length.
    make_chunks: bool,
    scan: Option<Scan>,
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
    /// No answer, and nothing of one has been passed on.
    Failed(Rejection),
    /// The answer broke off after a part of it was passed on.
    Cut {
        /// Only a reset can tell the client: it knows no length, and has no chunks.
        reset: bool,
    },
    /// Nobody waits for the answer any more.
    ClientGone,
}

/// More interim answers than this are an attack.
const MOST_INTERIM: u8 = 32;

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
        let up = Up { written: 0, whole: true, broken: false, ended: None };
        let down = Down::Head { partial: Vec::new(), interim: 0 };
        let (down_out, moved) = (proxy.buffer(), Instant::now());
        Self { proxy, client, lease, job, ahead, timer, hub, up, down, down_out, down_written: 0, moved }
    }

    pub(super) async fn run(mut self) -> Ended {
        let ended = std::future::poll_fn(|cx| self.poll(cx)).await;
        let Self { proxy, lease, up, down, down_out, job, .. } = self;
        if let Step::Tunnel(first) = ended {
            return Ended::Tunnel { lease, head: down_out, first };
        }
        proxy.give_back(down_out);
        match ended {
            Step::Complete => {
                let Down::Body(download) = down else { return Ended::Complete { keep: false } };
                let keep = !download.close && job.upload.is_done() && !up.broken;
                if download.reusable && job.upload.is_done() && up.ended.is_some() {
                    lease.give_back();
                }
                Ended::Complete { keep }
            }
            Step::Stale => {
                let whole = up.whole && job.upload.is_done();
                Ended::Stale { sent: up.written > 0 || !up.whole, whole }
            }
            Step::Failed(rejection) => Ended::Failed(rejection),
            Step::Cut => Ended::Cut { reset: matches!(&down, Down::Body(download) if download.needs_reset) },
            Step::ClientGone | Step::Tunnel(_) => Ended::ClientGone,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            let up = self.poll_up(cx);
            let down = self.poll_down(cx);
            match (up, down) {
                (Err(step), _) | (_, Err(step)) => return Poll::Ready(step),
                (Ok(false), Ok(false)) => match self.poll_deadline(cx) {
                    Poll::Ready(step) => return Poll::Ready(step),
                    Poll::Pending => return Poll::Pending,
                },
                _ => {}
            }
        }
    }

    /// Moves the request on; tells whether anything moved.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        let mut moved = false;
        while self.up.written < self.job.out.len() && !self.up.broken {
            match self.lease.stream().poll_write(cx, &self.job.out[self.up.written..]) {
                Poll::Ready(Ok(length @ 1..)) => {
                    self.up.written += length;
                    moved = true;
                }
                Poll::Ready(_) => {
                    // An app may refuse a body by answering and closing: its answer is still to be read.
                    self.up.broken = true;
                    moved = true;
                }
                Poll::Pending => break,
            }
        }
        let flushed = self.up.written == self.job.out.len();
        if flushed && self.job.upload.is_done() && self.up.ended.is_none() {
            self.up.ended = Some(Instant::now());
        }
        if self.job.upload.is_done() || self.up.broken {
            self.watch_client(cx)?;
        } else if flushed && self.poll_upload(cx)? {
            moved = true;
        }
        self.note(moved)
    }

    /// Reads more of the body.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        let mut scratch = self.proxy.scratch.borrow_mut();
        let length = match read(Pin::new(&mut *self.client), cx, &mut scratch) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(length @ 1..)) => length,
            Poll::Ready(_) => return Err(Step::ClientGone),
        };
        let bytes = &mut scratch[..length];
        let mut data = 0;
        let progress = match self.job.upload.advance(bytes, |part| data += part.len() as u64) {
            Ok(progress) => progress,
            Err(malformed) => return Err(self.fail(Rejection::Malformed(malformed))),
        };
        self.job.uploaded += data;
        self.proxy.shard.received.fetch_add(data, Relaxed);
        let limit = self.proxy.settings.limits.body_bytes.0;
        if limit > 0 && self.job.uploaded > limit {
            return Err(self.fail(Rejection::BodyTooLarge));
        }
        self.ahead.extend_from_slice(&bytes[progress.consumed..]);
        // What was sent before is gone now: this request cannot be sent twice.
        self.up.whole = false;
        self.up.written = 0;
        self.job.out.clear();
        let mut rest = &bytes[..progress.passed];
        while let (false, Poll::Ready(Ok(length @ 1..))) = (rest.is_empty(), self.lease.stream().poll_write(cx, rest)) {
            rest = &rest[length..];
        }
        self.job.out.extend_from_slice(rest);
        self.job.out.extend_from_slice(&progress.trailer);
        Ok(true)
    }

    /// With nothing more to come from the client, its leaving is all that can happen; a next request may come early.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Step> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        let mut scratch = self.proxy.scratch.borrow_mut();
        match read(Pin::new(&mut *self.client), cx, &mut scratch) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(length @ 1..)) => {
                if self.job.upload.is_done() {
                    self.ahead.extend_from_slice(&scratch[..length]);
                }
                Ok(())
            }
            Poll::Ready(_) => Err(Step::ClientGone),
        }
    }

    /// Moves the answer on; tells whether anything moved.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        let proxy = self.proxy;
        let mut scratch = proxy.scratch.borrow_mut();
        let mut moved = false;
        loop {
            while self.down_written < self.down_out.len() {
                match Pin::new(&mut *self.client).poll_write(cx, &self.down_out[self.down_written..]) {
                    Poll::Ready(Ok(length @ 1..)) => {
                        self.down_written += length;
                        moved = true;
                    }
                    Poll::Ready(_) => return Err(Step::ClientGone),
                    Poll::Pending => return self.note(moved),
                }
            }
            self.down_out.clear();
            self.down_written = 0;
            if matches!(&self.down, Down::Body(download) if download.reader.is_done()) {
                return Err(self.complete());
            }
            match read(self.lease.stream(), cx, &mut scratch) {
                Poll::Pending => return self.note(moved),
                Poll::Ready(Ok(0)) => self.app_closed()?,
                Poll::Ready(Ok(length)) => {
                    let rest = self.take_in(&mut scratch[..length])?;
                    self.write_through(cx, &scratch[rest]);
                }
                Poll::Ready(Err(_)) => return Err(self.app_broke()),
            }
            moved = true;
        }
    }

    /// Sends what needs no change straight from where it was read, and keeps what the client does not take.
    fn write_through(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.down_out.is_empty() {
            match Pin::new(&mut *self.client).poll_write(cx, bytes) {
                Poll::Ready(Ok(length @ 1..)) => bytes = &bytes[length..],
                // An error shows itself again at the next attempt.
                _ => break,
            }
        }
        self.down_out.extend_from_slice(bytes);
    }

    fn note(&mut self, moved: bool) -> Result<bool, Step> {
        if moved {
            self.moved = Instant::now();
        }
        Ok(moved)
    }

    /// Takes in bytes of the app. Tells which of them go to the client as they are, after `down_out`.
    fn take_in(&mut self, bytes: &mut [u8]) -> Result<Range<usize>, Step> {
        match &mut self.down {
            Down::Body(_) => self.take_in_body(bytes),
            Down::Head { partial, .. } if partial.is_empty() => self.take_in_head(bytes).map(|()| 0..0),
            Down::Head { partial, .. } => {
                let mut all = std::mem::take(partial);
                all.extend_from_slice(bytes);
                self.take_in_head(&mut all).map(|()| 0..0)
            }
        }
    }

    fn take_in_head(&mut self, mut bytes: &mut [u8]) -> Result<(), Step> {
        loop {
            let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
            let (head, length) = match parse_response(bytes, &mut fields, self.job.to_head) {
                Ok(Parsed::Complete(head, length)) => (head, length),
                Ok(Parsed::Partial) if bytes.len() <= LARGEST_HEAD => {
                    if let Down::Head { partial, .. } = &mut self.down {
                        *partial = bytes.to_vec();
                    }
                    return Ok(());
                }
                Ok(Parsed::Partial) | Err(_) => return Err(self.fail(Rejection::InvalidResponse)),
            };
            match head.code {
                101 if self.job.websocket => {
                    self.write_head(&head, false);
                    self.job.exchange.answered();
                    return Err(Step::Tunnel(bytes[length..].to_vec()));
                }
                101 => return Err(self.fail(Rejection::InvalidResponse)),
                100..=199 => {
                    self.pass_interim(&head)?;
                    bytes = &mut bytes[length..];
                    if bytes.is_empty() {
                        return Ok(());
                    }
                }
                _ => {
                    self.begin_body(&head);
                    let rest = &mut bytes[length..];
                    // One write with the head.
                    let passed = self.take_in_body(rest)?;
                    self.down_out.extend_from_slice(&rest[passed]);
                    return Ok(());
                }
            }
        }
    }

    /// An interim answer goes to every client that knows what that is (RFC 9110 section 15.2).
    fn pass_interim(&mut self, head: &ResponseHead<'_, '_>) -> Result<(), Step> {
        if let Down::Head { interim, .. } = &mut self.down {
            *interim += 1;
            if *interim > MOST_INTERIM {
                return Err(self.fail(Rejection::InvalidResponse));
            }
        }
        if !self.job.is_http10 {
            self.write_head(head, false);
        }
        Ok(())
    }

    fn begin_body(&mut self, head: &ResponseHead<'_, '_>) {
        self.job.exchange.answered();
        // An answer that comes before the request is complete ends the connection: the rest would be taken for a request.
        let early = !self.job.upload.is_done();
        let close = !self.job.keep_alive || early || self.hub.phase() != Phase::Serving;
        let close = self.write_head(head, close);
        let make_chunks = head.framing == Framing::UntilClose && !self.job.is_http10;
        self.down = Down::Body(Box::new(Download {
            code: head.code,
            reader: BodyReader::new(head.framing, !self.job.is_http10),
            make_chunks,
            scan: self.proxy.login.look(head.code, self.job.asks_a_model, head.is_encoded),
            reusable: head.keep_alive,
            close,
            needs_reset: self.job.is_http10 && matches!(head.framing, Framing::Chunked | Framing::UntilClose),
        }));
    }

    fn write_head(&mut self, head: &ResponseHead<'_, '_>, close: bool) -> bool {
        let delivery = delivery_of(head.framing, self.job.is_http10, close);
        let out = &mut self.down_out;
        self.proxy.with_date(|date| write_response(out, head, delivery, date));
        delivery.close
    }

    fn take_in_body(&mut self, bytes: &mut [u8]) -> Result<Range<usize>, Step> {
        let Down::Body(download) = &mut self.down else { return Ok(0..0) };
        let (proxy, scan) = (self.proxy, &mut download.scan);
        let mut data = 0;
        let taken = download.reader.advance(bytes, |part| {
            data += part.len() as u64;
            if let Some(scan) = scan {
                scan.read(part, &proxy.login, &proxy.traffic);
            }
        });
        let progress = match taken {
            Ok(progress) => progress,
            Err(_) => return Err(self.cut(Failure::UpstreamProtocol)),
        };
        proxy.shard.sent.fetch_add(data, Relaxed);
        // Whoever sends more than it promised cannot be trusted with the next request.
        download.reusable &= progress.consumed == bytes.len();
        let passed = 0..progress.passed;
        if !download.make_chunks && progress.trailer.is_empty() {
            return Ok(passed);
        }
        if download.make_chunks && progress.passed > 0 {
            self.down_out.extend_from_slice(format!("{:x}\r\n", progress.passed).as_bytes());
        }
        self.down_out.extend_from_slice(&bytes[passed]);
        if download.make_chunks && progress.passed > 0 {
            self.down_out.extend_from_slice(b"\r\n");
        }
        self.down_out.extend_from_slice(&progress.trailer);
        Ok(0..0)
    }

    /// The app has closed its side.
    fn app_closed(&mut self) -> Result<(), Step> {
        match &mut self.down {
            Down::Head { .. } => Err(self.app_broke()),
            Down::Body(download) => {
                if !download.reader.close() {
                    return Err(self.cut(Failure::UpstreamReset));
                }
                if download.make_chunks {
                    self.down_out.extend_from_slice(b"0\r\n\r\n");
                }
                Ok(())
            }
        }
    }

    fn app_broke(&mut self) -> Step {
        match &self.down {
            Down::Head { partial, interim: 0 } if partial.is_empty() => Step::Stale,
            Down::Head { .. } => self.fail(Rejection::UpstreamClosed),
            Down::Body(_) => self.cut(Failure::UpstreamReset),
        }
    }

    /// All of the answer is with the client.
    fn complete(&mut self) -> Step {
        if let Down::Body(download) = &mut self.down {
            self.job.exchange.end(download.code, Failure::of_code(download.code));
            if let Some(scan) = &mut download.scan {
                scan.end(&self.proxy.traffic);
            }
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
                self.job.exchange.end(rejection.status(), Some(rejection.failure()));
                Step::Cut
            }
            Down::Body(_) => self.cut(rejection.failure()),
        }
    }

    /// Whoever is waited for has taken too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let timeouts = &self.proxy.settings.timeouts;
        let client_is_slow = self.down_written < self.down_out.len();
        let uploading = !self.job.upload.is_done() && !self.up.broken;
        let app_takes_nothing = self.up.written < self.job.out.len() && !self.up.broken;
        let in_body = matches!(self.down, Down::Body(_));
        let (since, limit) = if client_is_slow {
            (self.moved, timeouts.write)
        } else if in_body || uploading || app_takes_nothing {
            (self.moved, timeouts.stream_idle)
        } else {
            (self.up.ended.unwrap_or(self.moved), timeouts.response_header)
        };
        let deadline = (!limit.is_zero()).then(|| since + limit);
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
enum Step {
    Complete,
    Tunnel(Vec<u8>),
    Stale,
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
