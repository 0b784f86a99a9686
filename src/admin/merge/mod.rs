//! The app's own metrics beside ours, so that one scrape gets both.

mod exposition;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::exposition::join;
use super::Port;
use crate::fetch::{Question, fetch_up_to};
use crate::settings::Url;
use crate::tls::Client;

/// Where the app's metrics are, and how they are asked for.
#[derive(Debug)]
pub struct Merge {
    question: Question,
    patience: Duration,
    places: Places,
    counts: Arc<MergeCounts>,
}

/// Larger than the metrics of any app that Prometheus copes with.
const LARGEST: usize = 8 * 1024 * 1024;

/// So many scrapes may ask the app at the same time; further ones get our metrics alone. Those at the traffic port, where
/// anybody can ask, cannot take the places of those at the management port.
#[derive(Debug)]
struct Places {
    traffic: Semaphore,
    management: Semaphore,
}

/// At most so many scrapes of one port ask the app at the same time.
const MOST_AT_ONCE: usize = 4;

/// With this Prometheus says how long it waits, in seconds.
pub(super) const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// The share of that time which the app may use up.
const SHARE_OF_SCRAPE: f64 = 0.8;

/// A scrape that is to get the app's metrics too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scrape {
    port: Port,
    /// For so long the app may take.
    patience: Duration,
}

/// How asking the app went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Its metrics stand beside ours.
    Ok,
    /// It is not there, or does not answer with metrics in the text format.
    Failed,
    /// It did not answer in time.
    Timeout,
    /// Its answer is too large.
    TooLarge,
    /// Too many scrapes wait for it already.
    Busy,
}

impl Merged {
    pub(super) const ALL: [Self; 5] = [Self::Ok, Self::Failed, Self::Timeout, Self::TooLarge, Self::Busy];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
        }
    }
}

/// What became of asking the app; outlives reloads.
#[derive(Debug, Default)]
pub struct MergeCounts {
    results: [AtomicU64; 5],
    clashes: AtomicU64,
    malformed: AtomicU64,
}

impl MergeCounts {
    /// Why lines are left out, as labels.
    pub(super) const REASONS: [&'static str; 2] = ["clash", "malformed"];

    /// Scrapes by their result.
    pub(super) fn results(&self) -> [(&'static str, u64); 5] {
        Merged::ALL.map(|merged| (merged.label(), self.results[merged as usize].load(Relaxed)))
    }

    /// Lines left out, by the reason.
    pub(super) fn dropped(&self) -> [(&'static str, u64); 2] {
        let [clash, malformed] = Self::REASONS;
        [(clash, self.clashes.load(Relaxed)), (malformed, self.malformed.load(Relaxed))]
    }
}

impl Merge {
    /// The app's metrics at a place.
    #[must_use]
    pub fn new(url: Url, tls: Option<Arc<Client>>, patience: Duration, counts: Arc<MergeCounts>) -> Self {
        // Without compression, and not in OpenMetrics, which cannot stand beside this format.
        let accept = HeaderValue::from_static("text/plain;version=0.0.4");
        let headers = HeaderMap::from_iter([(ACCEPT, accept)]);
        let question = Question { method: Method::GET, url, headers, tls };
        Self { question, patience, places: Places::new(), counts }
    }

    pub(super) fn counts(&self) -> &MergeCounts {
        &self.counts
    }

    /// A scrape at this port, with what Prometheus says in it of how long it waits itself.
    pub(super) fn scrape(&self, port: Port, headers: &HeaderMap) -> Scrape {
        let seconds = headers.get(SCRAPE_TIMEOUT).and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
        let share = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds * SHARE_OF_SCRAPE).ok());
        Scrape { port, patience: share.map_or(self.patience, |share| share.min(self.patience)) }
    }

    /// Adds the app's metrics to ours. Whatever happens to them, ours are there. `reserved`: names that are ours, even if
    /// absent just now.
    pub(super) async fn add(&self, ours: &mut String, scrape: Scrape, reserved: impl Iterator<Item = String>) {
        let merged = match self.places.of(scrape.port).try_acquire() {
            Ok(_place) => timeout(scrape.patience, self.ask(ours, reserved)).await.unwrap_or(Merged::Timeout),
            Err(_) => Merged::Busy,
        };
        let before = self.counts.results[merged as usize].fetch_add(1, Relaxed);
        if merged != Merged::Ok && before == 0 {
            let result = merged.label();
            tracing::warn!(result, "the app's metrics are not beside ours; further times are only counted");
        }
    }

    async fn ask(&self, ours: &mut String, reserved: impl Iterator<Item = String>) -> Merged {
        let Ok(answer) = fetch_up_to(&self.question, LARGEST).await else {
            return Merged::Failed;
        };
        if answer.status != StatusCode::OK {
            return Merged::Failed;
        }
        if answer.truncated {
            return Merged::TooLarge;
        }
        let Some(dropped) = join(ours, &answer.body, reserved) else { return Merged::Failed };
        self.counts.clashes.fetch_add(dropped.clashes, Relaxed);
        self.counts.malformed.fetch_add(dropped.malformed, Relaxed);
        Merged::Ok
    }
}

impl Places {
    fn new() -> Self {
        Self { traffic: Semaphore::new(MOST_AT_ONCE), management: Semaphore::new(MOST_AT_ONCE) }
    }

    fn of(&self, port: Port) -> &Semaphore {
        match port {
            Port::Traffic => &self.traffic,
            Port::Admin => &self.management,
        }
    }
}
