//! A worker's connections to the app.

mod connect;
mod pool;
mod stream;
mod target;

pub(super) use self::pool::{Lease, Pool};
pub use self::target::Target;
