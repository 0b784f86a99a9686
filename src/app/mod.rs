//! Wires everything together: bind, then run until told to stop.
//!
//! One thread per worker of the data plane, and the calling thread for the health plane, the management port and the end
//! of the process.

mod error;
mod plan;
mod router;
mod stop;
mod worker;

use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::watch;

pub use self::error::StartError;
pub use self::plan::plan;
use self::stop::Stopping;
pub use self::stop::{Stop, StopHandle};
use self::worker::{Fleet, Plane};
use crate::admin::{Admin, AdminListen, Endpoint, Keys, Kind, Metrics};
use crate::check::{Pulse, Resources};
use crate::clock::Clock;
use crate::config::Config;
use crate::dialect::Service;
use crate::drain::Phase;
use crate::health::{Group, Lifecycle};
use crate::monitor::{Board, Monitor, MonitorHandle};
use crate::proxy::{Admission, Gate, Target};
use crate::server::Bound;
use crate::settings::Address;
use crate::tls;
use crate::traffic::Traffic;

/// The program's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision that it was built from.
pub const REVISION: &str = env!("PULSEGATE_REVISION");

/// A process that is bound and ready to run.
#[derive(Debug)]
pub struct App {
    runtime: LocalRuntime,
    traffic_sockets: Vec<Bound>,
    admin_socket: Option<Bound>,
    config: Config,
    target: Target,
    monitor: Monitor,
    monitor_handle: MonitorHandle,
    board: Arc<Board>,
    admin: Arc<Admin>,
    traffic: Arc<Traffic>,
    pulse: Arc<Pulse>,
    tls: Option<Arc<tls::Server>>,
    stop: watch::Sender<Stop>,
}

impl App {
    /// Binds every address and prepares every check.
    ///
    /// # Errors
    /// An address is taken; a check lacks what it needs; the system refuses a runtime.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let traffic_sockets =
            config.proxy.listen.iter().map(Bound::bind).collect::<Result<Vec<_>, _>>().map_err(StartError::Bind)?;
        let admin_socket = match &config.admin.listen {
            AdminListen(Some(address)) => Some(Bound::bind(address).map_err(StartError::Bind)?),
            AdminListen(None) => None,
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MOST_BLOCKING_THREADS)
            .build_local(LocalOptions::default())
            .map_err(StartError::Runtime)?;
        let workers = config.proxy.threads.0;
        let traffic = Arc::new(Traffic::new(workers));
        let pulse = Pulse::new(workers);
        let target = Target::load(&config.proxy).map_err(StartError::UpstreamTls)?;
        let upstream = config.proxy.upstream.0.clone();
        let resources = Resources::new(traffic.clone(), upstream, target.tls(), config.environment.clone());
        let plan = plan(&config, &resources, &pulse).map_err(StartError::Checks)?;
        let (clock, monitor, board, monitor_handle) = runtime.block_on(async {
            let clock = Clock::start();
            let (monitor, board, handle) = Monitor::new(plan, clock);
            (clock, monitor, board, handle)
        });
        let first = traffic_sockets.first().map(Bound::address);
        let tls = tls::Server::new(&config.proxy.tls).map_err(StartError::Tls)?.map(Arc::new);
        let admin = Arc::new(management(&config, first, board.clone(), traffic.clone(), tls.clone(), clock)?);
        let stop = watch::Sender::new(Stop::NotYet);
        Ok(Self {
            runtime,
            traffic_sockets,
            admin_socket,
            config,
            target,
            monitor,
            monitor_handle,
            board,
            admin,
            traffic,
            pulse,
            tls,
            stop,
        })
    }

    /// Where traffic comes in; real ports, also where port 0 was asked for.
    #[must_use]
    pub fn traffic_addresses(&self) -> Vec<Address> {
        self.traffic_sockets.iter().map(|bound| bound.address().clone()).collect()
    }

    /// Where the management port listens.
    #[must_use]
    pub fn admin_address(&self) -> Option<Address> {
        self.admin_socket.as_ref().map(|bound| bound.address().clone())
    }

    /// The board of reports.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// The counters.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// What stops it.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// Runs until told to stop, and then until everything in flight has ended or the time for it is over.
    ///
    /// # Errors
    /// A worker cannot be started.
    #[expect(clippy::disallowed_methods, reason = "these tasks end with the runtime, which ends with this function")]
    pub fn run(self) -> Result<(), StartError> {
        let Self {
            runtime, traffic_sockets, admin_socket, config, target, monitor, monitor_handle, board, admin, ..
        } = self;
        let gate = Arc::new(Gate::default());
        let plane = Plane {
            settings: config.proxy.clone(),
            target,
            traffic: self.traffic,
            admission: Arc::new(Admission::new(&config.proxy.limits)),
            gate: gate.clone(),
            admin: admin.clone(),
            pulse: self.pulse,
            tls: self.tls,
            pseudonym: format!("pulsegate-{:08x}", random() as u32),
        };
        let fleet = Fleet::start(plane, &traffic_sockets)?;
        drop(traffic_sockets);
        let stopping = Stopping {
            shutdown: config.shutdown.clone(),
            monitor: monitor_handle,
            phases: fleet.phases.clone(),
            tally: fleet.tally.clone(),
        };
        let stop = self.stop.subscribe();
        let reject = config.proxy.reject_when_unready;
        runtime.block_on(async move {
            tokio::task::spawn_local(monitor.run());
            if let Some(socket) = admin_socket {
                // Its own phase never changes: the management port closes last.
                tokio::task::spawn_local(worker::serve_admin(socket, admin, watch::Sender::new(Phase::Serving)));
            }
            if reject {
                tokio::task::spawn_local(keep_gate(board, gate));
            }
            if std::process::id() == 1 {
                tokio::task::spawn_local(reap());
            }
            stopping.run(stop).await;
        });
        fleet.join();
        Ok(())
    }
}

