use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::super::connection::{ClientStream, Job};
use super::super::exchange::Exchange;
use super::super::http1::{
    BodyReader, Field, Framing, Malformed, Parsed, Progress, ResponseHead, Room, parse_response, trim,
};
use super::super::local::Local;
use super::super::reading::Reading;
use super::super::rejection::Rejection;
use super::super::rewrite::{delivery_of, write_response};
use super::super::upstream::Broken;
use super::super::via::Version;
use super::super::witness::{Witness, look_at};
use super::super::worker::Proxy;
use super::{Down, Download, LARGEST_HEAD, MOST_INTERIM, Relay, Step, read};
use crate::drain::Phase;
use crate::traffic::Failure;

/// The way from the app to the client.
impl<L: Local, S: ClientStream> Relay<'_, L, S> {
    /// Moves the answer on; tells whether anything moved.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        let proxy = self.proxy;
        let mut scratch = proxy.scratch.borrow_mut();
        let mut moved = self.client.has_taken();
        loop {
            while self.course.down_written < self.course.down_out.len() {
                match Pin::new(&mut *self.client).poll_write(cx, &self.course.down_out[self.course.down_written..]) {
                    Poll::Ready(Ok(length @ 1..)) => {
                        self.course.down_written += length;
                        moved = true;
                    }
                    Poll::Ready(_) => return Err(Step::ClientGone),
                    Poll::Pending => {
                        self.course.lease.stream().absorb(cx);
                        return self.note(moved);
                    }
                }
            }
            self.course.down_out.clear();
            self.course.down_written = 0;
            self.begin_splice();
            if self.course.pipe.is_some() {
                moved |= self.poll_splice(cx)?;
                if self.course.pipe.is_some() {
                    return self.note(moved);
                }
            }
            if matches!(&self.course.down, Down::Body(download) if download.reader.is_done()) {
                return Err(self.complete());
            }
            let room = self.client.room(cx).min(scratch.len());
            if room == 0 {
                self.course.lease.stream().absorb(cx);
                return self.note(moved);
            }
            match read(self.course.lease.stream(), cx, &mut scratch[..room]) {
                Poll::Pending => return self.note(moved),
                Poll::Ready(Ok(0)) => self.app_closed()?,
                Poll::Ready(Ok(length)) => {
                    let rest = self.take_in(&mut scratch[..length])?;
                    self.write_through(cx, &scratch[rest]);
                }
                Poll::Ready(Err(error)) => return Err(self.app_failed(&error)),
            }
            moved = true;
        }
    }

    /// Sends what needs no change straight from where it was read, and keeps what the client does not take.
    fn write_through(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.course.down_out.is_empty() {
            match Pin::new(&mut *self.client).poll_write(cx, bytes) {
                Poll::Ready(Ok(length @ 1..)) => bytes = &bytes[length..],
                // An error shows itself again at the next attempt.
                _ => break,
            }
        }
        self.course.down_out.extend_from_slice(bytes);
    }

    /// Takes in bytes of the app. Tells which of them go to the client as they are, after `down_out`.
    fn take_in(&mut self, bytes: &mut [u8]) -> Result<Range<usize>, Step> {
        match &mut self.course.down {
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
            let mut fields = Room::new();
            let (head, length) = match parse_response(bytes, &mut fields, self.job.to_head) {
                Ok(Parsed::Complete(head, length)) if length <= LARGEST_HEAD => (head, length),
                Ok(Parsed::Partial) if bytes.len() <= LARGEST_HEAD => {
                    if let Down::Head { partial, .. } = &mut self.course.down {
                        *partial = bytes.to_vec();
                    }
                    return Ok(());
                }
                Ok(_) | Err(Malformed::TooManyFields) => return Err(self.fail(Rejection::ResponseHeadTooLarge)),
                Err(malformed) => return Err(self.invalid(malformed.code())),
            };
            match head.code {
                101 if self.job.websocket && agrees(&head) => {
                    self.write_head(&head, false);
                    self.job.exchange.answered();
                    return Err(Step::Tunnel(bytes[length..].to_vec()));
                }
                101 => return Err(self.invalid("unasked_upgrade")),
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
                    let Ok(passed) = self.take_in_body(rest) else { return Err(self.take_back()) };
                    self.course.down_out.extend_from_slice(&rest[passed]);
                    return Ok(());
                }
            }
        }
    }

    /// The head of the answer is not one, for this reason.
    fn invalid(&mut self, reason: &'static str) -> Step {
        self.job.exchange.flaw = Some(reason);
        self.fail(Rejection::InvalidResponse)
    }

    /// The answer is broken from its beginning, and none of it has left: the client gets one that says so.
    fn take_back(&mut self) -> Step {
        if self.has_begun() {
            return Step::Cut;
        }
        self.course.down_out.clear();
        if matches!(&self.course.down, Down::Body(download) if download.needs_reset) {
            self.client.reset_on_close(false);
        }
        self.course.down = Down::Head { partial: Vec::new(), interim: 0 };
        Step::Failed(Rejection::InvalidResponse)
    }

    /// An interim answer goes to every client that knows what that is (RFC 9110 section 15.2).
    fn pass_interim(&mut self, head: &ResponseHead<'_, '_>) -> Result<(), Step> {
        if let Down::Head { interim, .. } = &mut self.course.down {
            *interim += 1;
            self.job.awaits_leave &= head.code != 100;
            self.job.unanswered &= head.code != 100;
            if *interim > MOST_INTERIM {
                return Err(self.invalid("too_many_interim_answers"));
            }
        }
        if !self.job.is_http10 {
            self.write_head(head, false);
        }
        Ok(())
    }

    fn begin_body(&mut self, head: &ResponseHead<'_, '_>) {
        self.job.exchange.answered();
        // It will not be sent once more, and the answer may take its time.
        if self.course.up.ended.is_some() {
            self.course.up.written = 0;
            self.proxy.give_back(std::mem::take(&mut self.job.out));
            self.job.share = None;
        }
        // An answer that comes before the request is complete ends the connection: the rest would be taken for a request.
        let early = !self.job.upload.is_done();
        let close = !self.job.keep_alive || early || self.hub.phase() != Phase::Serving;
        let close = self.write_head(head, close);
        let make_chunks = head.framing == Framing::UntilClose && !self.job.is_http10;
        // From here on every way to end but the right one is a reset, whoever ends it.
        let needs_reset = self.job.is_http10 && matches!(head.framing, Framing::Chunked | Framing::UntilClose);
        if needs_reset {
            self.client.reset_on_close(true);
        }
        self.course.down =
            Down::Body(Download { make_chunks, close, needs_reset, ..Download::begin(head, self.job, self.proxy) });
    }

    fn write_head(&mut self, head: &ResponseHead<'_, '_>, close: bool) -> bool {
        let delivery = delivery_of(head.framing, self.job.is_http10, close);
        // Not before it is needed: waiting for the app then takes one buffer, not two.
        if self.course.down_out.capacity() == 0 {
            self.course.down_out = self.proxy.answer_buffer();
        }
        let came = if self.course.lease.is_http2() { Version::Http2 } else { Version::of_http1(head.is_http10) };
        let out = &mut self.course.down_out;
        self.proxy.with_date(|date| write_response(out, head, delivery, date, &self.proxy.via, came));
        delivery.close
    }

    fn take_in_body(&mut self, bytes: &mut [u8]) -> Result<Range<usize>, Step> {
        let Down::Body(download) = &mut self.course.down else { return Ok(0..0) };
        let mut data = 0;
        let taken = download.take_in(bytes, &self.job.exchange, self.proxy, |part| data += part.len() as u64);
        let progress = match taken {
            Ok(progress) => progress,
            Err(malformed) => {
                self.job.exchange.flaw = Some(malformed.code());
                return Err(self.cut(Failure::UpstreamProtocol));
            }
        };
        self.job.exchange.send(data);
        let passed = 0..progress.passed;
        if !download.make_chunks && progress.trailer.is_empty() {
            return Ok(passed);
        }
        if download.make_chunks && progress.passed > 0 {
            self.course.down_out.extend_from_slice(format!("{:x}\r\n", progress.passed).as_bytes());
        }
        self.course.down_out.extend_from_slice(&bytes[passed]);
        if download.make_chunks && progress.passed > 0 {
            self.course.down_out.extend_from_slice(b"\r\n");
        }
        self.course.down_out.extend_from_slice(&progress.trailer);
        Ok(0..0)
    }

    /// The app has closed its side.
    pub(super) fn app_closed(&mut self) -> Result<(), Step> {
        match &mut self.course.down {
            Down::Head { .. } => Err(self.app_broke()),
            Down::Body(download) => {
                if !download.reader.close() {
                    return Err(self.cut(Failure::UpstreamReset));
                }
                if download.make_chunks {
                    self.course.down_out.extend_from_slice(b"0\r\n\r\n");
                }
                Ok(())
            }
        }
    }

    pub(super) fn app_failed(&mut self, error: &io::Error) -> Step {
        match (Broken::of_read(error), &self.course.down) {
            (Broken::Refused, Down::Head { interim: 0, .. }) => Step::Refused,
            (Broken::LeftOut, Down::Head { interim: 0, .. }) => Step::LeftOut,
            (Broken::Reset, Down::Head { .. }) => self.fail(Rejection::StreamReset),
            (Broken::Rejected(rejection), Down::Head { .. }) => self.fail(rejection),
            (Broken::Rejected(rejection), Down::Body(_)) => self.cut(rejection.failure()),
            _ => self.app_broke(),
        }
    }

    fn app_broke(&mut self) -> Step {
        match &self.course.down {
            Down::Head { partial, interim: 0 } if partial.is_empty() => Step::Stale,
            Down::Head { .. } => self.fail(Rejection::UpstreamClosed),
            Down::Body(_) => self.cut(Failure::UpstreamReset),
        }
    }
}

