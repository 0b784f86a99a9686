//! Forwards requests to the app: pool, fields, bodies, upgrades, limits, errors, exact counts.
//!
//! Knows nothing of health except one thing that it may be told through [`Gate`]: "reject, we are not ready".
//!
//! The seam for another engine is [`Proxy`]: `connected`, `forward` and `refused` are all that the rest of the program
//! knows of it.

mod admission;
mod body;
mod exchange;
mod forward;
mod headers;
mod login;
mod pool;
mod rejection;
mod settings;
mod tunnel;

pub use self::admission::{Admission, Gate};
pub use self::body::ProxyBody;
pub use self::forward::{Proxy, ProxyClient, Shared};
pub use self::rejection::Rejection;
pub use self::settings::{Limits, LoginSettings, PerSecond, ProxySettings, Retry, Timeouts, Upstream};
