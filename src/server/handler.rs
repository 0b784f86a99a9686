use std::net::IpAddr;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};

use super::connection::serve;
use super::{Channel, Client, ConnectionSettings, Io, Serve};

/// What answers requests.
pub trait Handler: Clone + 'static {
    /// What answers are made of.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;

    /// Answers one request of a peer; `None` over a Unix socket.
    fn handle(&self, request: Request<Incoming>, peer: Option<IpAddr>) -> impl Future<Output = Response<Self::Body>>;
}

/// Marks an answer, as an extension, whose body goes on for as long as somebody takes it: its connection is not ended for
/// its age alone.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// A server of HTTP/1.1 and HTTP/2 on hyper.
#[derive(Clone, Debug)]
pub struct HyperServer<H> {
    /// What answers.
    pub handler: H,
    /// Limits and deadlines.
    pub settings: ConnectionSettings,
}

impl<H: Handler> Serve for HyperServer<H> {
    fn serve(self, io: Io, client: Client) -> impl Future<Output = ()> + 'static {
        let agreed = client.channel == Channel::Tls { http2: true };
        serve(io, client.peer, agreed, self.handler, self.settings)
    }
}
