use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::connection::ClientStream;
use super::super::linger::Linger;
use super::super::timer::Timer;
use super::answer::Answer;
use super::departures::Departures;
use super::in_hand::{Held, OfStream};
use super::leftovers::Leftovers;
use super::request::{Carried, write_head, write_trailer};
use crate::clock;
use crate::drain::Hub;

/// One stream of HTTP/2 as a client connection of HTTP/1.1 that asks one thing and ends.
pub(super) struct Stream {
    /// HTTP/1.1 that is to be read next: the head, and what goes around the data of chunks.
    text: Vec<u8>,
    text_read: usize,
    /// How long the head is, which the engine has until the answer begins.
    head: usize,
    in_hand: Rc<OfStream>,
    /// Data to be read after it.
    data: Bytes,
    /// What came behind that before it was wanted.
    absorbed: Vec<u8>,
    body: RecvStream,
    carried: Carried,
    stage: Stage,
    answer: Answer,
    /// The client, or its connection, has given the stream up.
    is_gone: bool,
    /// The library has given it up for what the client has sent.
    is_malformed: bool,
    begun: Instant,
    departures: Rc<Departures>,
}

/// What of the request comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Data,
    Trailer,
    Over,
}

/// How long a client that has its answer may say nothing more of its request until the stream is reset.
const SILENCE: Duration = Duration::from_secs(1);

/// What most heads fit into.
const USUAL_HEAD: usize = 512;

