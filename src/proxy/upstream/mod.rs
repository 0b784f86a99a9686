//! A worker's connections to the app.

mod broken;
mod connect;
mod connecting;
mod http2;
mod pool;
mod queue;
mod race;
mod resolve;
mod stream;
mod target;

pub(super) use self::broken::Broken;
pub(super) use self::pool::{Lease, Needs, Pool};
pub(super) use self::queue::AppsEnd;
pub use self::target::Target;
