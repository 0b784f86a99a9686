use std::time::Duration;

use tokio::time::Instant;

/// How patiently a body is waited for, so that one that comes byte by byte holds nothing for ever.
///
/// Each byte earns the time that it may take at the least rate; waiting for more spends it. Only what the client lets us
/// wait counts: not what the app lets the client wait.
#[derive(Debug)]
pub(super) struct Pace {
    /// For so long the client may let us wait from now on.
    credit: Duration,
    /// Since when it does.
    waiting: Option<Instant>,
    counts: bool,
}

impl Pace {
    /// `grace` is there from the beginning: a client may think, and a network have a hiccup. Without it, or a least rate
    /// in bytes per second, there is no end.
    pub(super) fn new(rate: u64, grace: Duration) -> Self {
        Self { credit: grace, waiting: None, counts: rate > 0 && !grace.is_zero() }
    }

    /// Nothing is there to be read.
    pub(super) fn wait(&mut self) {
        if self.counts && self.waiting.is_none() {
            self.waiting = Some(Instant::now());
        }
    }

    /// It is not the client who lets us wait.
    pub(super) fn excuse(&mut self) {
        self.waiting = None;
    }

    /// Bytes came, of which so many are to come in a second.
    pub(super) fn came(&mut self, bytes: usize, rate: u64) {
        if let Some(since) = self.waiting.take() {
            self.credit = self.credit.saturating_sub(since.elapsed());
        }
        if let Some(micros) = (bytes as u64).saturating_mul(1_000_000).checked_div(rate) {
            self.credit = self.credit.saturating_add(Duration::from_micros(micros));
        }
    }

    /// When the patience ends.
    pub(super) fn end(&self) -> Option<Instant> {
        self.waiting.map(|since| since + self.credit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::Pace;

    const GRACE: Duration = Duration::from_secs(20);

    /// Waits so long before each byte; tells after how many seconds the patience ends, within an hour.
    async fn drip(every: Duration, bytes: usize, rate: u64) -> Option<u64> {
        let begun = Instant::now();
        let mut pace = Pace::new(rate, GRACE);
        while begun.elapsed() < Duration::from_secs(3600) {
            pace.wait();
            let end = pace.end()?;
            if end < Instant::now() + every {
                return Some((end - begun).as_secs());
            }
            sleep(every).await;
            pace.came(bytes, rate);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_ends_with_the_grace_and_a_stream_does_not() {
        let second = Duration::from_secs(1);
        assert_eq!(drip(second, 1, 100).await, Some(20), "a byte a second earns next to nothing");
        assert_eq!(drip(second, 50, 100).await, Some(39), "half the rate lasts twice as long");
        assert_eq!(drip(second, 100, 100).await, None);
        assert_eq!(drip(second * 19, 1900, 100).await, None, "in whatever pieces");
        assert_eq!(drip(second * 25, 1 << 20, 100).await, Some(20), "nothing at all");
        assert_eq!(drip(second, 1, 0).await, None, "no rate, no end");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_app_lets_the_client_wait_does_not_count() {
        let mut pace = Pace::new(100, GRACE);
        sleep(GRACE * 10).await;
        assert_eq!(pace.end(), None);
        pace.wait();
        assert_eq!(pace.end(), Some(Instant::now() + GRACE));
        sleep(GRACE / 2).await;
        pace.excuse();
        assert_eq!(pace.end(), None);
        pace.came(0, 100);
        pace.wait();
        assert_eq!(pace.end(), Some(Instant::now() + GRACE));
    }
}
