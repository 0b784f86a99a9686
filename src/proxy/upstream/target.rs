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
    pub(super) connect_timeout: Duration,
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
        Ok(Self { url, tls, connect_timeout: settings.timeouts.connect })
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

    /// Whether connections are made the same way.
    pub(in crate::proxy) fn is_like(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (Some(tls), Some(other)) => tls.is_like(other),
            (tls, other) => tls.is_none() == other.is_none(),
        };
        self.url == other.url && self.connect_timeout == other.connect_timeout && same_tls
    }
}
