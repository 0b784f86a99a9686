//! Forwards requests to the app: pool, fields, bodies, upgrades, limits, errors, exact counts.
//!
//! Knows nothing of health except one thing that it may be told through [`Gate`]: "reject, we are not ready".
//!
//! HTTP/1.1 to HTTP/1.1 by a codec and a relay of our own: a head is parsed where it was read, written anew into one
//! buffer, and sent in one write with the first bytes of the body. Bytes are read into one buffer per worker; a connection
//! owns memory only for what is incomplete, so an idle one costs a small future. Everything runs on one thread per worker.

mod admission;
mod arrival;
mod at_hand;
#[cfg(feature = "bench")]
pub mod bench;
mod connection;
mod current;
#[cfg(test)]
mod differential;
mod exchange;
mod forwarded;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http1;
mod http2;
mod kept;
mod lines;
mod linger;
mod local;
mod pipes;
mod reading;
mod rejection;
mod relay;
mod request_log;
mod rewrite;
mod settings;
mod timer;
mod told;
mod trace;
mod tunnel;
mod upstream;
mod via;
mod witness;
mod worker;

pub use self::admission::{Admission, Gate, resize};
pub use self::arrival::Arrival;
pub use self::connection::ClientStream;
pub use self::current::Current;
pub use self::http1::{Malformed, is_host};
pub use self::local::{Later, Local, LocalAnswer, LocalBody, LocalRequest, Pieces};
pub use self::rejection::Rejection;
pub use self::request_log::RequestLogRules;
pub use self::settings::{
    Limits, LoginSettings, PerSecond, Prefix, ProxySettings, Retry, Threads, Timeouts, TraceSettings, Upstream,
};
pub use self::upstream::Target;
pub use self::worker::Proxy;
