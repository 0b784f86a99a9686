use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Check, Defaults, Kind, Prepare, Resources};
use crate::health::{Facts, Finding, Reason};
use crate::settings::Ratio;
use crate::traffic::{HistogramTotals, Traffic};

pub(super) const KIND: Kind = Kind::of::<TrafficSettings>(
    "traffic",
    "Judges the proxied traffic of the last while: errors of the app, slowness, saturation.",
    Defaults { interval: "5s", timeout: "1s", failure_threshold: "1", on_failure: "degraded" },
);

crate::settings! {
    /// Settings of a `traffic` check. The app's 429 and 529 and what clients do wrong never count as failures.
    pub struct TrafficSettings {
        /// How far back it looks.
        window: Duration = "1m",
        /// The share of requests that may fail.
        max_error_ratio: Ratio = "0.5",
        /// With fewer requests than this in the window nothing is judged.
        min_requests: u64 = "20",
        /// The 99th percentile of durations may not be above this. Absent: not judged.
        max_p99: Option<Duration>,
        /// More requests in flight than this are saturation. Absent: not judged.
        max_in_flight: Option<u64>,
    }
}

impl Prepare for TrafficSettings {
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        if self.window < Duration::from_secs(1) {
            return Err("`traffic.window` must be at least 1s".into());
        }
        let check =
            TrafficCheck { settings: self.clone(), traffic: resources.traffic.clone(), samples: VecDeque::new() };
        Ok(Box::new(check))
    }
}

/// Totals at one instant. Comparing two of them costs requests nothing, and is exact.
struct Sample {
    at: Instant,
    failures: u64,
    duration: HistogramTotals,
}

/// At most so many samples are kept; with a longer window they lie further apart.
const SAMPLES: u32 = 120;

struct TrafficCheck {
    settings: TrafficSettings,
    traffic: Arc<Traffic>,
    samples: VecDeque<Sample>,
}

impl Check for TrafficCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let finding = self.judge(Instant::now());
        Box::pin(std::future::ready(finding))
    }
}

impl TrafficCheck {
    fn judge(&mut self, now: Instant) -> Finding {
        let totals = self.traffic.totals();
        let sample = Sample { at: now, failures: totals.app_failures(), duration: totals.duration };
        // The newest sample that is at least a window old is the beginning of the window.
        while self.samples.get(1).is_some_and(|second| now - second.at >= self.settings.window) {
            self.samples.pop_front();
        }
        let (failures, duration) = match self.samples.front() {
            Some(first) => (sample.failures.saturating_sub(first.failures), sample.duration.since(&first.duration)),
            None => (sample.failures, sample.duration.clone()),
        };
        let apart = self.settings.window / SAMPLES;
        if self.samples.back().is_none_or(|last| now - last.at >= apart) {
            self.samples.push_back(sample);
        }
        self.verdict(failures, &duration, totals.in_flight)
    }

    fn verdict(&self, failures: u64, duration: &HistogramTotals, in_flight: i64) -> Finding {
        let requests = duration.count();
        let ratio = if requests == 0 { 0.0 } else { failures as f64 / requests as f64 };
        let p99 = duration.quantile(0.99);
        let mut facts = Facts::default();
        facts.public("requests", requests);
        facts.public("error_ratio", (ratio * 1000.0).round() / 1000.0);
        facts.public("p99_ms", p99.map(|seconds| seconds * 1000.0));
        facts.public("in_flight", u64::try_from(in_flight).unwrap_or(0));

        let saturated =
            self.settings.max_in_flight.is_some_and(|max| u64::try_from(in_flight).is_ok_and(|now| now > max));
        let judged = requests >= self.settings.min_requests.max(1);
        let slow = self.settings.max_p99.is_some_and(|max| p99.is_some_and(|p99| p99 > max.as_secs_f64()));
        let reason = if judged && ratio > self.settings.max_error_ratio.0 {
            Reason::new("error_ratio", format!("{:.0}% of the requests fail", ratio * 100.0))
        } else if judged && slow {
            Reason::new("slow", "the slowest 1% of the requests take too long")
        } else if saturated {
            Reason::new("saturated", "too many requests are in flight")
        } else {
            return Finding::pass(facts);
        };
        Finding::fail(reason, facts)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{TrafficCheck, TrafficSettings};
    use crate::health::Outcome;
    use crate::settings::Ratio;
    use crate::traffic::{Failure, Method, Traffic};

    #[test]
    fn the_window_slides_and_clients_are_not_blamed_on_the_app() {
        let traffic = Arc::new(Traffic::new(1));
        let settings = TrafficSettings {
            window: Duration::from_secs(10),
            max_error_ratio: Ratio(0.5),
            min_requests: 4,
            max_p99: None,
            max_in_flight: None,
        };
        let mut check = TrafficCheck { settings, traffic: traffic.clone(), samples: VecDeque::new() };
        let begin = Instant::now();
        let mut judge = |second| check.judge(begin + Duration::from_secs(second)).outcome;
        let count = |code, failure, times| {
            for _ in 0..times {
                traffic.shard(0).request(Method::Get, code, failure, Duration::from_millis(1));
            }
        };

        assert_eq!(judge(0), Outcome::Pass, "nothing is known");
        count(500, Some(Failure::Http5xx), 3);
        assert_eq!(judge(1), Outcome::Pass, "too few to judge");
        count(500, Some(Failure::Http5xx), 1);
        assert_eq!(judge(2), Outcome::Fail, "4 of 4 failed");
        count(429, Some(Failure::RateLimited), 2);
        count(499, Some(Failure::ClientClosed), 2);
        assert_eq!(judge(3), Outcome::Pass, "4 of 8 is not more than half");
        assert_eq!(judge(14), Outcome::Pass, "all of it has left the window");
        count(200, None, 4);
        assert_eq!(judge(15), Outcome::Pass);
    }
}
