use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::drain::{CLOSING_PAUSE, Phase};

/// For how long, and how much of it, a client's request is still read after its answer, and thrown away. Many clients look at
/// an answer only when they have sent all, and lose it to a connection or a stream that ends before.
#[derive(Debug)]
pub(super) struct Linger {
    deadline: Instant,
    /// How long nothing may come, and since when nothing does.
    silence: Duration,
    silent_since: Instant,
    left: usize,
}

const LONGEST: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 64 * 1024 * 1024;

impl Linger {
    pub(super) fn new(silence: Duration) -> Self {
        let now = clock::turn();
        Self { deadline: now + LONGEST, silence, silent_since: now, left: MOST_BYTES }
    }

    /// So much has come. Tells whether more may.
    pub(super) fn take(&mut self, length: usize) -> bool {
        self.silent_since = clock::turn();
        self.left = self.left.saturating_sub(length);
        self.left > 0
    }

    /// When it is over if nothing else comes. Nobody who says nothing holds up the end of the process.
    pub(super) fn until(&self, phase: Phase) -> Instant {
        let silence = if phase == Phase::Serving { self.silence } else { CLOSING_PAUSE.min(self.silence) };
        self.deadline.min(self.silent_since + silence)
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSING_PAUSE, Duration, LONGEST, Linger, MOST_BYTES, Phase};

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
        assert!(!linger.take(1));
    }
}
