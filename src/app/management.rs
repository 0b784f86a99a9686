use std::sync::Arc;

use super::{BUILT, REVISION, StartError, VERSION, room};
use crate::admin::{
    Admin, Cors, Credentials, Endpoint, Kind, Merge, MergeCounts, MergeFrom, Metrics, Reloads, Watchers,
};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::dialect::Service;
use crate::events::EventTotals;
use crate::health::Moment;
use crate::monitor::Board;
use crate::settings::{Address, Scheme};
use crate::tls::{self, Client};
use crate::traffic::Traffic;

/// What the endpoints are answered from whatever the configuration says.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) board: Arc<Board>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) clock: Clock,
    pub(super) started: Moment,
    /// Where traffic comes in.
    pub(super) listen: Option<Address>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) merge_counts: Arc<MergeCounts>,
    pub(super) event_totals: Arc<EventTotals>,
    pub(super) watchers: Arc<Watchers>,
}

impl Standing {
    /// The endpoints by a configuration.
    pub(super) fn admin(
        &self,
        config: &Config,
        tls: Option<Arc<tls::Server>>,
        upstream_tls: Option<Arc<Client>>,
    ) -> Result<Admin, StartError> {
        let Self { board, traffic, clock, started, listen, reloads, merge_counts, event_totals, watchers } =
            self.clone();
        let service = &config.service;
        let version = service.version.clone().unwrap_or_else(|| VERSION.to_owned());
        let namespace = config.metrics.namespace.clone().unwrap_or_else(|| service.name.replace(['-', '.'], "_"));
        let metrics =
            Metrics::new(&namespace, VERSION, REVISION, traffic.clone(), tls, reloads).map_err(StartError::Metrics)?;
        let metrics = metrics
            .merging(merge(config, upstream_tls, merge_counts)?)
            .telling(event_totals, watchers.clone())
            .limited(room::connections(&config.proxy));
        let credentials = Credentials::load(&config.admin, &config.environment).map_err(StartError::Access)?;
        let short = credentials.short_keys();
        if short > 0 {
            tracing::warn!(short, "API keys are so short that they can be guessed: use at least 16 random characters");
        }
        let endpoints = config.endpoints.iter().filter(|(_, settings)| !matches!(settings.dialect, Kind::Off));
        Ok(Admin {
            endpoints: endpoints
                .map(|(path, settings)| Arc::new(Endpoint::new(path.clone(), settings.clone())))
                .collect(),
            board,
            traffic,
            identity: Service {
                name: service.name.clone(),
                version,
                build_git_hash: service.build_git_hash.clone().unwrap_or_else(|| REVISION.to_owned()),
                build_timestamp: service.build_timestamp.clone().unwrap_or_else(built),
                description: service.description.clone(),
                started,
                host: listen.as_ref().map(Address::host).unwrap_or_default(),
                port: listen.as_ref().map(Address::port).unwrap_or_default(),
                log_level: config.log.level.0.to_string().to_lowercase(),
                cors_enabled: !config.admin.cors_origins.is_empty(),
                configuration: service.configuration.0.clone(),
            },
            credentials,
            cors: Cors::new(config.admin.cors_origins.clone(), config.admin.session.is_some()),
            metrics,
            clock,
            waiting: Default::default(),
            agent_group: config.agent_check.group.clone(),
            grpc: config.admin.grpc,
            watching: watchers.by(config.events.watchers, config.events.heartbeat),
        })
    }
}

/// The app's own metrics, if they are wanted.
fn merge(
    config: &Config,
    upstream_tls: Option<Arc<Client>>,
    counts: Arc<MergeCounts>,
) -> Result<Option<Merge>, StartError> {
    let (url, tls) = match &config.metrics.merge {
        None => return Ok(None),
        Some(MergeFrom::App(path)) => (config.proxy.upstream.0.with_path(path), upstream_tls),
        Some(MergeFrom::Url(url)) if url.scheme == Scheme::Https => {
            let tls = Client::trusting(None).map_err(StartError::MergeTls)?;
            (url.clone(), Some(Arc::new(tls)))
        }
        Some(MergeFrom::Url(url)) => (url.clone(), None),
    };
    Ok(Some(Merge::new(url, tls, config.metrics.merge_timeout, counts)))
}

/// When this program was built.
fn built() -> String {
    BUILT.parse().map_or_else(|_| "unknown".to_owned(), rfc3339)
}
