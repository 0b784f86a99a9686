//! Databases: what the kinds that ask them have in common.
//!
//! Each check has one connection at most. It is kept for the next run, but not for long: see
//! [decision 0015](../../../docs/decisions/0015-the-clients-of-databases.md). Everything that a server may send has a bound.

#![cfg_attr(
    not(all(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite")),
    allow(dead_code, unused_imports, reason = "what is common is all there, also when a client is not built")
)]

mod address;
mod expect;
pub(super) mod findings;
pub(super) mod migrations;
pub(super) mod mysql;
pub(super) mod postgres;
pub(super) mod redis;
mod rows;
mod session;
mod sql;
pub(super) mod sqlite;
mod trouble;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::address::{Address, DatabaseUrl, Engine, Place};
pub(crate) use self::expect::Expectations;
use super::Resources;
use crate::tls::{Client, TlsError, authorities_of};

/// What we are called in a server's list of connections.
const APPLICATION: &str = "pulsegate";

/// Where to ask, and how patiently.
#[derive(Debug)]
struct Target {
    address: Address,
    /// If the URL asks for it.
    tls: Option<Client>,
    /// Whom to trust then, for a client that shakes hands itself.
    authorities: Option<Vec<Vec<u8>>>,
    /// What the server is told too, so that it does not work on when we have given up.
    timeout: Duration,
}

impl Target {
    /// Reads the URL and the certificates.
    fn of(url: &DatabaseUrl, ca: Option<&Path>, resources: &Resources) -> Result<Arc<Self>, String> {
        let address = url.resolve(&resources.environment)?;
        let ca = ca.or(address.ca.as_deref());
        let refused = |error: TlsError| format!("`ca`: {error}");
        let (mut tls, mut authorities) = (None, None);
        match (address.tls, address.engine) {
            (false, _) => {}
            (true, Engine::Mysql) => authorities = Some(authorities_of(ca).map_err(refused)?),
            (true, _) => tls = Some(Client::trusting(ca).map_err(refused)?.without_alpn()),
        }
        Ok(Arc::new(Self { address, tls, authorities, timeout: resources.timeout }))
    }

    /// The same for one engine.
    fn of_engine(
        engine: Engine,
        url: &DatabaseUrl,
        ca: Option<&Path>,
        resources: &Resources,
    ) -> Result<Arc<Self>, String> {
        let target = Self::of(url, ca, resources)?;
        if target.address.engine != engine {
            return Err(format!("its URL must begin with {}", engine.schemes()));
        }
        Ok(target)
    }

    /// The timeout in whole milliseconds, as servers take it.
    fn timeout_ms(&self) -> u64 {
        const LONGEST: u128 = 24 * 3600 * 1000;
        self.timeout.as_millis().clamp(1, LONGEST) as u64
    }
}

/// What a build without a client says.
#[cfg(not(all(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite")))]
fn not_built(feature: &str) -> String {
    format!("this build of pulsegate cannot ask it: build it with the cargo feature `{feature}`")
}
