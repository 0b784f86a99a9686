use super::super::admission::Share;
use super::super::exchange::{Asked, Exchange};
use super::super::http1::{
    BodyReader, Expects, Field, Framing, Malformed, Parsed, RequestHead, Room, has_bare_line_ends, parse_request,
};
use super::super::http2::Beginning;
use super::super::local::{Local, LocalAnswer, LocalRequest};
use super::super::rejection::Rejection;
use super::super::rewrite::{Delivery, write_own, write_request};
use super::super::trace::TraceId;
use super::final_answer::final_answer;
use super::retry::Tries;
use super::{After, ClientStream, Connection, Delayed, Job, Slot, Step};
use crate::clock;
use crate::drain::Phase;

/// How a client asked, as far as the form of an answer of ours depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asker {
    keep: bool,
    pub(super) to_head: bool,
    pub(super) is_http10: bool,
}

impl Asker {
    /// The same, if this becomes of the connection.
    pub(super) fn keeping(self, keep: bool) -> Self {
        Self { keep, ..self }
    }
}

/// An answer that is not the app's.
enum Own {
    Now(Step),
    Later(Delayed),
}

/// What becomes of a head: refused, answered by us, or made into a request for the app.
impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// Makes what it can of the bytes so far; `None` when more are needed. Nothing waits in here, so the bytes stay where
    /// they were read.
    pub(super) fn digest(&mut self, length: usize) -> Option<Step> {
        let proxy = self.proxy.clone();
        let mut scratch = proxy.scratch.borrow_mut();
        let limit = usize::try_from(proxy.settings.limits.header_bytes.0).unwrap_or(usize::MAX);
        let mut owned = std::mem::take(&mut self.ahead);
        // A head is read anew with each line that comes, not with each byte: those may come one by one.
        let came = &scratch[..length];
        let is_more = !owned.is_empty() && length > 0 && owned.len() + length <= limit;
        if is_more && memchr::memchr(b'\n', came).is_none() {
            owned.extend_from_slice(came);
            self.ahead = owned;
            return None;
        }
        let bytes = if owned.is_empty() {
            &mut scratch[..length]
        } else {
            owned.extend_from_slice(&scratch[..length]);
            &mut owned[..]
        };
        // RFC 9112 section 2.2: some clients send an empty line after a body.
        let empty = bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2;
        let bytes = &mut bytes[empty..];
        let mut fields = Room::new();
        let (head, length) = match parse_request(bytes, &mut fields) {
            Ok(Parsed::Complete(head, length)) if length <= limit => (head, length),
            // No need to wait for the rest.
            Ok(Parsed::Partial) if has_bare_line_ends(bytes) => {
                return Some(self.refuse(self.unread(), Malformed::BareLineEnd.into(), Asker::default()));
            }
            Ok(Parsed::Partial) if bytes.len() <= limit => {
                self.ahead = bytes.to_vec();
                return None;
            }
            Ok(_) => return Some(self.refuse(self.unread(), too_large(bytes, limit), Asker::default())),
            Err(malformed) => {
                return match Beginning::of(bytes) {
                    Beginning::Http2 if self.fresh && empty == 0 => Some(Step::Http2(bytes.to_vec())),
                    Beginning::Perhaps if self.fresh && empty == 0 => {
                        self.ahead = bytes.to_vec();
                        None
                    }
                    _ => Some(self.refuse(self.unread(), malformed.into(), Asker::default())),
                };
            }
        };
        self.fresh = false;
        let keep = head.keep_alive && head.framing == Framing::Empty && head.method != "CONNECT";
        let asker = Asker { keep, to_head: head.method == "HEAD", is_http10: head.is_http10 };
        if let Some(own) = self.own_answer(&head, asker) {
            return Some(self.follow(own, &mut bytes[length..]));
        }
        let share = match self.admit(&head) {
            Ok(share) => share,
            Err(rejection) => {
                let asked = self.asked(&head);
                let refused = self.refuse(asked, rejection, asker);
                self.ahead = bytes[length..].to_vec();
                return Some(refused);
            }
        };
        if let Some(answer) = final_answer(&head) {
            let asked = self.asked(&head);
            Exchange::begin(proxy.ledger.clone(), asked).end(answer.status().as_u16(), None);
            let own = self.own(&answer, asker);
            self.ahead = bytes[length..].to_vec();
            return Some(own);
        }
        let mut slot = proxy.slot();
        slot.job.insert(self.job(head)).exchange.share = share;
        Some(self.begin(slot, &mut bytes[length..]))
    }

    /// Takes in what came of the body.
    fn begin(&mut self, mut slot: Box<Slot>, rest: &mut [u8]) -> Step {
        let Some(job) = &mut slot.job else { return Step::End };
        match job.take_in(rest) {
            Ok(taken) => self.ahead = rest[taken..].to_vec(),
            Err(malformed) => return self.give_up(job, Rejection::Malformed(malformed)),
        }
        let most = self.proxy.settings.limits.body_bytes.0;
        if most > 0 && job.exchange.received.get() > most {
            return self.give_up(job, Rejection::BodyTooLarge);
        }
        Step::Forward(slot)
    }

    /// Takes in what came after the head of a request that is not for the app.
    fn follow(&mut self, own: Own, rest: &mut [u8]) -> Step {
        match own {
            Own::Now(step) => {
                self.ahead = rest.to_vec();
                step
            }
            Own::Later(delayed) => self.delay(delayed, rest),
        }
    }

    /// The answer to a request that is not for the app.
    fn own_answer(&self, head: &RequestHead<'_, '_>, asker: Asker) -> Option<Own> {
        let target = &head.target;
        let request = LocalRequest::new(head.method, target.path(), target.path_and_query, head.fields.all);
        let proxy = &self.proxy;
        let plain = request.is_plain() && asker.keep && !asker.is_http10 && self.hub.phase() == Phase::Serving;
        let known = plain && proxy.kept.knows(request.path);
        if known && let Some(bytes) = proxy.kept.write(&request, &proxy.local, clock::turn(), || proxy.answer_buffer())
        {
            return Some(Own::Now(Step::Own(bytes, After::Keep)));
        }
        // Asked for first, so that an answer that has changed meanwhile is kept under the old one and not sent again.
        let stamp = if known { proxy.local.stamp(&request) } else { None };
        let response = match proxy.local.answer(&request)? {
            LocalAnswer::Now(response) => response,
            LocalAnswer::Later(later) => {
                return Some(match Delayed::new(later, head, asker) {
                    Ok(delayed) => Own::Later(delayed),
                    Err(rejection) => Own::Now(self.own(&rejection.response(), asker)),
                });
            }
        };
        let step = self.own_local(response, asker);
        match (&step, stamp, proxy.second_ends()) {
            (Step::Own(bytes, After::Keep), Some(stamp), Some(until)) => {
                proxy.kept.keep(request.path, stamp, until, bytes);
            }
            // Over already: only that the path is ours is remembered.
            _ if plain && !known && proxy.local.stamp(&request).is_some() => {
                proxy.kept.keep(request.path, 0, clock::turn(), &[]);
            }
            _ => {}
        }
        Some(Own::Now(step))
    }

    /// What can be refused before anything is done.
    fn admit(&self, head: &RequestHead<'_, '_>) -> Result<Option<Share>, Rejection> {
        let proxy = &self.proxy;
        if head.method == "CONNECT" {
            return Err(Rejection::Connect);
        }
        if head.websocket && !proxy.pool.target.can_upgrade() {
            return Err(Rejection::NoWebSocket);
        }
        if head.expects == Expects::Other {
            return Err(Rejection::Expectation);
        }
        if proxy.gate.is_closed() {
            return Err(Rejection::NotReady);
        }
        let limit = proxy.settings.limits.body_bytes.0;
        if limit > 0 && matches!(head.framing, Framing::Length(length) if length > limit) {
            return Err(Rejection::BodyTooLarge);
        }
        if head.fields.of(Field::Via).any(|field| proxy.via.is_in(field.value)) {
            return Err(Rejection::Loop);
        }
        proxy.admission.may_send(|| self.forwarded.client(head.fields))
    }

    fn job(&self, mut head: RequestHead<'_, '_>) -> Job {
        let proxy = &self.proxy;
        // For what the client has asked, not for what the app is asked.
        let mut asked = Asked::of(&head, self.forwarded.arrival.http2, None, None);
        head.target.path_and_query = proxy.at_app(head.target.path_and_query);
        let head = &head;
        let mut out = proxy.buffer();
        let tracer = proxy.settings.trace.start.then_some(&proxy.ledger.tracer);
        (asked.client, asked.trace) = write_request(&mut out, head, &self.forwarded, &proxy.host, &proxy.via, tracer);
        Job {
            exchange: Exchange::begin(proxy.ledger.clone(), asked),
            to_head: head.method == "HEAD",
            is_http10: head.is_http10,
            keep_alive: head.keep_alive,
            websocket: head.websocket,
            asks_a_model: head.method == "POST" && proxy.witness.is_model_path(head.target.path()),
            awaits_leave: head.expects == Expects::Continue,
            unanswered: head.expects == Expects::Continue,
            idempotent: matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE"),
            tries: Tries::new(&proxy.settings.retry),
            upload: BodyReader::new(head.framing, true).without(head.names_fields.then(|| head.fields.named())),
            out,
            share: None,
            ended: None,
        }
    }

    /// A request that is not for the app.
    fn asked(&self, head: &RequestHead<'_, '_>) -> Asked {
        let (client, trace) = (self.forwarded.client(head.fields), TraceId::of(head.fields));
        Asked::of(head, self.forwarded.arrival.http2, client, trace)
    }

    /// Counts a request that is not forwarded, and answers it.
    pub(super) fn refuse(&self, asked: Asked, rejection: Rejection, asker: Asker) -> Step {
        Exchange::begin(self.proxy.ledger.clone(), asked).reject(rejection);
        self.own(&rejection.response(), asker)
    }

    /// Ends a request that was begun, and answers it.
    pub(super) fn give_up(&self, job: &mut Job, rejection: Rejection) -> Step {
        job.exchange.reject(rejection);
        let keep = job.keep_alive && job.upload.is_done();
        self.own(&rejection.response(), Asker { keep, to_head: job.to_head, is_http10: job.is_http10 })
    }

    pub(super) fn own(&self, response: &hyper::Response<bytes::Bytes>, asker: Asker) -> Step {
        let (close, after) = self.after_own(asker, false);
        let mut bytes = self.proxy.answer_buffer();
        let delivery = Delivery { close, to_http10: asker.is_http10, chunked: false };
        self.proxy.with_date(|date| write_own(&mut bytes, response, asker.to_head, delivery, date));
        Step::Own(bytes, after)
    }

    /// Whether the connection ends with an answer of ours, and how. `must_close`: only that tells its end.
    pub(super) fn after_own(&self, asker: Asker, must_close: bool) -> (bool, After) {
        let close = must_close || !asker.keep || self.hub.phase() != Phase::Serving;
        let after = match (close, asker.keep) {
            (false, _) => After::Keep,
            // All of the request was read, so nothing can reset the answer away.
            (true, true) => After::Drop,
            (true, false) => After::Close,
        };
        (close, after)
    }
}

/// Which limit a head has gone past: a first line that does not end is a long target.
fn too_large(bytes: &[u8], limit: usize) -> Rejection {
    let line_ends = memchr::memchr(b'\n', &bytes[..bytes.len().min(limit)]).is_some();
    if line_ends { Rejection::HeadTooLarge } else { Rejection::TargetTooLong }
}
