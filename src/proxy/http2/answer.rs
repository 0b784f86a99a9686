use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::super::http1::{Field, Framing, Parsed, ResponseHead, Room, parse_response};
use super::chunks::{Chunks, Piece};
use super::in_hand::{Held, OfStream, STEP};

/// Takes the engine's answer apart into frames.
pub(super) struct Answer {
    respond: SendResponse<Held>,
    /// From the head on.
    send: Option<SendStream<Held>>,
    to_head: bool,
    state: State,
    /// A head that has not left, because its end may stand right behind it.
    held: Option<Response<()>>,
    /// So much of a head as has come.
    partial: Vec<u8>,
    in_hand: Rc<OfStream>,
}

enum State {
    Head,
    Length(u64),
    Chunks(Chunks),
    /// All is there; the fields after the body are still to be sent.
    Ending(Option<HeaderMap>),
    Done,
    /// Nobody takes it any more.
    Broken,
}

impl Answer {
    pub(super) fn new(respond: SendResponse<Held>, to_head: bool, in_hand: Rc<OfStream>) -> Self {
        Self { respond, send: None, to_head, state: State::Head, held: None, partial: Vec::new(), in_hand }
    }

    /// How much of the answer is worth reading now.
    pub(super) fn room(&self, cx: &Context<'_>) -> usize {
        self.in_hand.room(cx)
    }

    pub(super) fn has_taken(&self) -> bool {
        self.in_hand.has_taken()
    }

