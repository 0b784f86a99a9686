//! The pure core: what a check's results mean.
//!
//! Nothing here waits, reads a clock or does I/O; time comes in as a [`Moment`]. One function, [`State::step`], decides
//! every status; one value, [`Report`], holds every status at one instant, and everything that the program says about
//! health is made from it, so no two answers can disagree.

mod above;
mod fact;
mod group;
mod history;
mod lifecycle;
mod moment;
mod observation;
mod policy;
mod report;
mod state;
mod status;

pub use above::{Above, PING};
pub use fact::{Audience, Fact, Facts};
pub use group::Group;
pub use history::{Chronicle, Event, History, MOST_EVENTS, MOST_RECENT, Subject};
pub use lifecycle::Lifecycle;
pub use moment::Moment;
pub use observation::{Finding, Observation, Outcome, Reason};
pub use policy::{OnFailure, Policy};
pub use report::{CheckReport, GroupReport, Report};
pub use state::{State, Transition};
pub use status::Status;
