use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::lifecycle::Lifecycle;
use super::reload::ReloadHandle;
use crate::admin::Control;
use crate::check::Heartbeats;

/// What an operator can have this process do.
#[derive(Clone, Debug)]
pub(super) struct Operated {
    pub(super) way: Arc<Lifecycle>,
    pub(super) reload: ReloadHandle,
    pub(super) heartbeats: Arc<Heartbeats>,
}

impl Control for Operated {
    fn drain(&self) {
        if self.way.drain() {
            tracing::info!(in_flight = self.in_flight(), "draining: told by an operator; the process goes on");
        }
    }

    fn undrain(&self) -> bool {
        let (serves, changed) = self.way.undrain();
        if changed {
            tracing::info!("draining no more: told by an operator");
        }
        serves
    }

    fn maintain(&self, reason: Option<Arc<str>>) {
        match &reason {
            Some(reason) => tracing::warn!(reason = &**reason, "in maintenance: told by an operator; not ready"),
            None => tracing::info!("in maintenance no more: told by an operator"),
        }
        self.way.monitor.maintenance(reason);
    }

    fn reload(&self) -> BoxFuture<'static, Result<Vec<String>, Vec<String>>> {
        let reload = self.reload.clone();
        Box::pin(async move { reload.reload("operator").await })
    }

    fn heartbeat(&self, name: &str) -> Option<u64> {
        self.heartbeats.beat(name)
    }

    fn drained(&self) -> BoxFuture<'static, ()> {
        let way = self.way.clone();
        Box::pin(async move { way.drained().await })
    }

    fn in_flight(&self) -> i64 {
        self.way.traffic.in_flight()
    }

    fn patience(&self) -> Duration {
        self.way.shutdown.borrow().grace
    }
}