    /// Whether it is more than interim answers.
    pub(super) fn has_begun(&self) -> bool {
        self.send.is_some() || self.is_done()
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Ready when the client, or its connection, has given up the stream.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(|_| ()),
            None => self.respond.poll_reset(cx).map(|_| ()),
        }
    }

    /// Tells the client that no more comes of what is not complete.
    pub(super) fn cut(&mut self) {
        self.respond.send_reset(Reason::INTERNAL_ERROR);
    }

    /// Takes in bytes of the engine as far as the client's windows let it.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if matches!(self.state, State::Head) && !self.in_hand.connection.has_room_for_an_answer(bytes.len()) {
            self.respond.send_reset(Reason::ENHANCE_YOUR_CALM);
            self.state = State::Broken;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let (mut taken, mut data) = (0, BytesMut::new());
        let result = loop {
            let rest = &bytes[taken..];
            if rest.is_empty() || matches!(self.state, State::Ending(_)) {
                break Ok(());
            }
            match self.poll_take(cx, rest, &mut data) {
                Poll::Ready(Ok(length)) => taken += length,
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending if taken == 0 => {
                    self.in_hand.offer(bytes.len(), 0);
                    return Poll::Pending;
                }
                Poll::Pending => break Ok(()),
            }
        };
        self.in_hand.offer(bytes.len(), taken);
        match result.and_then(|()| self.flush(data)) {
            Ok(()) => Poll::Ready(Ok(taken)),
            Err(error) => {
                self.state = State::Broken;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Takes in some of the bytes, of which there is at least one.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8], data: &mut BytesMut) -> Poll<io::Result<usize>> {
        let available = match &mut self.state {
            State::Head => return Poll::Ready(self.take_head(bytes)),
            State::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len()),
            State::Chunks(chunks) => match chunks.next(bytes)? {
                Piece::Framing(length) => return Poll::Ready(Ok(length)),
                Piece::Data(length) => length,
                Piece::End(length, trailer) => {
                    self.state = State::Ending(trailer);
                    return Poll::Ready(Ok(length));
                }
            },
            State::Ending(_) | State::Done | State::Broken => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        };
        let length = ready!(self.poll_window(cx, available, data.len()))?;
        data.extend_from_slice(&bytes[..length]);
        match &mut self.state {
            State::Length(left) => {
                *left -= length as u64;
                if *left == 0 {
                    self.state = State::Ending(None);
                }
            }
            State::Chunks(chunks) => chunks.took(length),
            _ => {}
        }
        Poll::Ready(Ok(length))
    }

    /// How many bytes of data, beyond those that wait to be handed over, the client's windows have room for: at least one.
    fn poll_window(&mut self, cx: &mut Context<'_>, wanted: usize, waiting: usize) -> Poll<io::Result<usize>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        if waiting >= STEP {
            return Poll::Pending;
        }
        if self.send.is_none() {
            // There is a body, so the head is not the end.
            self.send_head(false)?;
        }
        let send = self.send.as_mut().ok_or_else(gone)?;
        let wanted = wanted.min(STEP - waiting);
        send.reserve_capacity(waiting + wanted);
        loop {
            let room = send.capacity().saturating_sub(waiting);
            if room > 0 {
                return Poll::Ready(Ok(room.min(wanted)));
            }
            ready!(send.poll_capacity(cx)).ok_or_else(gone)?.map_err(|_| gone())?;
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = self.partial.len();
        let mut owned = std::mem::take(&mut self.partial);
        let all = if before == 0 {
            bytes
        } else {
            owned.extend_from_slice(bytes);
            &owned
        };
        let mut fields = Room::new();
        let (head, length) = match parse_response(all, &mut fields, self.to_head) {
            Ok(Parsed::Complete(head, length)) => (head, length),
            Ok(Parsed::Partial) => {
                self.partial = all.to_vec();
                return Ok(bytes.len());
            }
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let response = response(&head, &all[..length])?;
        if head.code < 200 {
            self.respond.send_informational(response).map_err(io::Error::other)?;
            return Ok(length - before);
        }
        self.state = match head.framing {
            Framing::Empty => State::Ending(None),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunks(Chunks::new()),
            // The engine gives every body to a client of HTTP/1.1 an end.
            Framing::UntilClose => return Err(io::ErrorKind::InvalidData.into()),
        };
        self.held = Some(response);
        Ok(length - before)
    }

    /// Hands over what was taken in, with the end of the stream on the last frame that there is.
    fn flush(&mut self, data: BytesMut) -> io::Result<()> {
        let (is_over, trailer) = match &mut self.state {
            State::Ending(trailer) => (true, trailer.take()),
            _ => (false, None),
        };
        if self.held.is_some() {
            let is_all = is_over && data.is_empty() && trailer.is_none();
            self.send_head(is_all)?;
            if is_all {
                self.state = State::Done;
                return Ok(());
            }
        }
        let Some(send) = &mut self.send else { return Ok(()) };
        let ends = is_over && trailer.is_none();
        if ends || !data.is_empty() {
            send.send_data(self.in_hand.hand(data), ends).map_err(io::Error::other)?;
        }
        if let Some(trailer) = trailer {
            send.send_trailers(trailer).map_err(io::Error::other)?;
        }
        if is_over {
            self.state = State::Done;
        }
        Ok(())
    }

    fn send_head(&mut self, is_all: bool) -> io::Result<()> {
        if let Some(head) = self.held.take() {
            self.send = Some(self.respond.send_response(head, is_all).map_err(io::Error::other)?);
        }
        Ok(())
    }
}

impl Drop for Answer {
    /// What the engine had is gone; what the library has is not.
    fn drop(&mut self) {
        self.in_hand.offer(0, 0);
    }
}

/// A head without what concerns an HTTP/1.1 connection alone (RFC 9113 section 8.2.2).
fn response(head: &ResponseHead<'_, '_>, bytes: &[u8]) -> io::Result<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.code).map_err(io::Error::other)?;
    // The values share one copy.
    let copy = Bytes::copy_from_slice(bytes);
    let fields = response.headers_mut();
    fields.reserve(head.fields.all.len());
    for (kind, field) in head.fields.iter() {
        if matches!(kind, Field::Connection | Field::HopByHop | Field::Upgrade | Field::TransferEncoding | Field::Te) {
            continue;
        }
        let begin = field.value.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        let value = match begin.checked_add(field.value.len()) {
            Some(end) if end <= copy.len() => HeaderValue::from_maybe_shared(copy.slice(begin..end)),
            _ => HeaderValue::from_bytes(field.value),
        };
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(io::Error::other)?;
        fields.append(name, value.map_err(io::Error::other)?);
    }
    Ok(response)
}
