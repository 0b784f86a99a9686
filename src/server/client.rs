use std::net::IpAddr;
use std::rc::Rc;

use super::Io;
use crate::drain::Hub;

/// What becomes of the connections of a listener. One per worker; never leaves its thread.
pub trait Serve: Clone + 'static {
    /// Serves one connection to its end.
    fn serve(self, io: Io, client: Client) -> impl Future<Output = ()> + 'static;
}

/// What a connection is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Bytes as they are.
    Plain,
    /// TLS.
    Tls {
        /// Whether HTTP/2 was agreed on.
        http2: bool,
    },
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether that address is a balancer's that cannot name its client.
    pub unnamed: bool,
    /// What the connection is made of.
    pub channel: Channel,
    /// The worker's connections.
    pub hub: Rc<Hub>,
}
