use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use super::arrival::Arrival;
use super::connection::{ClientStream, Connection};
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
        let mut connection = Connection::new(self, stream, arrival, hub);
        let mut running = pin!(connection.run());
        std::future::poll_fn(|cx| {
            clock::begin_turn();
            running.as_mut().poll(cx)
        })
        .await;
    }
}
