use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::exchange::Exchange;
use super::http1::{BodyReader, Framing, MOST_FIELDS, Malformed, Parsed, RequestHead, parse_request};
use super::local::{Local, LocalRequest};
use super::rejection::Rejection;
use super::relay::{Ended, Relay};
use super::rewrite::{Delivery, Forwarded, write_own, write_request};
use super::timer::Timer;
use super::tunnel::tunnel;
use super::worker::Proxy;
use crate::drain::{Hub, Member, Phase};
use crate::traffic::{Failure, Method};

/// A client's byte stream.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close a reset, or an ordinary one again. A reset is the only way to say that a body without a
    /// length is not complete.
    fn reset_on_close(&self, reset: bool);
}

/// One client connection.
pub(super) struct Connection<'w, L, S> {
    proxy: &'w Proxy<L>,
    stream: S,
    hub: &'w Hub,
    member: Option<Member<'w>>,
    forwarded: Forwarded,
    /// What came of the next request before its time.
    ahead: Vec<u8>,
    timer: Timer,
}

/// What the next bytes of a client ask for.
enum Step {
    /// The client is done, or we are.
    End,
    /// An answer of our own.
    Own(Vec<u8>, After),
    /// The app's business.
    Forward(Box<Job>),
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Keep,
    /// Close once the client has read the answer.
    Close,
    /// Close at once.
    Drop,
    /// Close, and make sure that the client notices that the answer was cut.
    Reset,
}

/// A request on its way to the app.
pub(super) struct Job {
    pub(super) exchange: Exchange,
    pub(super) to_head: bool,
    pub(super) is_http10: bool,
    pub(super) keep_alive: bool,
    pub(super) websocket: bool,
    pub(super) asks_a_model: bool,
    /// May be sent twice (RFC 9110 section 9.2.2).
    pub(super) idempotent: bool,
    /// What is left of the body.
    pub(super) upload: BodyReader,
    /// How much of the body came.
    pub(super) uploaded: u64,
    /// The head, rewritten, and what of the body came with it.
    pub(super) out: Vec<u8>,
}

/// How a client asked, as far as the form of an answer of ours depends on it.
#[derive(Clone, Copy, Debug, Default)]
struct Asker {
    keep: bool,
    to_head: bool,
    is_http10: bool,
}

/// What reading from the client brought.
enum Read {
    Bytes(usize),
    /// The end, or an error: nobody is there any more.
    Gone,
    Late,
    /// The worker is closing and nothing has been asked.
    Closing,
}

/// How long, and how much, a closing connection is still read from, so that the client can read our last answer before
/// the kernel resets the connection for what it sent too much.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// For so long after its beginning, and after each answer, a connection is not closed under a request that may be on its
/// way, although the worker is closing.
const CLOSING_PAUSE: Duration = Duration::from_secs(1);

impl<'w, L: Local, S: ClientStream> Connection<'w, L, S> {
    pub(super) fn new(proxy: &'w Proxy<L>, stream: S, peer: Option<IpAddr>, hub: &'w Hub) -> Self {
        let forwarded = Forwarded::new(peer, &proxy.settings.trusted_proxies);
        Self { proxy, stream, hub, member: None, forwarded, ahead: Vec::new(), timer: Timer::default() }
    }

    pub(super) async fn run(mut self) {
        loop {
            let after = match self.next().await {
                Step::End => After::Drop,
                Step::Own(bytes, after) => match self.write_all(bytes).await {
                    Ok(()) => after,
                    Err(_) => After::Drop,
                },
                // Boxed, so that an idle connection is small.
                Step::Forward(job) => Box::pin(self.forward(job)).await,
            };
            match after {
                After::Keep => {}
                After::Close => return self.linger().await,
                After::Drop => return,
                After::Reset => return self.stream.reset_on_close(true),
            }
        }
    }

