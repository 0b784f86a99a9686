use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::connection::ClientStream;
use super::answer::Answer;
use super::in_hand::{Held, OfStream};
use super::request::{Carried, write_head, write_trailer};

/// One stream of HTTP/2 as a client connection of HTTP/1.1 that asks one thing and ends.
pub(super) struct Stream {
    /// HTTP/1.1 that is to be read next: the head, and what goes around the data of chunks.
    text: Vec<u8>,
    text_read: usize,
    /// How long the head is, which the engine has until the end.
    head: usize,
    in_hand: Rc<OfStream>,
    /// Data to be read after it.
    data: Bytes,
    body: RecvStream,
    carried: Carried,
    stage: Stage,
    answer: Answer,
    /// The client, or its connection, has given the stream up.
    is_gone: bool,
    /// Counts the streams that clients gave up.
    given_up: Rc<Cell<u32>>,
}

/// What of the request comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Data,
    Trailer,
    Over,
}

/// What most heads fit into.
const USUAL_HEAD: usize = 512;

impl Stream {
    pub(super) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Held>,
        given_up: Rc<Cell<u32>>,
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
            body,
            carried,
            stage: if carried == Carried::Empty { Stage::Over } else { Stage::Data },
            answer: Answer::new(respond, parts.method == hyper::Method::HEAD, in_hand),
            is_gone: false,
            given_up,
        }
    }

    /// Whether the client is still there, and will be told that no more comes of an incomplete answer.
    pub(super) fn breaks_off(&self) -> bool {
        !self.is_gone && !self.answer.is_done()
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
        match self.stage {
            Stage::Data => match self.body.poll_data(cx)? {
                Poll::Ready(Some(data)) => {
                    if self.carried == Carried::Chunks && !data.is_empty() {
                        self.text.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    }
                    self.data = data;
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
                std::task::ready!(this.answer.poll_reset(cx));
                this.is_gone = true;
                break;
            }
            match this.poll_next(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => this.is_gone = true,
                Poll::Pending if has_given => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().answer.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// What the client still sends is refused when this is dropped (RFC 9113 section 8.1).
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
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.in_hand.connection.end_head(self.head);
        if self.is_gone {
            self.given_up.set(self.given_up.get().saturating_add(1));
        } else if self.breaks_off() {
            self.answer.cut();
        }
    }
}
