use std::sync::Arc;

use prometheus::core::Desc;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, Registry, TextEncoder};

use super::{Merge, Reloads};
use crate::events::EventTotals;
use crate::health::{CheckReport, Fact, Lifecycle, Moment, Outcome, Report, Status};
use crate::supervise::AppStatus;
use crate::tls::Server;
use crate::traffic::{BOUNDS, Failure, HistogramTotals, ModelOutcome, Models, TOKENS, Totals, Traffic};

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
        process.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
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
        })
    }

    /// The same, with what became of events.
    #[must_use]
    pub fn telling(self, events: Arc<EventTotals>) -> Self {
        Self { events, ..self }
    }

    /// The same, with the app's own beside them.
    #[must_use]
    pub fn merging(self, merge: Option<Merge>) -> Self {
        Self { merge: merge.map(Arc::new), ..self }
    }

    /// The text of one scrape.
    #[must_use]
    pub fn render(&self, report: &Report, now: Moment) -> String {
        let mut families = Families { namespace: &self.namespace, all: Vec::new() };
        traffic(&mut families, &self.traffic.totals());
        models(&mut families, &self.traffic.models);
        health(&mut families, report, now);
        let labels = [("version", self.version.as_str()), ("revision", self.revision)];
        families.gauges("build_info", "Always 1; what was built.", [(labels.to_vec(), 1.0)]);
        let succeeded = f64::from(u8::from(self.reloads.succeeded()));
        families.gauge(
            "config_last_reload_success",
            "1 if the last reading of the configuration succeeded.",
            succeeded,
        );
        families.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last read with success.",
            self.reloads.last_success() as f64,
        );
        families.gauges(
            "certificate_expiry_timestamp_seconds",
            "When a certificate ends to be valid: the traffic port's own, and those that checks were shown.",
            self.tls
                .iter()
                .filter_map(|tls| tls.expires())
                .map(|expires| (Vec::new(), expires as f64))
                .chain(shown_certificates(report)),
        );
        if let Some(merge) = &self.merge {
            let counts = merge.counts();
            let results = counts.results().map(|(result, count)| (vec![("result", result)], count));
            families.counters("metrics_merge_total", "Scrapes that asked the app for its own metrics.", results);
            let dropped = counts.dropped().map(|(reason, count)| (vec![("reason", reason)], count));
            let help = "Lines of the app's metrics that could not stand beside ours.";
            families.counters("metrics_merge_dropped_lines_total", help, dropped);
        }
        let results = self.events.results().map(|(result, count)| (vec![("result", result)], count));
        families.counters("events_total", "Messages about changed statuses, by what became of them.", results);
        families.all.extend(self.process.gather());
        let mut text = Vec::new();
        // Writing into memory cannot fail, and a family without series is left out.
        families.all.retain(|family| !family.get_metric().is_empty());
        let _ = TextEncoder::new().encode(&families.all, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn shown_certificates(report: &Report) -> impl Iterator<Item = (Labels<'_>, f64)> {
    report.checks.iter().filter_map(|check| {
        match check.state.last.as_ref()?.finding.facts.get("certificate_expires")? {
            Fact::Time(at) => Some((vec![("check", &*check.name)], *at as f64)),
            _ => None,
        }
    })
}

fn traffic(families: &mut Families<'_>, totals: &Totals) {
    let mut requests = totals.requests.clone();
    for method in ["GET", "POST"] {
        requests.entry((method, 200)).or_default();
    }
    let codes: Vec<(String, &str, u64)> =
        requests.iter().map(|((method, code), count)| (code.to_string(), *method, *count)).collect();
    let series = codes.iter().map(|(code, method, count)| (vec![("method", *method), ("code", code.as_str())], *count));
    families.counters("requests_total", "Proxied requests, counted at their end.", series);
    families.histogram("request_duration_seconds", "From a request's head to the end of its answer.", &totals.duration);
    families.histogram(
        "time_to_first_byte_seconds",
        "From a request's head to the head of the app's answer.",
        &totals.time_to_first_byte,
    );
    let failures = Failure::ALL.iter().zip(totals.failures);
    families.counters(
        "errors_total",
        "Failed requests; each counts in one type.",
        failures.map(|(failure, count)| (vec![("type", failure.label())], count)),
    );
    families.counters(
        "bytes_total",
        "Body bytes passed on.",
        [("received", totals.received), ("sent", totals.sent)].map(|(way, count)| (vec![("direction", way)], count)),
    );
    families.gauge("requests_in_flight", "Requests begun and not ended.", totals.in_flight as f64);
    families.gauge("connections", "Open client connections of the traffic port.", totals.connections as f64);
    families.gauges(
        "upstream_connections",
        "Connections to the app.",
        [("active", totals.upstream_active), ("idle", totals.upstream_idle)]
            .map(|(state, count)| (vec![("state", state)], count as f64)),
    );
    families.counter("retries_total", "Attempts beyond the first.", totals.retries);
    let denied = totals.retries_denied;
    families.counter("retries_denied_total", "Further attempts that the retry budget did not allow.", denied);
    families.gauge("requests_held", "Requests that wait for the app to come back.", totals.held as f64);
    families.counter("holds_total", "Requests that had to wait for the app to come back.", totals.holds);
    families.counter("accept_failures_total", "Connections that could not be accepted.", totals.accept_failures);
    families.counter(
        "handshake_failures_total",
        "Connections that ended before HTTP: no TLS, no PROXY header, or too slow.",
        totals.handshake_failures,
    );
    let dropped = crate::journal::journal().dropped();
    families.counter("log_lines_dropped_total", "Log lines that nobody read in time.", dropped);
}

fn models(families: &mut Families<'_>, models: &Models) {
    let totals = models.totals();
    let tokens = totals.iter().flat_map(|model| {
        let kinds = TOKENS.into_iter().zip(model.tokens);
        kinds.map(|(kind, count)| (vec![("model", model.name.as_str()), ("kind", kind)], count))
    });
    families.counters("llm_tokens_total", "Tokens, as the answers of models tell of them.", tokens);
    let answers = totals.iter().flat_map(|model| {
        let outcomes = ModelOutcome::ALL.into_iter().zip(model.outcomes);
        outcomes.map(|(outcome, count)| (vec![("model", model.name.as_str()), ("outcome", outcome.label())], count))
    });
    families.counters("llm_requests_total", "Answers of models with a 2xx code, by how they ended.", answers);
    families.histogram(
        "time_to_first_token_seconds",
        "From a request's head to the first thing that a model says in a stream.",
        &models.first_tokens(),
    );
}

fn health(families: &mut Families<'_>, report: &Report, now: Moment) {
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    families.gauge("ready", "1 if traffic may be sent here.", flag(report.is_ready() && !report.is_overdue(now)));
    families.gauge("draining", "1 while shutting down.", flag(report.lifecycle == Lifecycle::Draining));
    families.gauge("maintenance", "1 while an operator keeps it out of service.", flag(report.maintenance.is_some()));
    families.gauges(
        "health_status",
        "Verdict of a group: 0 healthy, 1 degraded, 2 unknown, 3 unhealthy.",
        report.groups.iter().map(|group| (vec![("group", group.group.name())], f64::from(group.status as u8))),
    );
    let each = |value: fn(&CheckReport) -> Option<f64>| {
        let known = report.checks.iter().filter_map(move |check| Some((check, value(check)?)));
        known.map(|(check, value)| (vec![("check", &*check.name)], value)).collect::<Vec<_>>()
    };
    let statuses = report.checks.iter().filter(|check| check.enabled).flat_map(|check| {
        Status::ALL.map(|status| {
            (vec![("check", &*check.name), ("status", status.word())], flag(check.state.status == status))
        })
    });
    families.gauges("check_status", "1 for the status that a check has.", statuses);
    families.gauges(
        "check_up",
        "1 if a check is healthy or degraded.",
        each(|check| check.enabled.then(|| if check.state.status.is_up() { 1.0 } else { 0.0 })),
    );
    families.gauges(
        "check_duration_seconds",
        "How long the last run of a check took.",
        each(|check| check.state.last.as_ref().map(|last| last.took.as_secs_f64())),
    );
    families.gauges(
        "check_last_success_timestamp_seconds",
        "When a check last passed.",
        each(|check| check.state.last_success.map(|at| at.unix.as_secs() as f64)),
    );
    families.gauges(
        "auth_expiry_timestamp_seconds",
        "When somebody must log in again.",
        each(|check| match (check.kind, check.state.last.as_ref()?.finding.facts.get("expires")?) {
            ("credentials", Fact::Time(at)) => Some(*at as f64),
            _ => None,
        }),
    );
    let runs = report.checks.iter().flat_map(|check| {
        let outcomes = Outcome::ALL.into_iter().zip(check.runs);
        outcomes.map(|(outcome, count)| (vec![("check", &*check.name), ("outcome", outcome.word())], count))
    });
    families.counters("check_runs_total", "Runs of a check by their outcome.", runs);
    let transitions = report.checks.iter().flat_map(|check| {
        let entered = Status::ALL.into_iter().zip(check.transitions);
        entered.map(|(status, count)| (vec![("check", &*check.name), ("to", status.word())], count))
    });
    families.counters("check_transitions_total", "Changes of a check's status by the status entered.", transitions);
    if let Some(app) = report.check(AppStatus::CHECK) {
        let restarts = app.state.last.as_ref().and_then(|last| last.finding.facts.get("restarts"));
        let restarts = if let Some(Fact::Count(count)) = restarts { *count } else { 0 };
        families.gauge("app_up", "1 if the app that we start runs.", flag(app.state.status.is_up()));
        families.counter("app_restarts_total", "How often the app was started again.", restarts);
    }
    // The metric that the Claude proxy's own page names: `claude_proxy_claude_cli_status`.
    for check in report.checks.iter().filter(|check| check.kind == "cli") {
        let name = format!("{}_status", check.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        // A check may be named so that another family has this name already; one family twice would spoil the scrape.
        if !families.has(&name) {
            families.gauge(&name, "1 if the CLI is available.", flag(check.state.status.is_up()));
        }
    }
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// Families being collected, with names in one namespace.
struct Families<'a> {
    namespace: &'a str,
    all: Vec<MetricFamily>,
}

impl Families<'_> {
    fn has(&self, name: &str) -> bool {
        let name = format!("{}_{name}", self.namespace);
        self.all.iter().any(|family| family.name() == name)
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(format!("{}_{name}", self.namespace));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.all.push(family);
    }

    fn counters<'l>(&mut self, name: &str, help: &str, series: impl IntoIterator<Item = (Labels<'l>, u64)>) {
        let metrics = series.into_iter().map(|(labels, count)| {
            let mut counter = Counter::default();
            counter.set_value(count as f64);
            let mut metric = labelled(labels);
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, metrics.collect());
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.counters(name, help, [(Vec::new(), count)]);
    }

    fn gauges<'l>(&mut self, name: &str, help: &str, series: impl IntoIterator<Item = (Labels<'l>, f64)>) {
        let metrics = series.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = labelled(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.family(name, help, MetricType::GAUGE, metrics.collect());
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(Vec::new(), value)]);
    }

    fn histogram(&mut self, name: &str, help: &str, totals: &HistogramTotals) {
        let mut histogram = Histogram::default();
        let mut below = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (bound, count) in BOUNDS.iter().zip(totals.buckets) {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(totals.count());
        histogram.set_sample_sum(totals.sum_nanos as f64 / 1e9);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.family(name, help, MetricType::HISTOGRAM, vec![metric]);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}
