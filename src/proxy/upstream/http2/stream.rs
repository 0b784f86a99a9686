use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Method, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::super::http1::BodyReader;
use super::super::super::rejection::Rejection;
use super::super::broken::Broken;
use super::answer::{self, LAST_CHUNK};
use super::channel::Place;
use super::request;

/// One exchange over HTTP/2, as a byte stream that speaks HTTP/1.1. Dropped before its end, it is reset (RFC 9113 section
/// 5.4.2), so that the app stops working for nobody.
#[derive(Debug)]
pub(in crate::proxy) struct Http2Stream {
    up: Up,
    down: Down,
    /// Of the answer, as HTTP/1.1: not read yet.
    out: VecDeque<Bytes>,
    /// Of its body, what came before the client had taken that.
    absorbed: Vec<u8>,
    to_head: bool,
    /// Last, so that the stream ends before its place is free.
    place: Place,
}

/// The way to the app.
#[derive(Debug)]
enum Up {
    /// What was written of the head.
    Head(Vec<u8>),
    Body(Box<Upload>),
    Done,
    /// The app takes no more.
    Broken,
}

#[derive(Debug)]
struct Upload {
    send: SendStream<Bytes>,
    reader: BodyReader,
    /// Accepted, and waiting for the app's window.
    pending: Bytes,
    /// Some of it has gone out.
    begun: bool,
    trailer: Option<HeaderMap>,
}

/// The way from the app.
#[derive(Debug)]
enum Down {
    /// Nothing was asked yet.
    Nothing,
    Head(ResponseFuture),
    Body {
        recv: RecvStream,
        chunked: bool,
    },
    Ended,
    Failed(Broken),
}

/// So much is accepted while the app's window is closed.
const PIECE: usize = 16 * 1024;

impl Http2Stream {
    pub(super) fn new(place: Place) -> Self {
        let up = Up::Head(Vec::new());
        Self { up, down: Down::Nothing, out: VecDeque::new(), absorbed: Vec::new(), to_head: false, place }
    }

    /// All of the answer was passed on.
    pub(in super::super) fn finish(mut self) {
        if let Down::Body { recv, .. } = std::mem::replace(&mut self.down, Down::Ended) {
            self.place.let_end(recv);
        }
    }

    /// All of the answer was passed on, and some of the request has not been sent. Some servers never give back what of the
    /// connection's window such a body took: as with HTTP/1.1, nothing else begins on that connection, unless the app itself
    /// ended the stream.
    pub(in super::super) fn leave(mut self) {
        if let Up::Body(upload) = &mut self.up
            && upload.send.poll_reset(&mut Context::from_waker(Waker::noop())).is_pending()
        {
            self.place.retire();
        }
    }

    /// Takes in bytes of the head; tells how many.
    fn take_head(&mut self, bytes: &[u8]) -> usize {
        let Up::Head(partial) = &mut self.up else { return 0 };
        let before = partial.len();
        let mut all = std::mem::take(partial);
        all.extend_from_slice(bytes);
        let asked = match request::read(&all, self.place.is_https) {
            Ok(Some(asked)) => asked,
            Ok(None) => {
                *partial = all;
                return bytes.len();
            }
            Err(rejection) => {
                self.fail_up(Broken::Rejected(rejection));
                return bytes.len();
            }
        };
        self.to_head = asked.request.method() == Method::HEAD;
        let reader = BodyReader::new(asked.framing, true);
        match self.place.send(asked.request, reader.is_done()) {
            Ok((response, send)) => {
                self.down = Down::Head(response);
                self.up = if reader.is_done() {
                    Up::Done
                } else {
                    Up::Body(Box::new(Upload { send, reader, pending: Bytes::new(), begun: false, trailer: None }))
                };
                asked.length - before
            }
            Err(_) => {
                self.fail_up(Broken::LeftOut);
                bytes.len()
            }
        }
    }