impl Stream {
    pub(super) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Held>,
        departures: Rc<Departures>,
        in_hand: Rc<OfStream>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let carried = Carried::of(&parts.headers, body.is_end_stream());
        let mut text = Vec::with_capacity(USUAL_HEAD);
        write_head(&mut text, &parts, carried);
        let head = text.len();
        in_hand.connection.begin_head(head);
        Self {
            text,
            text_read: 0,
            head,
            in_hand: in_hand.clone(),
            data: Bytes::new(),
            absorbed: Vec::new(),
            body,
            carried,
            stage: if carried == Carried::Empty { Stage::Over } else { Stage::Data },
            answer: Answer::new(respond, parts.method == hyper::Method::HEAD, in_hand),
            is_gone: false,
            is_malformed: false,
            begun: clock::turn(),
            departures,
        }
    }

    /// The head is not kept any longer.
    fn end_head(&mut self) {
        self.in_hand.connection.end_head(std::mem::take(&mut self.head));
    }

    /// The client has given it up.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_gone, true) {
            self.departures.begin(clock::turn() - self.begun);
        }
    }

    /// Whether the client is still there, has its whole answer, and has not sent all of its request.
    pub(super) fn has_more_to_say(&self) -> bool {
        !self.is_gone && self.answer.is_done() && !self.body.is_end_stream()
    }

    /// Whether the client is still there, and will be told that no more comes of an incomplete answer.
    pub(super) fn breaks_off(&self) -> bool {
        !self.is_gone && !self.answer.is_done()
    }

    /// Reads and throws away what the client still sends of a request that has its whole answer. Once this is dropped the
    /// stream is reset (RFC 9113 section 8.1), and there are clients that lose the answer to that (curl before 8, httpx).
    pub(super) async fn discard(&mut self, hub: &Hub, leftovers: &Rc<Leftovers>) {
        (self.text, self.absorbed, self.data) = Default::default();
        self.text_read = 0;
        let flow = self.body.flow_control();
        // Fails only for a stream that is over.
        let _ = flow.release_capacity(flow.used_capacity());
        self.in_hand.give_away(usize::MAX);
        let (mut linger, mut timer, mut joined) = (Linger::new(SILENCE), Timer::default(), None);
        std::future::poll_fn(|cx| {
            let (leftover, _) = joined.get_or_insert_with(|| (leftovers.join(cx.waker()), hub.join(cx.waker())));
            if leftover.must_end() {
                return Poll::Ready(());
            }
            if !self.in_hand.connection.may_send() {
                linger.excuse();
            }
            linger.poll(cx, &mut timer, hub.phase(), |cx| {
                let length = ready!(self.body.poll_data(cx)).and_then(Result::ok).map(|data| data.len());
                let _ = self.body.flow_control().release_capacity(length.unwrap_or(0));
                Poll::Ready(length)
            })
        })
        .await;
    }

    /// Gives the buffer what is there already. What the engine has not taken stays in the client's window.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let text = &self.text[self.text_read..];
        let length = text.len().min(buffer.remaining());
        buffer.put_slice(&text[..length]);
        self.text_read += length;
        if self.text_read < self.text.len() {
            return;
        }
        self.text.clear();
        self.text.shrink_to(USUAL_HEAD);
        self.text_read = 0;
        let length = self.data.len().min(buffer.remaining());
        if length == 0 {
            return;
        }
        buffer.put_slice(&self.data[..length]);
        self.data.advance(length);
        // Fails only for a stream that is over.
        let _ = self.body.flow_control().release_capacity(length);
        self.in_hand.give_away(length);
        if self.data.is_empty() && self.carried == Carried::Chunks {
            self.text.extend_from_slice(b"\r\n");
        }
    }

    /// Whether something is there to be given.
    fn has_some(&self) -> bool {
        self.text_read < self.text.len() || !self.data.is_empty()
    }

    /// Takes the next piece of the request from the library.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if !self.absorbed.is_empty() {
            let absorbed = std::mem::take(&mut self.absorbed);
            self.begin_data(absorbed.into());
            return Poll::Ready(Ok(()));
        }
        match self.stage {
            Stage::Data => match self.body.poll_data(cx)? {
                Poll::Ready(Some(data)) => {
                    self.in_hand.take(data.len());
                    self.begin_data(data);
                }
                Poll::Ready(None) => self.stage = Stage::Trailer,
                Poll::Pending => return Poll::Pending,
            },
            Stage::Trailer => match self.body.poll_trailers(cx)? {
                Poll::Ready(trailer) => {
                    // Behind a body of a given length HTTP/1.1 has no place for them.
                    if self.carried == Carried::Chunks {
                        write_trailer(&mut self.text, trailer.as_ref());
                    }
                    self.stage = Stage::Over;
                }
                Poll::Pending => return Poll::Pending,
            },
            Stage::Over => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    fn begin_data(&mut self, data: Bytes) {
        if self.carried == Carried::Chunks && !data.is_empty() {
            self.text.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        self.data = data;
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        // With its answer complete, the connection that this stands for is over.
        while !this.is_gone && !this.answer.is_done() {
            this.give(buffer);
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.has_some() {
                continue;
            }
            let has_given = buffer.filled().len() > before;
            if this.stage == Stage::Over {
                if has_given {
                    return Poll::Ready(Ok(()));
                }
                // All that can still happen is that the client gives up.
                ready!(this.answer.poll_reset(cx));
                this.leave();
                this.is_malformed = matches!(this.body.poll_data(cx), Poll::Ready(Some(Err(error))) if is_ours(&error));
                break;
            }
            match this.poll_next(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    this.leave();
                    this.is_malformed = is_ours(&error);
                }
                Poll::Pending if has_given => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.answer.poll_write(cx, bytes);
        if this.head > 0 && this.answer.has_begun() {
            this.end_head();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// What the client still sends is for [`Stream::discard`].
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl ClientStream for Stream {
    /// The end of a stream is told in any case.
    fn reset_on_close(&self, _: bool) {}

    fn room(&self, cx: &Context<'_>) -> usize {
        self.answer.room(cx)
    }

    fn has_taken(&self) -> bool {
        self.answer.has_taken()
    }

    /// With the library each frame costs a good deal more than its bytes, and those of all streams together have a bound
    /// that ends the connection: a body that nobody wants yet waits here, as far as its window lets it come.
    fn absorb(&mut self, cx: &mut Context<'_>) -> bool {
        while self.stage == Stage::Data && !self.is_gone {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.in_hand.take(data.len());
                    self.absorbed.extend_from_slice(&data);
                }
                // Whoever reads it is told so.
                Poll::Ready(Some(Err(error))) if is_ours(&error) => return false,
                Poll::Ready(Some(Err(_))) => self.leave(),
                Poll::Ready(None) => self.stage = Stage::Trailer,
                Poll::Pending => return false,
            }
        }
        if !self.is_gone && self.answer.poll_reset(cx).is_ready() {
            self.leave();
        }
        self.is_gone
    }

    fn is_malformed(&self) -> bool {
        self.is_malformed
    }

    fn may_send(&self) -> bool {
        self.in_hand.connection.may_send()
    }
}

/// Whether it is the library that has given up the stream, for what the client has sent.
fn is_ours(error: &h2::Error) -> bool {
    error.is_library() && error.is_reset()
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end_head();
        self.in_hand.give_away(usize::MAX);
        if self.is_gone {
            self.departures.end();
        } else if self.breaks_off() {
            self.answer.cut();
        }
    }
}