    /// Reads until there is a head.
    async fn next(&mut self) -> Step {
        let timeouts = &self.proxy.settings.timeouts;
        let (idle, head) = (timeouts.idle, timeouts.request_header);
        let idle_since = Instant::now();
        if !self.ahead.is_empty()
            && let Some(step) = self.digest(0)
        {
            return step;
        }
        let mut begun = (!self.ahead.is_empty()).then_some(idle_since);
        loop {
            let (since, limit) = begun.map_or((idle_since, idle), |begun| (begun, head));
            let deadline = (!limit.is_zero()).then(|| since + limit);
            match (self.read(deadline, begun.is_none().then_some(idle_since)).await, begun) {
                (Read::Bytes(length), _) => {
                    if let Some(step) = self.digest(length) {
                        return step;
                    }
                    // An empty line before a request is nothing yet.
                    if !self.ahead.is_empty() {
                        begun.get_or_insert_with(Instant::now);
                    }
                }
                (Read::Late, Some(_)) => return self.refuse(Method::Other, Rejection::HeadTooSlow, Asker::default()),
                (Read::Gone, Some(_)) => {
                    let code = super::exchange::CLIENT_CLOSED;
                    self.proxy.shard.request(Method::Other, code, Some(Failure::ClientClosed), Duration::ZERO);
                    return Step::End;
                }
                (Read::Gone | Read::Late | Read::Closing, _) => return Step::End,
            }
        }
    }

