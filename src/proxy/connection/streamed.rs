use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use hyper::Response;

use super::super::local::{Local, LocalBody, Pieces};
use super::super::rewrite::{Delivery, write_own_head};
use super::delivery::longest_write;
use super::digest::Asker;
use super::{After, ClientStream, Connection, Step, watch};
use crate::clock;
use crate::drain::Phase;

/// An answer of our own whose body comes bit by bit.
pub(super) struct Streamed {
    head: Vec<u8>,
    /// None to HEAD.
    pieces: Option<Pieces>,
    chunked: bool,
    after: After,
}

/// What comes after a piece.
enum Next {
    Piece(Bytes),
    End,
    /// The client has left.
    Gone,
}

/// What ends a body in chunks (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// An answer that is no traffic either: nothing of it is counted here.
impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// The answer, whole or bit by bit.
    pub(super) fn own_local(&self, response: Response<LocalBody>, asker: Asker) -> Step {
        let (parts, body) = response.into_parts();
        match body {
            LocalBody::Whole(body) => self.own(&Response::from_parts(parts, body), asker),
            LocalBody::Pieces(pieces) => self.own_pieces(Response::from_parts(parts, pieces), asker),
        }
    }

    fn own_pieces(&self, response: Response<Pieces>, asker: Asker) -> Step {
        // A client of HTTP/1.0 knows no chunks: the end is the connection's (RFC 9112 section 6.3).
        let (close, after) = self.after_own(asker, asker.is_http10);
        let delivery = Delivery { close, to_http10: asker.is_http10, chunked: !asker.is_http10 };
        let mut head = self.proxy.answer_buffer();
        self.proxy.with_date(|date| write_own_head(&mut head, &response, delivery, date));
        let pieces = Some(response.into_body()).filter(|_| !asker.to_head);
        Step::Streamed(Box::new(Streamed { head, pieces, chunked: delivery.chunked, after }))
    }

    /// Sends each piece when it is there, until the last, or until the worker closes.
    pub(super) async fn send_pieces(&mut self, streamed: Streamed) -> After {
        let Streamed { head, pieces, chunked, after } = streamed;
        if !self.send(&head).await {
            return After::Reset;
        }
        self.proxy.give_back_answer(head);
        let Some(mut pieces) = pieces else { return after };
        loop {
            match self.next_piece(&mut pieces).await {
                Next::Piece(piece) if chunked => {
                    let size = format!("{:x}\r\n", piece.len());
                    if !self.send(&[size.as_bytes(), &piece, b"\r\n"].concat()).await {
                        return After::Reset;
                    }
                }
                Next::Piece(piece) => {
                    if !self.send(&piece).await {
                        return After::Reset;
                    }
                }
                Next::End if chunked && !self.send(LAST_CHUNK).await => return After::Reset,
                Next::End => return after,
                Next::Gone => return After::Drop,
            }
        }
    }

    async fn next_piece(&mut self, pieces: &mut Pieces) -> Next {
        std::future::poll_fn(|cx| {
            self.join(cx);
            if let Poll::Ready(next) = pieces.poll_next(cx) {
                return Poll::Ready(next.map_or(Next::End, Next::Piece));
            }
            if self.hub.phase() >= Phase::Closing {
                return Poll::Ready(Next::End);
            }
            let mut scratch = self.proxy.scratch.borrow_mut();
            watch(Pin::new(&mut self.stream), cx, &mut scratch, &mut self.ahead).map(|_| Next::Gone)
        })
        .await
    }

    /// Writes all of it; gives up when the client takes nothing for too long, or when there is no more time for that.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        let limit = longest_write(&self.proxy.settings);
        let mut written = 0;
        while written < bytes.len() {
            let mut deadline = None;
            let taken = std::future::poll_fn(|cx| {
                self.join(cx);
                match Pin::new(&mut self.stream).poll_write(cx, &bytes[written..]) {
                    Poll::Ready(taken) => return Poll::Ready(taken.ok().filter(|taken| *taken > 0)),
                    Poll::Pending if self.hub.phase() >= Phase::Closing => return Poll::Ready(None),
                    Poll::Pending => {}
                }
                let deadline = *deadline.get_or_insert_with(|| clock::turn() + limit);
                self.timer.poll(cx, Some(deadline)).map(|()| None)
            })
            .await;
            match taken {
                Some(taken) => written += taken,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
