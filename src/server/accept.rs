use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::io::{Counted, Io};
use super::listener::{Accepted, Listener};
use super::{Bound, Channel, Client, Crowd, Door, Serve};
use crate::drain::{CLOSING_PAUSE, Hub, Phase, Tally};
use crate::traffic::Shard;

/// How long accepting pauses when no file descriptor is free: some connection must end first.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How long a client that has begun to connect may take for its part, when the listener is about to close.
const HANDSHAKE: Duration = Duration::from_millis(250);

/// Limits and deadlines of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionSettings {
    /// For the next whole head, from the end of the last answer.
    pub request_header: Duration,
    /// For the connection: a client that reads nothing must not hold it for ever.
    pub lifetime: Duration,
    /// For one head, in bytes.
    pub header_bytes: usize,
}

/// Accepts the connections of one worker.
#[derive(Clone, Debug)]
pub struct Acceptor<S> {
    /// What becomes of the connections.
    pub service: S,
    /// The worker's connections.
    pub hub: Rc<Hub>,
    /// The connections of all workers, which end before the process does.
    pub tally: Arc<Tally>,
    /// One permit per connection, shared by all workers, taken before accepting: what cannot be served waits in the
    /// kernel's queue in place of being accepted and starved.
    pub permits: Arc<Semaphore>,
    /// Who goes when no permit is left; `None`: nobody, and newcomers wait.
    pub crowd: Option<Rc<Crowd>>,
    /// Where connections are counted.
    pub shard: Arc<Shard>,
    /// What a connection passes before it is served; can be replaced.
    pub door: Rc<RefCell<Rc<Door>>>,
    /// Accepting ends with [`Phase::Closing`].
    pub phases: watch::Receiver<Phase>,
}

impl<S: Serve> Acceptor<S> {
    /// Accepts until the phase is [`Phase::Closing`]; connections live on as tasks of this runtime.
    ///
    /// # Errors
    /// The socket cannot be made part of this runtime.
    pub async fn run(mut self, bound: Bound) -> io::Result<()> {
        let listener = bound.listen()?;
        let mut phases = self.phases.clone();
        let closing = async move {
            // An error means that the sender is gone, and the process with it.
            let _ = phases.wait_for(|phase| *phase >= Phase::Closing).await;
        };
        tokio::select! {
            biased;
            () = self.accept_all(&listener) => {}
            () = closing => {}
        }
        // What the kernel has accepted for us already would be reset when the socket closes: first nobody new comes, then
        // all who are on their way are let in. For whom no permit is left waits until the end of the process.
        listener.take_no_new_ones();
        loop {
            let _ = tokio::time::timeout(HANDSHAKE, self.accept_all(&listener)).await;
            self.accept_who_waits(&listener);
            if !listener.has_queue() {
                return Ok(());
            }
        }
    }

    /// As many as there are permits for.
    fn accept_who_waits(&self, listener: &Listener) {
        while let Ok(permit) = self.permits.clone().try_acquire_owned() {
            match listener.accept_now() {
                Ok(accepted) => self.serve(accepted, permit),
                Err(error) if is_the_connections_own(&error) => {}
                Err(_) => break,
            }
        }
    }

    async fn accept_all(&mut self, listener: &Listener) {
        let mut exhausted = false;
        loop {
            // Before anybody needs it: a newcomer then never waits.
            if let Some(crowd) = &self.crowd {
                crowd.make_room(self.permits.available_permits());
            }
            // Who listens where nobody comes keeps no permit from those who listen elsewhere.
            let Ok(somebody) = listener.somebody().await else {
                return;
            };
            // Closed never: the semaphore lives as long as the process.
            let Ok(permit) = self.permits.clone().acquire_owned().await else {
                return;
            };
            match somebody.accept() {
                Some(Ok(accepted)) => {
                    exhausted = false;
                    self.serve(accepted, permit);
                }
                None => {}
                // The client has gone again, or the network had a hiccup: nothing is wrong with us.
                Some(Err(error)) if is_the_connections_own(&error) => {}
                Some(Err(error)) => {
                    self.shard.accept_failures.add(1);
                    if !exhausted {
                        tracing::error!(%error, "cannot accept connections: raise the limit of open files");
                    }
                    exhausted = true;
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, (stream, peer): Accepted, permit: OwnedSemaphorePermit) {
        let client = Client { peer, unnamed: false, channel: Channel::Plain, hub: self.hub.clone() };
        let guest = self.crowd.as_ref().map(Crowd::enter);
        let key = guest.as_ref().map(|guest| guest.key);
        let io = Io::new(stream, Counted::new(self.shard.clone()), permit, self.tally.seat(), guest);
        let (service, door) = (self.service.clone(), self.door.borrow().clone());
        #[expect(clippy::disallowed_methods, reason = "a connection ends by itself; the tally knows when all have")]
        let task = if door.is_open() {
            tokio::task::spawn_local(service.serve(io, client))
        } else {
            tokio::task::spawn_local(admit(door, self.phases.clone(), self.shard.clone(), service, io, client))
        };
        if let (Some(crowd), Some(key)) = (&self.crowd, key) {
            crowd.ends_by(key, task.abort_handle());
        }
    }
}

async fn admit<S: Serve>(
    door: Rc<Door>,
    mut phases: watch::Receiver<Phase>,
    shard: Arc<Shard>,
    service: S,
    io: Io,
    client: Client,
) {
    // Boxed, because what a connection needs at its door is not to be kept for its life.
    let entered = Box::pin(async {
        tokio::select! {
            biased;
            entered = door.enter(io, client) => entered,
            // Who has not asked for anything yet holds up the end of the process no longer than others.
            () = async {
                if phases.wait_for(|phase| *phase >= Phase::Closing).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(CLOSING_PAUSE).await;
            } => Err(io::ErrorKind::TimedOut.into()),
        }
    });
    match entered.await {
        Ok((io, client)) => service.serve(io, client).await,
        Err(error) => {
            shard.handshake_failures.add(1);
            tracing::debug!(%error, "a connection was refused before its first request");
        }
    }
}

fn is_the_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable)
}
