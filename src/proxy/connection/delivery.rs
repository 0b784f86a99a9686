use std::time::Duration;

use super::super::local::Local;
use super::super::settings::ProxySettings;
use super::{ClientStream, Connection};
use crate::clock;

/// A client that takes nothing for so long is given up, where the configuration gives it all the time in the world: its
/// place is for somebody who reads.
const LONGEST_WRITE: Duration = Duration::from_secs(60);

/// How often it is looked whether the client has all of it.
pub(in crate::proxy) const TICK: Duration = Duration::from_millis(25);

/// How long a client may take for what the kernel has, at most.
pub(in crate::proxy) fn longest_write(settings: &ProxySettings) -> Duration {
    let limit = settings.timeouts.write;
    if limit.is_zero() { LONGEST_WRITE } else { limit }
}

impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// Stays until the client has what was written. For a process that is about to end: what its kernel still has goes with
    /// the network of its pod.
    pub(super) async fn deliver(&mut self) {
        let ends = clock::turn() + longest_write(&self.proxy.settings);
        while !self.stream.has_arrived() && clock::turn() < ends {
            tokio::time::sleep(TICK).await;
        }
    }
}
