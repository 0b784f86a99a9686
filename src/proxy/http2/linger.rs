use std::cell::RefCell;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::ReadBuf;

use super::super::connection::ClientStream;
use super::super::timer::Timer;
use super::super::worker::Proxy;
use crate::clock;

/// How long, and how much, a connection is read from after its last frame, so that the client can read that.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Reads on for a moment, so that the kernel does not take back our last frame for what the client sent too much.
pub(super) async fn linger<L, S: ClientStream>(proxy: &Proxy<L>, stream: &RefCell<S>) {
    let (mut timer, deadline, mut left) = (Timer::default(), Some(clock::turn() + LINGER), LINGER_BYTES);
    std::future::poll_fn(|cx| {
        let mut stream = stream.borrow_mut();
        if matches!(Pin::new(&mut *stream).poll_shutdown(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        let mut scratch = proxy.scratch.borrow_mut();
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && left > 0 => {
                    left = left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll(cx, deadline),
            }
        }
    })
    .await;
}
