use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::connection::serve;
use super::{Client, ConnectionSettings, Io, Serve};

/// What answers requests with bodies that are there already.
pub trait Handler: Clone + 'static {
    /// Answers one request of a peer; `None` over a Unix socket.
    fn handle(&self, request: Request<Incoming>, peer: Option<IpAddr>) -> impl Future<Output = Response<Full<Bytes>>>;
}

/// An HTTP/1.1 server on hyper.
#[derive(Clone, Debug)]
pub struct HyperServer<H> {
    /// What answers.
    pub handler: H,
    /// Limits and deadlines.
    pub settings: ConnectionSettings,
}

impl<H: Handler> Serve for HyperServer<H> {
    fn serve(self, io: Io, client: Client) -> impl Future<Output = ()> + 'static {
        serve(io, client.peer, self.handler, self.settings)
    }
}
