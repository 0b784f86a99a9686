use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::super::rejection::Rejection;
use super::connect::{Connected, connect};
use super::http2::Channel;
use super::pool::{Lease, Needs, Pool};
use super::stream::AppStream;
use super::target::Http2;
use crate::tls::Distrust;

/// From its connection to its greeting an app of HTTP/2 may stand still for so long: its kernel has accepted, so that it is
/// there. As long as it may be silent later ([`Channel::sweep`]).
const GREETING: Duration = Duration::from_secs(60);

/// Between two glances at connections whose streams are all taken, or on which the app takes none at present.
const GLANCE: Duration = Duration::from_millis(20);
const LONGEST_GLANCE: Duration = Duration::from_millis(200);

impl Pool {
    /// A new connection, or a stream on one that another request has made meanwhile.
    pub(in crate::proxy) async fn connect(self: &Rc<Self>, needs: Needs) -> Result<Lease, Rejection> {
        let shaking = Cell::new(false);
        let mut connecting = pin!(self.connect_in_turn(needs, &shaking));
        let mut connected = within(self.target.connect_timeout, connecting.as_mut()).await;
        let is_late = connected.is_none() && !needs.http1 && self.channels.is_greeting();
        if is_late {
            connected = tokio::select! {
                // First, so that nobody connects for a request whose time is over.
                biased;
                () = sleep(GREETING) => None,
                connected = connecting => Some(connected),
                lease = self.stream_elsewhere() => Some(lease),
            };
        }
        match connected {
            Some(Ok(lease)) => {
                self.told.set(None);
                Ok(lease)
            }
            Some(Err((rejection, error))) => {
                // Said once: it stays so until somebody does something about it.
                let is_lasting = matches!(rejection, Rejection::Tls(_) | Rejection::NotHttp2);
                if is_lasting && self.told.replace(Some(rejection)) != Some(rejection) {
                    tracing::warn!(code = rejection.code(), %error, "no TLS or no HTTP/2 with the app");
                }
                Err(rejection)
            }
            None if is_late => Err(Rejection::ResponseTimeout),
            None if shaking.get() => Err(Rejection::Tls(Distrust::TooSlow)),
            None if self.channels.takes_none() => Err(Rejection::StreamRefused),
            None => Err(Rejection::ConnectTimeout),
        }
    }

    async fn connect_in_turn(
        self: &Rc<Self>,
        needs: Needs,
        shaking: &Cell<bool>,
    ) -> Result<Lease, (Rejection, io::Error)> {
        let one_by_one = !needs.http1 && (self.target.http2 == Http2::Always || self.takes_http2.get());
        let turn = if one_by_one {
            tokio::select! {
                biased;
                turn = self.channels.turn() => turn,
                lease = self.stream_elsewhere() => return lease,
            }
        } else {
            None
        };
        loop {
            if turn.is_some() {
                if let Some(lease) = self.stream() {
                    return Ok(lease);
                }
                // For short durations (RFC 9113 section 6.5.2). More connections are not what it asks for.
                if self.channels.takes_none() {
                    sleep(GLANCE).await;
                    continue;
                }
            }
            let Connected { stream, is_http2 } = connect(&self.target, &self.resolver, needs.http1, shaking).await?;
            if self.target.http2 == Http2::Offered && !needs.http1 {
                self.takes_http2.set(is_http2);
            }
            if !is_http2 {
                return Ok(self.lease(stream, false));
            }
            let channel = {
                let _greeting = self.channels.greeting();
                let opened = Channel::open(stream, self.target.tls.is_some(), self.shard.clone());
                let late = || Err((Rejection::ResponseTimeout, io::ErrorKind::TimedOut.into()));
                within(GREETING, opened).await.unwrap_or_else(late)?
            };
            match self.channels.add(channel) {
                Some(stream) => return Ok(self.lease(AppStream::Http2(Box::new(stream)), false)),
                None if turn.is_some() && self.channels.takes_none() => {}
                None => return Err((Rejection::StreamRefused, io::ErrorKind::ConnectionRefused.into())),
            }
        }
    }

    /// A stream that comes free on another connection, while one more is being made or greeted. Where the app takes none, as
    /// long as connecting may take.
    async fn stream_elsewhere(self: &Rc<Self>) -> Result<Lease, (Rejection, io::Error)> {
        let (limit, begun, mut none_since) = (self.target.connect_timeout, Instant::now(), None);
        loop {
            if let Some(lease) = self.stream() {
                return Ok(lease);
            }
            none_since = self.channels.takes_none().then(|| none_since.unwrap_or_else(Instant::now));
            if !limit.is_zero() && none_since.is_some_and(|since| since.elapsed() >= limit) {
                return Err((Rejection::StreamRefused, io::ErrorKind::TimedOut.into()));
            }
            sleep((begun.elapsed() / 8).clamp(GLANCE, LONGEST_GLANCE)).await;
        }
    }
}

/// What comes of it in time; no time is no limit.
async fn within<T>(limit: Duration, awaited: impl Future<Output = T>) -> Option<T> {
    if limit.is_zero() { Some(awaited.await) } else { timeout(limit, awaited).await.ok() }
}
