//! Counters of proxied requests: the one source of `/metrics`, of the bodies' request counts and of the `traffic` check.
//!
//! Each worker of the data plane writes to a [`Shard`] of its own with no lock; readers add the shards up. Labels are indices into fixed arrays, so no method, code or path that a client invents can grow anything.

mod count;
mod counters;
mod histogram;
mod login;
mod method;
mod models;
mod totals;

pub use count::{Counter, Gauge};
pub use counters::{CODES, Failure, Shard, Traffic};
pub use histogram::{BOUNDS, Histogram, HistogramTotals};
pub use login::{Login, Verdict};
pub use method::Method;
pub use models::{MOST_MODELS, ModelOutcome, ModelTotals, Models, TOKENS};
pub use totals::Totals;
