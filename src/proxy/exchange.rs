use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::clock;
use crate::traffic::{Failure, Method, Shard};

/// One request from its first byte to its last: counted exactly once, when this is dropped, however it ends.
///
/// Until told otherwise the end is that the client has left, because that is what dropping means.
#[derive(Debug)]
pub(super) struct Exchange {
    shard: Arc<Shard>,
    method: Method,
    begun: Instant,
    code: u16,
    failure: Option<Failure>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// nginx's code for a client that closed its request; never sent to anybody.
pub(super) const CLIENT_CLOSED: u16 = 499;

impl Exchange {
    pub(super) fn begin(shard: Arc<Shard>, method: Method) -> Self {
        shard.in_flight.fetch_add(1, Relaxed);
        let failure = Some(Failure::ClientClosed);
        Self { shard, method, begun: clock::turn(), code: CLIENT_CLOSED, failure, permit: None }
    }

    /// It ended so.
    pub(super) fn end(&mut self, code: u16, failure: Option<Failure>) {
        self.code = code;
        self.failure = failure;
    }

    /// The head of the app's answer is there.
    pub(super) fn answered(&self) {
        self.shard.first_byte(clock::turn() - self.begun);
    }

    pub(super) fn shard(&self) -> &Shard {
        &self.shard
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shard.in_flight.fetch_sub(1, Relaxed);
        self.shard.request(self.method, self.code, self.failure, clock::turn() - self.begun);
    }
}
