use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};

use super::Hub;
use crate::traffic::Failure;

/// What answers the requests of a listener. One per worker; never leaves its thread.
pub trait Handler: Clone + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;
    /// What it keeps per connection.
    type Connection: 'static;

    /// A connection has been accepted.
    fn connected(&self, client: &Client) -> Self::Connection;

    /// Answers one request. Dropped when the client goes away before the answer is complete.
    fn handle(
        &self,
        request: Request<Incoming>,
        connection: Rc<Self::Connection>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// A request was refused before it could be handled.
    fn refused(&self, _refusal: Refusal) {}
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// The worker's connections.
    pub hub: Rc<Hub>,
}

/// Why a request never reached a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not HTTP/1.1, or not well-formed.
    Malformed,
    /// Its head is too large.
    HeadTooLarge,
    /// Its head came too slowly.
    HeadTooSlow,
    /// The client left in the middle of the head.
    Abandoned,
}

impl Refusal {
    /// The code that the client was given, 499 where there is nobody left to give it to, and what it counts as.
    #[must_use]
    pub fn counts_as(self) -> (u16, Failure) {
        match self {
            Self::Malformed => (400, Failure::InvalidRequest),
            Self::HeadTooLarge => (431, Failure::RejectedLimit),
            Self::HeadTooSlow => (408, Failure::RejectedLimit),
            Self::Abandoned => (499, Failure::ClientClosed),
        }
    }
}
