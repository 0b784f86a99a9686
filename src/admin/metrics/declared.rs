/// One metric as it is declared. `/metrics` is made from these, and `docs/metrics.md`.
#[derive(Debug)]
pub struct Declared {
    /// Without the namespace. `CHECK` in it stands for a check's name.
    pub name: &'static str,
    /// How it counts.
    pub shape: Shape,
    /// Its labels, in the order in which their values are given.
    pub labels: &'static [Label],
    /// What it means.
    pub help: &'static str,
    /// When it is there, if not always.
    pub when: Option<&'static str>,
}

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Only grows.
    Counter,
    /// What is now.
    Gauge,
    /// A distribution, in buckets.
    Histogram,
}

/// A label of a metric.
#[derive(Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it can say.
    pub values: Values,
}

/// What a label can say, and so what bounds the number of series.
#[derive(Debug)]
pub enum Values {
    /// Each of a fixed set.
    Of(fn() -> Vec<&'static str>),
    /// One of a fixed set at any time, given what the labels before it say.
    One(fn() -> Vec<&'static str>),
    /// At most so many, whatever comes from outside.
    Most(usize, &'static str),
    /// The name of each such thing in the configuration.
    Each(&'static str),
    /// One at any time, given what the labels before it say.
    Follows(&'static str),
}