    /// `idle_since`: nothing has been asked since then.
    async fn read(&mut self, deadline: Option<Instant>, idle_since: Option<Instant>) -> Read {
        std::future::poll_fn(|cx| {
            if self.member.is_none() {
                self.member = Some(self.hub.join(cx.waker()));
            }
            let mut scratch = self.proxy.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Poll::Ready(Read::Bytes(buffer.filled().len())),
                Poll::Ready(_) => Poll::Ready(Read::Gone),
                Poll::Pending => match idle_since.filter(|_| self.hub.phase() == Phase::Closing) {
                    // Who has just connected, or just had an answer, is about to ask.
                    Some(since) => self.timer.poll(cx, Some(since + CLOSING_PAUSE)).map(|()| Read::Closing),
                    None => self.timer.poll(cx, deadline).map(|()| Read::Late),
                },
            }
        })
        .await
    }

    /// Makes what it can of the bytes so far; `None` when more are needed. Nothing waits in here, so the bytes stay where
    /// they were read.
    fn digest(&mut self, length: usize) -> Option<Step> {
        let proxy = self.proxy;
        let mut scratch = proxy.scratch.borrow_mut();
        let mut owned = std::mem::take(&mut self.ahead);
        let bytes = if owned.is_empty() {
            &mut scratch[..length]
        } else {
            owned.extend_from_slice(&scratch[..length]);
            &mut owned[..]
        };
        // RFC 9112 section 2.2: some clients send an empty line after a body.
        let empty = bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2;
        let bytes = &mut bytes[empty..];
        let limit = usize::try_from(proxy.settings.limits.header_bytes.0).unwrap_or(usize::MAX);
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let (head, length) = match parse_request(bytes, &mut fields) {
            Ok(Parsed::Complete(head, length)) if length <= limit => (head, length),
            Ok(Parsed::Partial) if bytes.len() <= limit => {
                self.ahead = bytes.to_vec();
                return None;
            }
            Ok(_) => return Some(self.refuse(Method::Other, too_large(bytes, limit), Asker::default())),
            Err(Malformed::TooManyFields) => {
                return Some(self.refuse(Method::Other, Rejection::HeadTooLarge, Asker::default()));
            }
            Err(malformed) => {
                return Some(self.refuse(Method::Other, Rejection::Malformed(malformed), Asker::default()));
            }
        };
        let keep = head.keep_alive && head.framing == Framing::Empty && head.method != "CONNECT";
        let asker = Asker { keep, to_head: head.method == "HEAD", is_http10: head.is_http10 };
        if let Some(own) = self.own_answer(&head, asker) {
            self.ahead = bytes[length..].to_vec();
            return Some(own);
        }
        if let Err(rejection) = self.admit(&head) {
            let refused = self.refuse(Method::of(head.method), rejection, asker);
            self.ahead = bytes[length..].to_vec();
            return Some(refused);
        }
        let mut job = self.job(&head);
        let rest = &mut bytes[length..];
        match job.take_in(rest) {
            Ok(taken) => self.ahead = rest[taken..].to_vec(),
            Err(malformed) => {
                return Some(self.give_up(&mut job, Rejection::Malformed(malformed)));
            }
        }
        let most = proxy.settings.limits.body_bytes.0;
        if most > 0 && job.uploaded > most {
            return Some(self.give_up(&mut job, Rejection::BodyTooLarge));
        }
        proxy.shard.received.fetch_add(job.uploaded, Relaxed);
        Some(Step::Forward(Box::new(job)))
    }

    /// The answer to a request that is not for the app.
    fn own_answer(&self, head: &RequestHead<'_, '_>, asker: Asker) -> Option<Step> {
        let target = &head.target;
        let request = LocalRequest::new(head.method, target.path(), target.path_and_query, head.fields);
        let response = self.proxy.local.answer(&request)?;
        Some(self.own(&response, asker))
    }

    /// What can be refused before anything is done.
    fn admit(&self, head: &RequestHead<'_, '_>) -> Result<(), Rejection> {
        let proxy = self.proxy;
        if head.method == "CONNECT" {
            return Err(Rejection::Connect);
        }
        if proxy.gate.is_closed() {
            return Err(Rejection::NotReady);
        }
        let limit = proxy.settings.limits.body_bytes.0;
        if limit > 0 && matches!(head.framing, Framing::Length(length) if length > limit) {
            return Err(Rejection::BodyTooLarge);
        }
        let is_via_us = |field: &httparse::Header<'_>| {
            super::http1::Field::of(field.name) == super::http1::Field::Via
                && memchr::memmem::find(field.value, &proxy.via).is_some()
        };
        if head.fields.iter().any(is_via_us) {
            return Err(Rejection::Loop);
        }
        proxy.admission.may_send(|| self.forwarded.client(head.fields))
    }

    fn job(&self, head: &RequestHead<'_, '_>) -> Job {
        let proxy = self.proxy;
        let mut out = proxy.buffer();
        write_request(&mut out, head, &self.forwarded, &proxy.host, &proxy.via);
        Job {
            exchange: Exchange::begin(proxy.shard.clone(), Method::of(head.method)),
            to_head: head.method == "HEAD",
            is_http10: head.is_http10,
            keep_alive: head.keep_alive,
            websocket: head.websocket,
            asks_a_model: head.method == "POST" && proxy.witness.is_model_path(head.target.path()),
            idempotent: matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE"),
            upload: BodyReader::new(head.framing, true),
            uploaded: 0,
            out,
        }
    }

    /// Counts a request that is not forwarded, and answers it.
    fn refuse(&self, method: Method, rejection: Rejection, asker: Asker) -> Step {
        self.proxy.shard.request(method, rejection.status(), Some(rejection.failure()), Duration::ZERO);
        self.own(&rejection.response(), asker)
    }

    /// Ends a request that was begun, and answers it.
    fn give_up(&self, job: &mut Job, rejection: Rejection) -> Step {
        job.exchange.end(rejection.status(), Some(rejection.failure()));
        let keep = job.keep_alive && job.upload.is_done();
        self.own(&rejection.response(), Asker { keep, to_head: job.to_head, is_http10: job.is_http10 })
    }

    fn own(&self, response: &hyper::Response<bytes::Bytes>, asker: Asker) -> Step {
        let close = !asker.keep || self.hub.phase() != Phase::Serving;
        let mut bytes = self.proxy.buffer();
        let delivery = Delivery { close, to_http10: asker.is_http10, chunked: false };
        self.proxy.with_date(|date| write_own(&mut bytes, response, asker.to_head, delivery, date));
        Step::Own(bytes, if close { After::Close } else { After::Keep })
    }

    /// Has the app answer. Tried again is only what the app has not seen, or may see twice.
    async fn forward(&mut self, mut job: Box<Job>) -> After {
        let proxy = self.proxy;
        match self.unless_gone(&job, proxy.admission.enter()).await {
            Some(Ok(permit)) => job.exchange.permit = permit,
            Some(Err(rejection)) => return self.reject(&mut job, rejection).await,
            None => return After::Drop,
        }
        let mut attempts = proxy.settings.retry.attempts;
        let mut may_reuse = true;
        loop {
            let lease = match proxy.pool.reuse().filter(|_| may_reuse) {
                Some(lease) => lease,
                None => match self.unless_gone(&job, proxy.pool.connect()).await {
                    Some(Ok(lease)) => lease,
                    Some(Err(rejection)) if attempts > 0 && rejection.is_worth_another_attempt() => {
                        attempts -= 1;
                        proxy.shard.retries.fetch_add(1, Relaxed);
                        if self.unless_gone(&job, tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
                            return After::Drop;
                        }
                        continue;
                    }
                    Some(Err(rejection)) => return self.reject(&mut job, rejection).await,
                    None => return After::Drop,
                },
            };
            let reused = lease.reused;
            let relay =
                Relay::new(self.proxy, &mut self.stream, lease, &mut job, &mut self.ahead, &mut self.timer, self.hub);
            match relay.run().await {
                Ended::Complete { keep } => {
                    self.proxy.give_back(std::mem::take(&mut job.out));
                    return if keep { After::Keep } else { After::Close };
                }
                Ended::Tunnel { mut lease, head, first } => {
                    let silence = self.proxy.settings.timeouts.stream_idle;
                    let ahead = std::mem::take(&mut self.ahead);
                    if self.write_all(head).await.is_err() {
                        return After::Drop;
                    }
                    let first = (&ahead[..], &first[..]);
                    let broken = tunnel(&mut self.stream, lease.stream(), first, &mut job.exchange, silence).await;
                    return if broken == Some(Failure::UpstreamReset) { After::Reset } else { After::Drop };
                }
                // What was not sent at all may be sent again however often: each time one stale connection fewer.
                Ended::Stale { sent: false, .. } if reused => {}
                // The next one kept may be as stale: this time a new one.
                Ended::Stale { whole: true, .. } if reused && job.idempotent && attempts > 0 => {
                    attempts -= 1;
                    may_reuse = false;
                }
                Ended::Stale { .. } => return self.reject(&mut job, Rejection::UpstreamClosed).await,
                Ended::Failed(rejection) => return self.reject(&mut job, rejection).await,
                Ended::Cut { reset } => return if reset { After::Reset } else { After::Drop },
                Ended::ClientGone => return After::Drop,
            }
            proxy.shard.retries.fetch_add(1, Relaxed);
        }
    }

    /// Waits for something before the app is asked, but not for a client that has gone.
    async fn unless_gone<T>(&mut self, job: &Job, awaited: impl Future<Output = T>) -> Option<T> {
        let mut awaited = pin!(awaited);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = awaited.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            // With a body still to come, its bytes stay where they are until the app can have them.
            if !job.upload.is_done() {
                return Poll::Pending;
            }
            let mut scratch = self.proxy.scratch.borrow_mut();
            watch(Pin::new(&mut self.stream), cx, &mut scratch, &mut self.ahead).map(|_| None)
        })
        .await
    }

    async fn reject(&mut self, job: &mut Job, rejection: Rejection) -> After {
        let Step::Own(bytes, after) = self.give_up(job, rejection) else { return After::Drop };
        if self.write_all(bytes).await.is_ok() { after } else { After::Drop }
    }

    async fn write_all(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let limit = self.proxy.settings.timeouts.write;
        let mut written = 0;
        while written < bytes.len() {
            let mut deadline = None;
            written += std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut self.stream).poll_write(cx, &bytes[written..]);
                if polled.is_ready() || limit.is_zero() {
                    return polled;
                }
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
                self.timer.poll(cx, Some(deadline)).map(|()| Err(io::ErrorKind::TimedOut.into()))
            })
            .await?;
        }
        self.proxy.give_back(bytes);
        Ok(())
    }

    /// Ends our side and reads on for a moment.
    async fn linger(mut self) {
        let deadline = Some(Instant::now() + LINGER);
        let mut left = LINGER_BYTES;
        let ended = std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
        while ended.is_ok() && left > 0 {
            match self.read(deadline, None).await {
                Read::Bytes(length) => left = left.saturating_sub(length),
                _ => return,
            }
        }
    }
}

