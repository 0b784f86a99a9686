use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;

use super::ClientStream;

/// At most so much of the next requests is taken in before its time.
pub(in crate::proxy) const MOST_AHEAD: usize = 64 * 1024;

/// A client that ends its side behind its request may still read, as `nc -N` does and whoever passes ends on (RFC 9293
/// section 3.6); one that has gone looks the same until something is sent to it. For so long, and as long as something goes
/// to it, it counts as there: an answer that is quick arrives, and one that takes long is not worked on for nobody.
pub(in crate::proxy) const HALF_CLOSED: Duration = Duration::from_millis(500);

/// How a client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Left {
    /// Its own side has ended; it may still read.
    Ended,
    /// Nobody is there any more.
    Gone,
}

/// Watches a client that has nothing more to say; ready when it has left. What it says all the same is kept.
pub(in crate::proxy) fn watch<S: ClientStream>(
    mut client: Pin<&mut S>,
    cx: &mut Context<'_>,
    scratch: &mut [u8],
    ahead: &mut Vec<u8>,
) -> Poll<Left> {
    while ahead.len() < MOST_AHEAD {
        let mut buffer = ReadBuf::new(scratch);
        match client.as_mut().poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => ahead.extend_from_slice(buffer.filled()),
            Poll::Ready(Ok(())) if client.may_half_close() => return Poll::Ready(Left::Ended),
            Poll::Ready(_) => return Poll::Ready(Left::Gone),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}
