//! Listeners, accept loops, the limit of connections, TLS and the PROXY protocol before anything is served, and a server of
//! HTTP/1.1 and HTTP/2 on hyper for the management port.
//!
//! Knows nothing of what is served: that is a [`Serve`]. Everything here runs on one single-threaded runtime per
//! worker; the workers share nothing but the listening sockets and the connection limit.

mod accept;
mod begun;
mod client;
mod connection;
mod crowd;
mod deferred;
mod door;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handler;
mod held;
mod io;
mod listener;
mod private;
pub mod proxy_protocol;
mod secure;
mod socket_file;

pub use self::accept::{Acceptor, ConnectionSettings};
pub use self::client::{Channel, Client, Serve};
pub use self::crowd::Crowd;
pub use self::door::Door;
pub use self::handler::{Endless, Handler, HyperServer};
pub use self::io::Io;
pub use self::listener::{BindError, Bound};
pub use self::private::Private;
