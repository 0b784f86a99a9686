//! `GET /health/events`: what happens, told to whoever watches, as server-sent events.
//!
//! A watcher owns no queue. It remembers the last event that it was told, and takes what came after that from the record
//! in the latest report whenever its client has room: one that is slow is told late, and one that is too slow is told that
//! it has missed something.

mod feed;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response};
use tokio::sync::watch;

use self::feed::{Feed, Pass};
use super::service::problem;
use super::{Admin, Port, Target};
use crate::health::{Audience, Moment};
use crate::proxy::{LocalBody, Pieces};

/// Who watches now, whatever the configuration.
#[derive(Debug)]
pub struct Watchers {
    /// Tells the ids of this process from those of another one.
    process: u64,
    /// At the traffic port and at the management port.
    present: [AtomicUsize; 2],
    refused: AtomicU64,
    generations: AtomicU64,
    /// Watchers of an earlier generation than this have to come again.
    present_generation: watch::Sender<u64>,
}

/// At most so many watch at the management port, whatever the configuration: its connections are for probes and scrapes
/// too.
const MOST_AT_ADMIN: usize = 128;

/// More watchers are another program's business.
pub const MOST_WATCHERS: u32 = 10_000;

/// Whoever finds no place may come again after so many seconds.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("5");

/// Asks nginx to pass on each event at once.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

impl Watchers {
    /// Nobody yet, in a process that started then.
    #[must_use]
    pub fn new(started: Moment) -> Arc<Self> {
        Arc::new(Self {
            process: u64::try_from(started.unix.as_millis()).unwrap_or_default(),
            present: Default::default(),
            refused: AtomicU64::new(0),
            generations: AtomicU64::new(0),
            present_generation: watch::Sender::new(0),
        })
    }

    /// The rules of another configuration, for at most so many.
    #[must_use]
    pub fn by(self: &Arc<Self>, most: u32, heartbeat: Duration) -> Watching {
        let generation = self.generations.fetch_add(1, Relaxed) + 1;
        Watching { watchers: self.clone(), generation, most: most as usize, heartbeat }
    }

    /// From now on these rules: whoever watches by earlier ones has to come again, and is judged anew.
    pub fn renew(&self, generation: u64) {
        self.present_generation.send_replace(generation);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.present.iter().map(|at| at.load(Relaxed)).sum()
    }

    /// How many found no place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// A place, unless as many watch as may.
    fn enter(self: &Arc<Self>, port: Port, most: usize) -> Option<Place> {
        let most_here = if port == Port::Admin { most.min(MOST_AT_ADMIN) } else { most };
        let here = &self.present[port as usize];
        let entered = here.fetch_update(Relaxed, Relaxed, |count| (count < most_here).then_some(count + 1)).is_ok();
        let place = entered.then(|| Place { watchers: self.clone(), port });
        // The other port's count as well; a race may refuse one that would just have fitted.
        let place = place.filter(|_| self.count() <= most);
        if place.is_none() {
            self.refused.fetch_add(1, Relaxed);
        }
        place
    }
}

/// One who watches, until this is dropped.
#[derive(Debug)]
struct Place {
    watchers: Arc<Watchers>,
    port: Port,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watchers.present[self.port as usize].fetch_sub(1, Relaxed);
    }
}

/// How watching is done by one configuration.
#[derive(Clone, Debug)]
pub struct Watching {
    /// Who watches.
    pub watchers: Arc<Watchers>,
    /// Which configuration's this is.
    pub generation: u64,
    /// So many may.
    most: usize,
    /// Something is sent at least so often.
    heartbeat: Duration,
}

impl Admin {
    /// Begins to tell what happens.
    pub(super) fn watch<B>(
        self: &Arc<Self>,
        target: Target<'_>,
        audience: Audience,
        request: &Request<B>,
    ) -> Response<LocalBody> {
        if request.method() == Method::HEAD {
            return streaming(Pieces::new(futures_util::stream::empty()));
        }
        let Some(place) = self.watching.watchers.enter(target.port, self.watching.most) else {
            let mut response = problem(503, "too_many_watchers", "as many watch as may already");
            response.headers_mut().insert(RETRY_AFTER, COME_AGAIN);
            return response.map(LocalBody::Whole);
        };
        let last = request.headers().get("last-event-id").map(HeaderValue::as_bytes);
        let pass = Pass::of(request, audience);
        let feed = Feed::new(self.clone(), target.endpoint.clone(), pass, last, place);
        let pieces = futures_util::stream::unfold(feed, |mut feed| async {
            let piece: Bytes = feed.next().await?;
            Some((piece, feed))
        });
        streaming(Pieces::new(pieces))
    }
}

fn streaming(pieces: Pieces) -> Response<LocalBody> {
    let mut response = Response::new(LocalBody::Pieces(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Nobody on the way is to keep it, or to hold it back in order to compress it.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}
