//! A worker's connections to the app.

mod connect;
mod pool;
mod stream;

pub(super) use self::pool::{Lease, Pool};