/// File system work of the checks: few at a time, and none may pile up threads on a dead mount.
const MOST_BLOCKING_THREADS: usize = 8;

fn management(
    config: &Config,
    listen: Option<&Address>,
    board: Arc<Board>,
    traffic: Arc<Traffic>,
    tls: Option<Arc<tls::Server>>,
    clock: Clock,
) -> Result<Admin, StartError> {
    let service = &config.service;
    let version = service.version.clone().unwrap_or_else(|| VERSION.to_owned());
    let namespace = config.metrics.namespace.clone().unwrap_or_else(|| service.name.replace(['-', '.'], "_"));
    let metrics = Metrics::new(&namespace, VERSION, REVISION, traffic.clone(), tls).map_err(StartError::Metrics)?;
    let keys = Keys::resolve(&config.admin.api_keys, &config.environment).map_err(StartError::Secret)?;
    let endpoints = config.endpoints.iter().filter(|(_, settings)| !matches!(settings.dialect, Kind::Off));
    Ok(Admin {
        endpoints: endpoints.map(|(path, settings)| Endpoint::new(path.clone(), settings.clone())).collect(),
        board,
        traffic,
        identity: Service {
            name: service.name.clone(),
            version,
            started: clock.now(),
            host: listen.map(Address::host).unwrap_or_default(),
            port: listen.map(Address::port).unwrap_or_default(),
            log_level: config.log.level.0.to_string().to_lowercase(),
            cors_enabled: !config.admin.cors_origins.is_empty(),
            configuration: service.configuration.0.clone(),
        },
        keys,
        cors_origins: config.admin.cors_origins.clone(),
        metrics,
        clock,
    })
}

/// Tells the data plane the one thing that it may be told of health. A draining process still serves.
async fn keep_gate(board: Arc<Board>, gate: Arc<Gate>) {
    let mut seen = 0;
    loop {
        let report = board.wait_for(|report| report.number != seen).await;
        seen = report.number;
        let unready = !report.status(&Group::Readiness).is_up();
        gate.set_closed(unready && report.lifecycle != Lifecycle::Draining);
    }
}

/// As PID 1 of a container, whatever loses its parent becomes ours.
async fn reap() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut children) = signal(SignalKind::child()) else {
        return;
    };
    while children.recv().await.is_some() {
        crate::check::reap_orphans();
    }
}

/// Enough to tell two processes apart; no secret.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}
