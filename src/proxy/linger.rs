use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::timer::Timer;
use crate::clock;
use crate::drain::{CLOSING_PAUSE, Phase};

/// For how long, and how much of it, a client's request is still read after its answer, and thrown away. Many clients look at
/// an answer only when they have sent all, and lose it to a connection or a stream that ends before.
#[derive(Debug)]
pub(super) struct Linger {
    begun: Instant,
    /// How long nothing may come, and since when nothing does.
    silence: Duration,
    silent_since: Instant,
    left: usize,
}

const LONGEST: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Nobody holds up the end of the process for longer.
const LONGEST_AT_THE_END: Duration = Duration::from_secs(5);

/// So often at most it is read at once: a client that sends without end would leave no time to look at the clock.
pub(super) const READS_AT_ONCE: usize = 32;

impl Linger {
    pub(super) fn new(silence: Duration) -> Self {
        let now = clock::turn();
        Self { begun: now, silence, silent_since: now, left: MOST_BYTES }
    }

    /// Reads on with `read`, which tells how much has come, and of the end. Ready when it is over.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        phase: Phase,
        mut read: impl FnMut(&mut Context<'_>) -> Poll<Option<usize>>,
    ) -> Poll<()> {
        for _ in 0..READS_AT_ONCE {
            match read(cx) {
                Poll::Ready(Some(length)) if self.take(length) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll(cx, Some(self.until(phase))),
            }
        }
        cx.waker().wake_by_ref();
        timer.poll(cx, Some(self.until(phase)))
    }

    /// So much has come. Tells whether more may.
    fn take(&mut self, length: usize) -> bool {
        self.excuse();
        self.left = self.left.saturating_sub(length);
        self.left > 0
    }

    /// That nothing comes is not the client's doing.
    pub(super) fn excuse(&mut self) {
        self.silent_since = clock::turn();
    }

    /// When it is over if nothing else comes.
    fn until(&self, phase: Phase) -> Instant {
        let (longest, silence) = match phase {
            Phase::Serving => (LONGEST, self.silence),
            _ => (LONGEST_AT_THE_END, CLOSING_PAUSE.min(self.silence)),
        };
        (self.begun + longest).min(self.silent_since + silence)
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSING_PAUSE, Duration, LONGEST, LONGEST_AT_THE_END, Linger, MOST_BYTES, Phase};

    const SILENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_silence_by_time_and_by_bytes() {
        let mut linger = Linger::new(SILENCE);
        let begun = tokio::time::Instant::now();
        assert_eq!(linger.until(Phase::Serving) - begun, SILENCE);
        assert_eq!(linger.until(Phase::Draining) - begun, CLOSING_PAUSE);
        tokio::time::advance(LONGEST - Duration::from_secs(1)).await;
        assert!(linger.take(MOST_BYTES - 1));
        assert_eq!(linger.until(Phase::Serving) - begun, LONGEST);
        assert_eq!(linger.until(Phase::Closing) - begun, LONGEST_AT_THE_END);
        assert!(!linger.take(1));
    }
}
