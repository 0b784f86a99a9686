use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A client's byte stream.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close a reset, or an ordinary one again. A reset is the only way to say that a body without a
    /// length is not complete.
    fn reset_on_close(&self, reset: bool);

    /// The socket, if what is written to it is what the client reads.
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }

    /// How much of an answer is worth reading from the app: what the client would not take is better left there. With 0 it is
    /// the client who is waited for, and `cx` is woken when that has changed.
    fn room(&self, _: &Context<'_>) -> usize {
        usize::MAX
    }

    /// Whether the client has taken something since this was last asked of what was written long before.
    fn has_taken(&self) -> bool {
        false
    }

    /// Looks after what the client sends while nobody wants it; tells whether the client has gone. Where that can be
    /// told only by looking, it is [`ClientStream::has_left`] that tells.
    fn absorb(&mut self, _: &mut Context<'_>) -> bool {
        false
    }

    /// Whether the client has left, as the kernel knows it at this moment, whatever it has sent before.
    fn has_left(&self) -> bool {
        false
    }

    /// Whether the client has all that was written; nothing more is written then.
    fn has_arrived(&self) -> bool {
        true
    }

    /// Whether the client has reset the connection, as the kernel knows it at this moment.
    fn is_broken(&self) -> bool {
        false
    }

    /// Whether a part of what could not be written yet is under way all the same, as TLS takes more than the kernel does.
    fn owes(&self) -> bool {
        false
    }

    /// Whether it may still read when its own side has ended. A stream that is given up has ended as a whole.
    fn may_half_close(&self) -> bool {
        false
    }

    /// Whether it has gone because it was given up for what the client has sent.
    fn is_malformed(&self) -> bool {
        false
    }

    /// Whether the client could send, if it wanted to: others may have filled a window that it shares with them.
    fn may_send(&self) -> bool {
        true
    }
}

impl<S: ClientStream> ClientStream for &mut S {
    fn reset_on_close(&self, reset: bool) {
        (**self).reset_on_close(reset);
    }

    fn tcp(&self) -> Option<&TcpStream> {
        (**self).tcp()
    }

    fn room(&self, cx: &Context<'_>) -> usize {
        (**self).room(cx)
    }

    fn has_taken(&self) -> bool {
        (**self).has_taken()
    }

    fn absorb(&mut self, cx: &mut Context<'_>) -> bool {
        (**self).absorb(cx)
    }

    fn has_left(&self) -> bool {
        (**self).has_left()
    }

    fn is_broken(&self) -> bool {
        (**self).is_broken()
    }

    fn has_arrived(&self) -> bool {
        (**self).has_arrived()
    }

    fn owes(&self) -> bool {
        (**self).owes()
    }

    fn may_half_close(&self) -> bool {
        (**self).may_half_close()
    }

    fn is_malformed(&self) -> bool {
        (**self).is_malformed()
    }

    fn may_send(&self) -> bool {
        (**self).may_send()
    }
}
