use std::sync::Arc;
use std::time::Duration;

use super::super::settings::ProxySettings;
use crate::settings::{Scheme, Url};
use crate::tls::{Client, TlsError};

/// The app: where it is, and how connections to it are made, with all certificates read.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) url: Url,
    pub(super) tls: Option<Arc<Client>>,
    pub(super) http2: Http2,
    pub(super) connect_timeout: Duration,
}

/// When HTTP/2 is spoken to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Http2 {
    Never,
    /// If the app takes the offer (ALPN).
    Offered,
    /// The app is known to speak it.
    Always,
}

impl Target {
    /// The app that the settings name. Reads files.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn load(settings: &ProxySettings) -> Result<Self, TlsError> {
        let url = settings.upstream.0.clone();
        let tls = match url.scheme {
            Scheme::Https => Some(Arc::new(Client::load(&settings.upstream_tls)?)),
            _ => None,
        };
        let http2 = match &tls {
            Some(tls) if tls.may_offer_http2() => Http2::Offered,
            None if url.scheme == Scheme::H2c => Http2::Always,
            _ => Http2::Never,
        };
        Ok(Self { url, tls, http2, connect_timeout: settings.timeouts.connect })
    }

    /// TLS towards the app, if it is spoken.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<Client>> {
        self.tls.clone()
    }

    /// The app, as a Host field names it.
    pub(in crate::proxy) fn authority(&self) -> String {
        self.url.authority()
    }

    /// Whether the app can be asked for WebSocket, which begins with HTTP/1.1.
    pub(in crate::proxy) fn can_upgrade(&self) -> bool {
        self.http2 != Http2::Always
    }

    /// Whether connections are made the same way.
    pub(in crate::proxy) fn is_like(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (Some(tls), Some(other)) => tls.is_like(other),
            (tls, other) => tls.is_none() == other.is_none(),
        };
        self.url == other.url && self.connect_timeout == other.connect_timeout && same_tls
    }
}
