//! `/metrics`: the table of what there is, and the text of a scrape.

mod declared;
mod families;
mod health;
mod table;

use std::sync::Arc;

use prometheus::core::Desc;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder as _, Registry, TextEncoder};

pub use self::declared::{Declared, Label, Shape, Values};
use self::families::Families;
use self::table as t;
pub use self::table::METRICS;
use super::{Merge, Reloads, Watchers};
use crate::events::EventTotals;
use crate::health::{Moment, Report};
use crate::journal::journal;
use crate::tls::Server;
use crate::traffic::{Failure, HistogramTotals, ModelOutcome, Models, TOKENS, Totals, Traffic};

/// Everything that `/metrics` says. Made anew for each scrape from the counters and the latest report, so that no metric
/// can say something else than the bodies do; the process's own figures come from a registry.
#[derive(Debug)]
pub struct Metrics {
    namespace: String,
    version: String,
    revision: &'static str,
    traffic: Arc<Traffic>,
    tls: Option<Arc<Server>>,
    reloads: Arc<Reloads>,
    process: Registry,
    pub(super) merge: Option<Arc<Merge>>,
    events: Arc<EventTotals>,
    watchers: Arc<Watchers>,
    connections_limit: u32,
}

impl Metrics {
    /// Metrics whose names begin with `namespace`.
    ///
    /// # Errors
    /// The namespace cannot begin a name.
    pub fn new(
        namespace: &str,
        version: &str,
        revision: &'static str,
        traffic: Arc<Traffic>,
        tls: Option<Arc<Server>>,
        reloads: Arc<Reloads>,
    ) -> Result<Self, prometheus::Error> {
        // Refuses an impossible namespace at the start in place of at the first scrape.
        Desc::new(format!("{namespace}_up"), "A name.".into(), Vec::new(), Default::default())?;
        let process = Registry::new();
        process.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            namespace: namespace.to_owned(),
            version: version.to_owned(),
            revision,
            traffic,
            tls,
            reloads,
            process,
            merge: None,
            events: Arc::default(),
            watchers: Watchers::new(Moment::default()),
            connections_limit: 0,
        })
    }

    /// The same, with what became of events, and who watches.
    #[must_use]
    pub fn telling(self, events: Arc<EventTotals>, watchers: Arc<Watchers>) -> Self {
        Self { events, watchers, ..self }
    }

    /// The same, with the app's own beside them.
    #[must_use]
    pub fn merging(self, merge: Option<Merge>) -> Self {
        Self { merge: merge.map(Arc::new), ..self }
    }

    /// The same, of a traffic port that takes so many connections.
    #[must_use]
    pub fn limited(self, connections_limit: u32) -> Self {
        Self { connections_limit, ..self }
    }

    /// The names that are ours, also while they have no series; without those that hold the name of a check.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let fixed = METRICS.iter().filter(|metric| !metric.name.contains("CHECK"));
        fixed.map(|metric| format!("{}_{}", self.namespace, metric.name))
    }

    /// The text of one scrape.
    #[must_use]
    pub fn render(&self, report: &Report, now: Moment) -> String {
        let mut families = Families { namespace: &self.namespace, all: Vec::new() };
        let totals = self.traffic.totals();
        self.traffic(&mut families, &totals);
        models(&mut families, &self.traffic.models, &totals.time_to_first_token);
        health::health(&mut families, report, now);
        self.sidecar(&mut families, report);
        families.all.extend(self.process.gather());
        let mut text = Vec::new();
        // Writing into memory cannot fail.
        let _ = TextEncoder::new().encode(&families.all, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    fn traffic(&self, families: &mut Families<'_>, totals: &Totals) {
        let mut requests = totals.requests.clone();
        for method in ["GET", "POST"] {
            requests.entry((method, 200)).or_default();
        }
        let codes: Vec<(String, &str, u64)> =
            requests.iter().map(|((method, code), count)| (code.to_string(), *method, *count)).collect();
        let series = codes.iter().map(|(code, method, count)| ([*method, code.as_str()], *count as f64));
        families.each(&t::REQUESTS, series);
        families.histogram(&t::DURATION, &totals.duration);
        families.histogram(&t::FIRST_BYTE, &totals.time_to_first_byte);
        let failures = Failure::ALL.iter().zip(totals.failures);
        families.each(&t::ERRORS, failures.map(|(failure, count)| ([failure.label()], count as f64)));
        let ways = [("received", totals.received), ("sent", totals.sent)];
        families.each(&t::BYTES, ways.map(|(way, count)| ([way], count as f64)));
        families.one(&t::IN_FLIGHT, totals.in_flight as f64);
        families.one(&t::QUEUED, totals.queued as f64);
        families.one(&t::QUEUES, totals.queues as f64);
        families.one(&t::CONNECTIONS, totals.connections as f64);
        families.one(&t::CONNECTIONS_LIMIT, f64::from(self.connections_limit));
        let states = [("active", totals.upstream_active), ("idle", totals.upstream_idle)];
        families.each(&t::UPSTREAM_CONNECTIONS, states.map(|(state, count)| ([state], count as f64)));
        families.one(&t::RETRIES, totals.retries as f64);
        families.one(&t::RETRIES_DENIED, totals.retries_denied as f64);
        families.one(&t::HELD, totals.held as f64);
        families.one(&t::HOLDS, totals.holds as f64);
        families.one(&t::ACCEPT_FAILURES, totals.accept_failures as f64);
        families.one(&t::HANDSHAKE_FAILURES, totals.handshake_failures as f64);
        families.one(&t::LOG_LINES_DROPPED, journal().dropped() as f64);
    }

    fn sidecar(&self, families: &mut Families<'_>, report: &Report) {
        families.each(&t::BUILD_INFO, [([self.version.as_str(), self.revision], 1.0)]);
        families.one(&t::RELOAD_SUCCESS, f64::from(u8::from(self.reloads.succeeded())));
        families.one(&t::RELOAD_TIME, self.reloads.last_success() as f64);
        let own = self.tls.as_ref().and_then(|tls| tls.expires());
        health::certificates(families, own, report);
        if let Some(merge) = &self.merge {
            let counts = merge.counts();
            families.each(&t::MERGES, counts.results().map(|(result, count)| ([result], count as f64)));
            families.each(&t::MERGE_DROPPED, counts.dropped().map(|(reason, count)| ([reason], count as f64)));
        }
        families.each(&t::EVENTS, self.events.results().map(|(result, count)| ([result], count as f64)));
        families.one(&t::WATCHERS, self.watchers.count() as f64);
        families.one(&t::WATCHERS_REFUSED, self.watchers.refused() as f64);
    }
}

fn models(families: &mut Families<'_>, models: &Models, first_token: &HistogramTotals) {
    let totals = models.totals();
    let tokens = totals.iter().flat_map(|model| {
        let kinds = TOKENS.into_iter().zip(model.tokens);
        kinds.map(|(kind, count)| ([model.name.as_str(), kind], count as f64))
    });
    families.each(&t::LLM_TOKENS, tokens);
    let answers = totals.iter().flat_map(|model| {
        let outcomes = ModelOutcome::ALL.into_iter().zip(model.outcomes);
        outcomes.map(|(outcome, count)| ([model.name.as_str(), outcome.label()], count as f64))
    });
    families.each(&t::LLM_REQUESTS, answers);
    families.histogram(&t::FIRST_TOKEN, first_token);
}