/// Between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl Job {
    /// Takes in what came of the body; tells how many bytes belonged to it.
    fn take_in(&mut self, bytes: &mut [u8]) -> Result<usize, Malformed> {
        let uploaded = &mut self.uploaded;
        let progress = self.upload.advance(bytes, |data| *uploaded += data.len() as u64)?;
        self.out.extend_from_slice(&bytes[..progress.passed]);
        self.out.extend_from_slice(&progress.trailer);
        Ok(progress.consumed)
    }
}

/// Which limit a head has gone past: a first line that does not end is a long target.
fn too_large(bytes: &[u8], limit: usize) -> Rejection {
    let line_ends = memchr::memchr(b'\n', &bytes[..bytes.len().min(limit)]).is_some();
    if line_ends { Rejection::HeadTooLarge } else { Rejection::TargetTooLong }
}

/// At most so much of the next requests is taken in before its time.
const MOST_AHEAD: usize = 64 * 1024;

/// Watches a client that has nothing more to say; ready when it has gone. What it says all the same is kept.
pub(super) fn watch<S: ClientStream>(
    mut client: Pin<&mut S>,
    cx: &mut Context<'_>,
    scratch: &mut [u8],
    ahead: &mut Vec<u8>,
) -> Poll<()> {
    while ahead.len() < MOST_AHEAD {
        let mut buffer = ReadBuf::new(scratch);
        match client.as_mut().poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => ahead.extend_from_slice(buffer.filled()),
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}
