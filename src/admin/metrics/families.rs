use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::declared::{Declared, Shape};
use crate::traffic::{BOUNDS, HistogramTotals};

/// Families being collected, with names in one namespace.
pub(super) struct Families<'a> {
    pub(super) namespace: &'a str,
    pub(super) all: Vec<MetricFamily>,
}

impl Families<'_> {
    /// A metric without labels.
    pub(super) fn one(&mut self, metric: &Declared, value: f64) {
        self.each(metric, [([""; 0], value)]);
    }

    /// A metric with its series: the values of its labels in their order, and its own.
    pub(super) fn each<'l, L: AsRef<[&'l str]>>(
        &mut self,
        metric: &Declared,
        series: impl IntoIterator<Item = (L, f64)>,
    ) {
        let series = series.into_iter().map(|(labels, value)| {
            let mut series = labelled(metric, labels.as_ref());
            if metric.shape == Shape::Counter {
                let mut counter = Counter::default();
                counter.set_value(value);
                series.set_counter(counter);
            } else {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                series.set_gauge(gauge);
            }
            series
        });
        self.family(metric, metric.name, series.collect());
    }

    /// A metric whose name holds that of a check. A check may be named so that another family has the name already; one
    /// family twice would spoil the scrape.
    pub(super) fn named(&mut self, metric: &Declared, check: &str, value: f64) {
        let check = check.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let name = metric.name.replace("CHECK", &check);
        let whole = format!("{}_{name}", self.namespace);
        if self.all.iter().any(|family| family.name() == whole) {
            return;
        }
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut series = Metric::default();
        series.set_gauge(gauge);
        self.family(metric, &name, vec![series]);
    }

    /// A distribution of durations.
    pub(super) fn histogram(&mut self, metric: &Declared, totals: &HistogramTotals) {
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
        let mut series = Metric::default();
        series.set_histogram(histogram);
        self.family(metric, metric.name, vec![series]);
    }

    fn family(&mut self, metric: &Declared, name: &str, series: Vec<Metric>) {
        // A family without series is left out.
        if series.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("{}_{name}", self.namespace));
        family.set_help(format!("{}.", metric.help));
        family.set_field_type(match metric.shape {
            Shape::Counter => MetricType::COUNTER,
            Shape::Gauge => MetricType::GAUGE,
            Shape::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(series);
        self.all.push(family);
    }
}

fn labelled(metric: &Declared, values: &[&str]) -> Metric {
    debug_assert!(values.len() <= metric.labels.len(), "{} has fewer labels", metric.name);
    let pairs = metric.labels.iter().zip(values).map(|(label, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(label.name.to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut series = Metric::default();
    series.set_label(pairs.collect());
    series
}
