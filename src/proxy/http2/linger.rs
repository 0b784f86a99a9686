use std::cell::RefCell;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::super::connection::{ClientStream, TICK, longest_write};
use super::super::linger::READS_AT_ONCE;
use super::super::timer::Timer;
use super::super::worker::Proxy;
use crate::clock;

/// How long, and how much, a connection is read from after its last frame, so that the client can read that.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Reads on, so that the kernel does not take back what the client has not got yet for what it sends: window updates and
/// acknowledgements come until the last byte has arrived. Where both sides agree that it is over, until the client has all
/// of it; else for a moment.
pub(super) async fn linger<L, S: ClientStream>(proxy: &Proxy<L>, stream: &RefCell<S>, is_orderly: bool) {
    let begun = clock::turn();
    let mut end = End { proxy, stream, timer: Timer::default(), left: LINGER_BYTES };
    if !is_orderly {
        end.read_until(begun + LINGER).await;
        return;
    }
    let last = begun + longest_write(&proxy.settings);
    while !end.stream.borrow().has_arrived() && Instant::now() < last && end.read_until(Instant::now() + TICK).await {}
}

/// The end of a connection, to which nothing more is written.
struct End<'a, L, S> {
    proxy: &'a Proxy<L>,
    stream: &'a RefCell<S>,
    timer: Timer,
    /// So much more may come.
    left: usize,
}

impl<L, S: ClientStream> End<'_, L, S> {
    /// Reads what comes; whether more may come after that time.
    async fn read_until(&mut self, deadline: Instant) -> bool {
        std::future::poll_fn(|cx| {
            let mut stream = self.stream.borrow_mut();
            if matches!(Pin::new(&mut *stream).poll_shutdown(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(false);
            }
            let mut scratch = self.proxy.scratch.borrow_mut();
            for _ in 0..READS_AT_ONCE {
                let mut buffer = ReadBuf::new(&mut scratch);
                match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() && self.left > 0 => {
                        self.left = self.left.saturating_sub(buffer.filled().len());
                    }
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => return self.timer.poll(cx, Some(deadline)).map(|()| true),
                }
            }
            cx.waker().wake_by_ref();
            self.timer.poll(cx, Some(deadline)).map(|()| true)
        })
        .await
    }
}
