use std::fmt::Display;
use std::sync::Arc;

use super::plan;
use crate::check::{Pulse, Resources};
use crate::config::{Config, Digests, Sources};
use crate::events::Webhook;
use crate::monitor::Plan;
use crate::proxy::Target;
use crate::settings::{Origin, Problem};
use crate::supervise::AppStatus;
use crate::tls;

/// A configuration with everything that was made of it, and of the files that it names.
pub(super) struct Read {
    pub(super) config: Config,
    pub(super) target: Target,
    pub(super) tls: Option<Arc<tls::Server>>,
    pub(super) admin_tls: Option<Arc<tls::Server>>,
    pub(super) webhooks: Vec<Webhook>,
    pub(super) resources: Resources,
    pub(super) plan: Plan,
    /// What the files held that it was read from.
    pub(super) files: Digests,
}

impl Read {
    /// Everything that can be wrong with a configuration is found here, before anything changes.
    pub(super) fn of(
        sources: &Sources,
        resources: Resources,
        pulse: &Arc<Pulse>,
        app: Option<&Arc<AppStatus>>,
    ) -> Result<Self, Vec<Problem>> {
        let config = Config::load(sources)?;
        // Before the files are read: what changes meanwhile is found to have changed the next time.
        let files = config.states();
        let refused = |key: &str, error: &dyn Display| {
            vec![Problem { origin: Origin::Default, message: format!("`{key}`: {error}") }]
        };
        let target = Target::load(&config.proxy).map_err(|error| refused("proxy.upstream_tls", &error))?;
        let tls = tls::Server::new(&config.proxy.tls).map_err(|error| refused("proxy.tls", &error))?.map(Arc::new);
        let admin_tls = tls::Server::new(&config.admin.tls.server());
        let admin_tls = admin_tls.map_err(|error| refused("admin.tls", &error))?.map(Arc::new);
        let webhooks = config.webhooks().map_err(|error| refused("events.webhooks", &error))?;
        let upstream = config.proxy.upstream.0.clone();
        let resources = Resources { upstream, upstream_tls: target.tls(), ..resources };
        let plan = plan(&config, &resources, pulse, app)?;
        Ok(Self { config, target, tls, admin_tls, webhooks, resources, plan, files })
    }
}
