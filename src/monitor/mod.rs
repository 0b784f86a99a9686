//! Runs the checks at their own pace and publishes the report: the only writer of health state.
//!
//! One task per check asks and reports what it found; one task owns every state machine, steps it, and publishes an
//! immutable [`Report`](crate::health::Report) on the [`Board`]. Readers never wait for a writer, and nothing that a
//! check does (hang, panic, flood) reaches a request.

mod asker;
mod board;
mod handle;
mod keeper;
mod plan;

pub use self::board::Board;
pub use self::handle::MonitorHandle;
pub use self::keeper::Monitor;
pub use self::plan::{Identity, Plan, PlannedCheck, Schedule};

#[cfg(test)]
mod tests;