    /// Nothing of the request goes out: the way down tells why.
    fn fail_up(&mut self, broken: Broken) {
        self.up = Up::Broken;
        self.down = Down::Failed(broken);
    }

    /// Sends what was accepted, as far as the app's window goes.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Up::Body(upload) = &mut self.up else { return Poll::Ready(()) };
        match ready!(upload.poll(&self.place, cx)) {
            Ok(false) => {}
            Ok(true) => self.up = Up::Done,
            Err(()) => self.up = Up::Broken,
        }
        Poll::Ready(())
    }

    /// Brings more of the answer; false at its end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        match &mut self.down {
            Down::Nothing => Poll::Pending,
            Down::Ended => Poll::Ready(Ok(false)),
            Down::Failed(broken) => Poll::Ready(Err(*broken)),
            Down::Head(response) => {
                if let Some(interim) = ready!(response.poll_informational(cx)) {
                    let interim = interim.map_err(|error| self.place.broke(&error))?;
                    self.out.push_back(answer::head(&interim, false).into());
                    return Poll::Ready(Ok(true));
                }
                let response = ready!(Pin::new(response).poll(cx)).map_err(|error| self.place.broke(&error))?;
                self.begin(response);
                Poll::Ready(Ok(true))
            }
            Down::Body { recv, chunked } => {
                let chunked = *chunked;
                if !self.absorbed.is_empty() {
                    let absorbed = std::mem::take(&mut self.absorbed);
                    let _ = recv.flow_control().release_capacity(absorbed.len());
                    let ended = recv.is_end_stream();
                    self.push(absorbed.into(), chunked, ended);
                    return Poll::Ready(Ok(true));
                }
                match ready!(recv.poll_data(cx)) {
                    Some(Ok(data)) => {
                        let _ = recv.flow_control().release_capacity(data.len());
                        let ended = recv.is_end_stream();
                        self.push(data, chunked, ended);
                    }
                    Some(Err(error)) => return Poll::Ready(Err(self.place.broke(&error))),
                    None => {
                        let trailer = ready!(recv.poll_trailers(cx)).map_err(|error| self.place.broke(&error))?;
                        self.down = Down::Ended;
                        if chunked {
                            self.out.push_back(answer::last_chunk(trailer.as_ref()));
                        }
                    }
                }
                Poll::Ready(Ok(true))
            }
        }
    }

    /// Takes from the library what the client does not take yet, as far as the window lets it come: there each frame costs
    /// more than its bytes, and what one client does not read must not end the connection for all.
    pub(in super::super) fn absorb(&mut self, cx: &mut Context<'_>) {
        let _ = self.poll_send(cx);
        while let Down::Body { recv, chunked } = &mut self.down {
            let chunked = *chunked;
            match recv.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.absorbed.extend_from_slice(&data),
                Poll::Ready(Some(Err(error))) => {
                    let absorbed = std::mem::take(&mut self.absorbed);
                    self.push(absorbed.into(), chunked, false);
                    self.down = Down::Failed(self.place.broke(&error));
                }
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    fn begin(&mut self, response: Response<RecvStream>) {
        let bodiless = self.to_head || answer::is_bodiless(response.status());
        let chunked = !bodiless && !response.headers().contains_key(CONTENT_LENGTH);
        let ended = response.body().is_end_stream();
        let mut head = answer::head(&response, chunked);
        if chunked && ended {
            // In the same read: whoever speaks HTTP/2 to the client can end the stream with the head.
            head.extend_from_slice(LAST_CHUNK);
        }
        self.out.push_back(head.into());
        self.down = if ended { Down::Ended } else { Down::Body { recv: response.into_body(), chunked } };
    }

    fn push(&mut self, data: Bytes, chunked: bool, ended: bool) {
        if !data.is_empty() {
            if chunked {
                self.out.push_back(format!("{:x}\r\n", data.len()).into());
            }
            self.out.push_back(data);
            if chunked {
                self.out.push_back(Bytes::from_static(b"\r\n"));
            }
        }
        if ended {
            self.down = Down::Ended;
            if chunked {
                self.out.push_back(Bytes::from_static(LAST_CHUNK));
            }
        }
    }

    /// Moves what is there into the buffer.
    fn drain(&mut self, buffer: &mut ReadBuf<'_>) {
        while let Some(front) = self.out.front_mut() {
            let length = front.len().min(buffer.remaining());
            buffer.put_slice(&front[..length]);
            front.advance(length);
            if !front.is_empty() {
                return;
            }
            self.out.pop_front();
        }
    }
}

impl Upload {
    /// Takes in bytes of the body as HTTP/1.1 frames it; tells how many.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Rejection> {
        let mut bytes = bytes[..bytes.len().min(PIECE)].to_vec();
        let mut data = Vec::with_capacity(bytes.len());
        let progress =
            self.reader.advance(&mut bytes, |part| data.extend_from_slice(part)).map_err(Rejection::Malformed)?;
        self.pending = data.into();
        if !progress.trailer.is_empty() {
            self.trailer = request::trailer(&progress.trailer);
        }
        // More than the body is nothing of this request: there is no such thing, and it must not be waited for.
        Ok(progress.consumed.max(1))
    }

    /// Sends; true when all was sent. An error: the app takes no more.
    fn poll(&mut self, place: &Place, cx: &mut Context<'_>) -> Poll<Result<bool, ()>> {
        while !self.pending.is_empty() {
            if self.send.capacity() == 0 {
                self.send.reserve_capacity(self.pending.len());
                match self.send.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(())),
                    Poll::Pending => {
                        if !self.begun {
                            place.starves();
                        }
                        return Poll::Pending;
                    }
                }
            }
            self.begun = true;
            place.is_fed();
            let data = self.pending.split_to(self.send.capacity().min(self.pending.len()));
            let last = self.pending.is_empty() && self.reader.is_done() && self.trailer.is_none();
            self.send.send_data(data, last).map_err(drop)?;
            if last {
                return Poll::Ready(Ok(true));
            }
        }
        if !self.reader.is_done() {
            return Poll::Ready(Ok(false));
        }
        let sent = match self.trailer.take() {
            Some(trailer) => self.send.send_trailers(trailer),
            None => self.send.send_data(Bytes::new(), true),
        };
        Poll::Ready(sent.map(|()| true).map_err(drop))
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What was accepted goes on, whoever waits for what.
        let _ = this.poll_send(cx);
        let before = buffer.filled().len();
        loop {
            this.drain(buffer);
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match this.poll_more(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Err(broken)) if buffer.filled().len() == before => {
                    this.down = Down::Failed(broken);
                    return Poll::Ready(Err(broken.into()));
                }
                Poll::Ready(Err(broken)) => {
                    this.down = Down::Failed(broken);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if buffer.filled().len() == before => return Poll::Pending,
                Poll::Ready(Ok(false)) | Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if matches!(this.up, Up::Head(_)) {
            return Poll::Ready(Ok(this.take_head(bytes)));
        }
        ready!(this.poll_send(cx));
        let Up::Body(upload) = &mut this.up else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        match upload.take(bytes) {
            Ok(taken) => {
                let _ = this.poll_send(cx);
                Poll::Ready(Ok(taken))
            }
            Err(rejection) => {
                this.fail_up(Broken::Rejected(rejection));
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Broken {
    /// What an error of a stream means.
    pub(super) fn of(error: &h2::Error) -> Self {
        if error.is_remote() && error.is_go_away() {
            // RFC 9113 section 8.7: the app has not begun with it. GOAWAY ends only streams that it names as such.
            Self::LeftOut
        } else if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
            Self::Refused
        } else if error.is_remote() && error.is_reset() {
            Self::Reset
        } else if error.is_library() {
            Self::Rejected(Rejection::InvalidResponse)
        } else {
            Self::Ended
        }
    }
}
