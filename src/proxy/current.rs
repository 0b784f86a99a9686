use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;

use super::arrival::Arrival;
use super::connection::{ClientStream, Connection};
use super::http2::Session;
use super::local::Local;
use super::worker::Proxy;
use crate::clock;
use crate::drain::Hub;

/// A worker's proxy as it is now: replaced when the configuration is.
///
/// A connection takes the new one between two requests. A request that has begun ends with what it began with.
#[derive(Debug)]
pub struct Current<L>(RefCell<Rc<Proxy<L>>>);

impl<L: Local> Current<L> {
    /// Begins with this one.
    #[must_use]
    pub fn new(proxy: Proxy<L>) -> Self {
        Self(RefCell::new(Rc::new(proxy)))
    }

    /// The proxy for a request that begins now.
    #[must_use]
    pub fn get(&self) -> Rc<Proxy<L>> {
        self.0.borrow().clone()
    }

    /// Whether this is still the one.
    pub(super) fn is(&self, proxy: &Rc<Proxy<L>>) -> bool {
        Rc::ptr_eq(&self.0.borrow(), proxy)
    }

    /// From now on another one. Whoever waits for a request is to be woken, so that its deadlines are the new ones too.
    pub fn replace(&self, proxy: Proxy<L>) {
        *self.0.borrow_mut() = Rc::new(proxy);
    }

    /// Serves one client connection to its end.
    pub async fn serve(&self, stream: impl ClientStream, arrival: Arrival, hub: &Hub) {
        let begun = if arrival.http2 {
            Some((stream, Vec::new()))
        } else {
            let mut connection = Connection::new(self, stream, arrival, hub);
            let first = in_turns(pin!(connection.run())).await;
            first.map(|first| (connection.into_stream(), first))
        };
        if let Some((stream, first)) = begun {
            let arrival = Arrival { http2: true, ..arrival };
            // Boxed, so that a connection of HTTP/1.1 is small.
            in_turns(Box::pin(Session::serve(self, stream, first, arrival, hub))).await;
        }
    }
}

/// Notes the time whenever the future is polled.
async fn in_turns<T>(mut future: impl Future<Output = T> + Unpin) -> T {
    std::future::poll_fn(|cx| {
        clock::begin_turn();
        Pin::new(&mut future).poll(cx)
    })
    .await
}