impl Download {
    /// For a client that gets it as the app frames it.
    pub(super) fn begin<L>(head: &ResponseHead<'_, '_>, job: &Job, proxy: &Proxy<L>) -> Self {
        let is_models = job.asks_a_model && (200..=299).contains(&head.code);
        let reading = is_models.then(|| Reading::begin(head.fields.all, head.is_encoded, proxy.traffic.clone()));
        Self {
            code: head.code,
            reader: BodyReader::new(head.framing, !job.is_http10)
                .without(head.names_fields.then(|| head.fields.named())),
            make_chunks: false,
            scan: Witness::look(head.code, job.asks_a_model, head.is_encoded),
            reading,
            // An app that answers in place of giving leave may take the body for the next request.
            reusable: head.keep_alive && !job.unanswered,
            close: false,
            needs_reset: false,
        }
    }

    /// Follows bytes of the body, and reads in it what is to be read.
    pub(super) fn take_in<L>(
        &mut self,
        bytes: &mut [u8],
        exchange: &Exchange,
        proxy: &Proxy<L>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<Progress, Malformed> {
        let Self { reader, scan, reading, reusable, .. } = self;
        let progress = reader.advance(bytes, |part| {
            each(part);
            if look_at(part, scan, reading, &proxy.witness, &proxy.traffic) {
                exchange.first_token();
            }
        })?;
        // Whoever sends more than it promised cannot be trusted with the next request.
        *reusable &= progress.consumed == bytes.len();
        Ok(progress)
    }
}

/// Whether the app speaks WebSocket from here on, and not something else that was not asked for.
fn agrees(head: &ResponseHead<'_, '_>) -> bool {
    head.fields.of(Field::Upgrade).any(|field| trim(field.value).eq_ignore_ascii_case(b"websocket"))
}
