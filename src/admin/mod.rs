//! The endpoints: what `/health` and its like answer, on both ports, and who may read them.
//!
//! A [`tower::Service`] that borrows the latest report and writes bytes that were rendered when the report changed or the
//! second turned. Runs no check and waits for nothing; but for the endpoints below `/-/`, which have the process do something
//! and say what came of it, and for the bodies of dialects that are called by POST.

mod accept;
mod access;
mod agent;
mod control;
mod dialects;
mod cors;
mod endpoint;
mod grpc;
mod host;
mod merge;
mod metrics;
mod place;
mod reloads;
mod report;
mod service;
mod settings;
mod waiting;
mod watch;

pub use self::access::{
    Access, AccessError, Credentials, JwtError, JwtSettings, Keys, Means, SessionError, SessionSettings,
};
pub use self::agent::{AgentCheck, AgentCheckSettings};
pub use self::control::{Control, LONGEST_WAIT, Operator, encode};
pub use self::cors::Cors;
pub use self::dialects::Dialects;
pub use self::endpoint::{Endpoint, Kind, Port, Ports};
pub use self::grpc::{GrpcBody, GrpcHealth, Watched};
pub use self::merge::{Merge, MergeCounts};
pub use self::metrics::{Declared, Label, METRICS, Metrics, Shape, Values};
pub use self::place::{Meant, Place};
pub use self::reloads::Reloads;
pub use self::service::{Admin, CurrentAdmin, Management, Payload, Target};
pub use self::settings::{
    AdminListen, AdminSettings, AdminTlsSettings, ControlSettings, ControlSocket, EndpointSettings, MergeFrom,
    MetricsSettings,
};
pub use self::waiting::Waiting;
pub use self::watch::{MOST_WATCHERS, Watchers, Watching};

#[cfg(test)]
mod tests;
