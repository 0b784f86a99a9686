//! Listeners, accept loops, HTTP/1.1 connections with their limits and deadlines, and how they end.
//!
//! Knows nothing of what is served: that is a [`Handler`]. Everything here runs on one single-threaded runtime per
//! worker; the workers share nothing but the listening sockets and the connection limit.

mod accept;
mod connection;
mod handler;
mod hub;
mod io;
mod listener;
mod watch;

pub use self::accept::{Acceptor, ConnectionSettings};
pub use self::handler::{Client, Handler, Refusal};
pub use self::hub::{Hub, Phase, Tally};
pub use self::listener::{BindError, Bound};
