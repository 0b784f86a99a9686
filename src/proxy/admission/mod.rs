//! Who may send a request now: the gate, each client's share, the places at the app and the queue before them.

mod line;
mod places;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use pingora_limits::inflight::{Guard, Inflight};
use pingora_limits::rate::Rate;
use tokio::sync::Semaphore;

pub(super) use self::places::Place;
use self::places::Places;
use super::{Limits, Rejection};
use crate::traffic::Shard;

/// The one thing that the data plane is told of health.
#[derive(Debug, Default)]
pub struct Gate(AtomicBool);

impl Gate {
    /// Closes or opens the gate.
    pub fn set_closed(&self, closed: bool) {
        self.0.store(closed, Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Who may send a request now: the limit of requests in flight with its queue, and each client's rate and number. Shared
/// by all workers. What it remembers of clients are estimates of fixed size, however many there are.
pub struct Admission {
    places: Option<Places>,
    rate: Option<(Arc<Rate>, isize)>,
    at_once: Option<(Arc<Inflight>, isize)>,
}

/// One of the requests that a client has under way; given back when it is dropped.
pub(super) struct Share(#[expect(dead_code, reason = "counts for as long as it lives")] Guard);

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Share")
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Admission {
    /// Admission by these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let (rate, at_once) = (limits.rate_per_client.0, limits.concurrency_per_client);
        Self {
            places: (limits.in_flight > 0).then(|| Places::new(limits.in_flight, limits.queue, limits.queue_timeout)),
            rate: (rate > 0).then(|| (Arc::new(Rate::new(Duration::from_secs(1))), rate as isize)),
            at_once: (at_once > 0).then(|| (Arc::new(Inflight::new()), at_once as isize)),
        }
    }

    /// Admission by other limits. What is in flight, waits or was counted goes on counting; what came in while there was
    /// no limit does not. Without a limit from now on, nobody has to wait any more.
    #[must_use]
    pub fn succeed(&self, limits: &Limits) -> Self {
        let mut next = Self::new(limits);
        match (&mut next.places, &self.places) {
            (Some(places), Some(known)) => places.succeed(known),
            (None, Some(known)) => known.open(),
            (_, None) => {}
        }
        if let (Some((rate, _)), Some((known, _))) = (&mut next.rate, &self.rate) {
            *rate = known.clone();
        }
        if let (Some((at_once, _)), Some((known, _))) = (&mut next.at_once, &self.at_once) {
            *at_once = known.clone();
        }
        next
    }

    /// Whether this client may send one more request this second, and have one more under way.
    pub(super) fn may_send(&self, client: impl FnOnce() -> Option<IpAddr>) -> Result<Option<Share>, Rejection> {
        if self.rate.is_none() && self.at_once.is_none() {
            return Ok(None);
        }
        let Some(client) = client().map(network) else { return Ok(None) };
        if let Some((rate, limit)) = &self.rate
            && rate.observe(&client, 1) > *limit
        {
            return Err(Rejection::RateLimited);
        }
        let Some((at_once, limit)) = &self.at_once else { return Ok(None) };
        let (guard, count) = at_once.incr(client, 1);
        if count > *limit { Err(Rejection::TooManyAtOnce) } else { Ok(Some(Share(guard))) }
    }

    /// A place among the requests in flight, if there is one now; given back when it is dropped. Without a limit, none is
    /// needed.
    pub(super) fn enter_now(&self) -> Option<Option<Place>> {
        match &self.places {
            None => Some(None),
            Some(places) => places.enter_now().map(Some),
        }
    }

    /// Waits for a place; who waits is counted there.
    pub(super) async fn enter(&self, shard: &Shard) -> Result<Option<Place>, Rejection> {
        match &self.places {
            Some(places) => places.enter(shard).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Changes how many places there are. Those that are taken go when they are given back: nobody loses one.
#[expect(clippy::disallowed_methods, reason = "it ends when enough places have been given back, or with the process")]
pub fn resize(places: &Arc<Semaphore>, from: u32, to: u32) {
    if to >= from {
        places.add_permits((to - from) as usize);
        return;
    }
    let surplus = from - to;
    let taken = surplus - u32::try_from(places.forget_permits(surplus as usize)).unwrap_or(surplus);
    let places = places.clone();
    tokio::task::spawn_local(async move {
        // In line with everybody else who waits: nobody is overtaken.
        if let Ok(taken) = places.acquire_many_owned(taken).await {
            taken.forget();
        }
    });
}

/// What counts as one client: an address, or the 64 bits of a network of IPv6, of which one client has all addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::network;

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        let client = |text: &str| network(text.parse::<IpAddr>().expect("an address"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1:2:3"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    }
}
