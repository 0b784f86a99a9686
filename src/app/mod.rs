//! Wires everything together: bind, then run until told to stop.
//!
//! One thread per worker of the data plane, and the calling thread for the health plane, the management port and the end
//! of the process.

mod child;
mod error;
mod lifecycle;
mod management;
mod notify;
mod operator;
mod plan;
mod reading;
mod reload;
mod room;
mod router;
mod stop;
mod watcher;
mod worker;

use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use self::child::Child;
pub use self::child::SignalHandle;
pub use self::error::StartError;
use self::lifecycle::Lifecycle as Way;
use self::management::Standing;
use self::notify::Manager;
use self::operator::Operated;
pub use self::plan::plan;
pub use self::reload::ReloadHandle;
use self::reload::Reloader;
use self::stop::Stopping;
pub use self::stop::{Stop, StopHandle};
use self::worker::{Fleet, Plane, Sockets};
use crate::admin::{AdminListen, ControlSocket, CurrentAdmin, Operator, Reloads, Watchers};
use crate::check::{MOST_THREADS, Pulse, Resources};
use crate::clock::Clock;
use crate::config::{Config, Digests};
use crate::events::{self, Webhook};
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
/// The time of that revision, in seconds since 1970; empty if it is not known.
pub const BUILT: &str = env!("PULSEGATE_BUILT");

/// A process that is bound and ready to run.
#[derive(Debug)]
pub struct App {
    runtime: LocalRuntime,
    traffic_sockets: Vec<Bound>,
    admin_socket: Option<Bound>,
    control_socket: Option<Bound>,
    agent_socket: Option<Bound>,
    config: Config,
    target: Target,
    monitor: Monitor,
    monitor_handle: MonitorHandle,
    standing: Standing,
    webhooks: watch::Sender<Arc<Vec<Webhook>>>,
    admin: Arc<CurrentAdmin>,
    resources: Resources,
    files: Digests,
    pulse: Arc<Pulse>,
    tls: Option<Arc<tls::Server>>,
    admin_tls: Option<Arc<tls::Server>>,
    level: SetLevel,
    stop: watch::Sender<Stop>,
    reload: ReloadHandle,
    orders: mpsc::Receiver<reload::Order>,
    child: Option<Child>,
    manager: Manager,
}

/// Changes how much is logged.
pub struct SetLevel(Box<dyn Fn(tracing::Level) + Send>);

impl SetLevel {
    /// By this function.
    pub fn new(set: impl Fn(tracing::Level) + Send + 'static) -> Self {
        Self(Box::new(set))
    }

    fn set(&self, level: tracing::Level) {
        (self.0)(level);
    }
}

impl std::fmt::Debug for SetLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SetLevel")
    }
}

impl App {
    /// Binds every address and prepares every check.
    ///
    /// # Errors
    /// There is no app to start; an address is taken; a check lacks what it needs; the system refuses a runtime.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        // Before they are read: what changes meanwhile is found to have changed.
        let files = config.states();
        let child = Child::of(&config)?;
        let traffic_sockets =
            config.proxy.listen.iter().map(Bound::bind).collect::<Result<Vec<_>, _>>().map_err(StartError::Bind)?;
        if config.proxy.defer_accept {
            traffic_sockets.iter().for_each(Bound::defer_accept);
        }
        let admin_socket = match &config.admin.listen {
            AdminListen(Some(address)) => Some(Bound::bind(address).map_err(StartError::Bind)?),
            AdminListen(None) => None,
        };
        let control_socket = bind_control(&config)?;
        let agent_socket = config.agent_check.listen.as_ref().map(Bound::bind).transpose().map_err(StartError::Bind)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MOST_THREADS)
            .build_local(LocalOptions::default())
            .map_err(StartError::Runtime)?;
        let workers = config.proxy.threads.0;
        let traffic = Arc::new(Traffic::new(workers));
        let pulse = Pulse::new(workers);
        let target = Target::load(&config.proxy).map_err(StartError::UpstreamTls)?;
        let upstream = config.proxy.upstream.0.clone();
        let resources = Resources::new(traffic.clone(), upstream, target.tls(), config.environment.clone());
        let app = child.as_ref().map(Child::status);
        let plan = plan(&config, &resources, &pulse, app.as_ref()).map_err(StartError::Checks)?;
        let (clock, monitor, board, monitor_handle, manager) = runtime.block_on(async {
            let clock = Clock::start();
            let (monitor, board, handle) = Monitor::new(plan, clock);
            (clock, monitor, board, handle, Manager::of(&config))
        });
        let tls = tls::Server::new(&config.proxy.tls).map_err(StartError::Tls)?.map(Arc::new);
        let admin_tls = tls::Server::new(&config.admin.tls.server()).map_err(StartError::AdminTls)?.map(Arc::new);
        let listen = traffic_sockets.first().map(|bound| bound.address().clone());
        let (started, reloads) = (clock.now(), Arc::new(Reloads::new()));
        let merge_counts = Arc::default();
        let (event_totals, watchers) = (Arc::default(), Watchers::new(started));
        let standing =
            Standing { board, traffic, clock, started, listen, reloads, merge_counts, event_totals, watchers };
        let webhooks = watch::Sender::new(Arc::new(config.webhooks().map_err(StartError::Webhook)?));
        let admin = Arc::new(CurrentAdmin::new(standing.admin(&config, tls.clone(), target.tls())?));
        let (reload, orders) = ReloadHandle::new();
        Ok(Self {
            runtime,
            traffic_sockets,
            admin_socket,
            control_socket,
            agent_socket,
            config,
            target,
            monitor,
            monitor_handle,
            standing,
            webhooks,
            admin,
            resources,
            files,
            pulse,
            tls,
            admin_tls,
            level: SetLevel::new(|_| {}),
            stop: watch::Sender::new(Stop::NotYet),
            reload,
            orders,
            child,
            manager,
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

    /// Where operators reach it.
    #[must_use]
    pub fn control_address(&self) -> Option<Address> {
        self.control_socket.as_ref().map(|bound| bound.address().clone())
    }

    /// The board of reports.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.standing.board.clone()
    }

    /// The counters.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        self.standing.traffic.clone()
    }

    /// What stops it.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// What has it read its configuration anew.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        self.reload.clone()
    }

    /// With this to change how much is logged, when a reload says so.
    #[must_use]
    pub fn with_level(self, level: SetLevel) -> Self {
        Self { level, ..self }
    }

    /// With this soft limit of open files for the app that it starts, if it does, in place of its own.
    #[must_use]
    pub fn with_soft_files(self, soft_files: Option<u64>) -> Self {
        Self { child: self.child.map(|child| child.with_soft_files(soft_files)), ..self }
    }

    /// Passes signals on to the app that it starts, if it does.
    #[must_use]
    pub fn signal_handle(&self) -> Option<SignalHandle> {
        self.child.as_ref().map(Child::signals)
    }

    /// Runs until told to stop, and then until everything in flight has ended or the time for it is over.
    ///
    /// Calls `started` once all workers are there. Returns the exit code: 0, or that of an app that we started and that has ended for good.
    ///
    /// # Errors
    /// A worker cannot be started.
    #[expect(clippy::disallowed_methods, reason = "these tasks end with the runtime, which ends with this function")]
    pub fn run(self, started: impl FnOnce()) -> Result<u8, StartError> {
        let Self {
            runtime, traffic_sockets, admin_socket, control_socket, agent_socket, config, target, monitor, ..
        } = self;
        let (standing, admin, gate) = (self.standing, self.admin, Arc::new(Gate::default()));
        let plane = Plane {
            settings: config.proxy.clone(),
            target,
            log: config.log.requests(),
            traffic: standing.traffic.clone(),
            admission: Arc::new(Admission::new(&config.proxy.limits)),
            gate: gate.clone(),
            admin: admin.get(),
            pulse: self.pulse.clone(),
            tls: self.tls,
            pseudonym: format!("pulsegate-{:08x}", random() as u32),
            taken: None,
        };
        let fleet = Fleet::start(plane, traffic_sockets)?;
        started();
        let (phases, shutdown) = (fleet.phases.clone(), child::shutdown(&config));
        let way = Arc::new(Way::new(self.monitor_handle, phases, standing.traffic.clone(), shutdown));
        let stopping = Stopping { way: way.clone(), tally: fleet.tally.clone(), listeners: fleet.listeners.clone() };
        let stop = self.stop.subscribe();
        let watched = watch::Sender::new(reload::watched(&config, &self.files));
        let watcher = watcher::watch(watched.subscribe(), self.reload.clone());
        let (heartbeats, place) = (self.resources.heartbeats.clone(), config.place());
        let operator = Operator::new(Arc::new(Operated { way: way.clone(), reload: self.reload, heartbeats }), place);
        let admin_door = worker::admin_door(self.admin_tls);
        let (hooks, totals) = (self.webhooks.subscribe(), standing.event_totals.clone());
        let telling = events::run(standing.board.clone(), standing.clock, hooks, totals);
        let reject = watch::Sender::new(config.proxy.reject_when_unready);
        let kept = keep_gate(standing.board.clone(), gate, reject.subscribe());
        let told = self.manager.clone().keep_told(standing.board.clone(), standing.clock, stop.clone(), way.clone());
        let reloader = Reloader {
            manager: self.manager,
            config,
            resources: self.resources,
            pulse: self.pulse,
            app: self.child.as_ref().map(Child::status),
            admin: admin.clone(),
            admin_door: admin_door.clone(),
            webhooks: self.webhooks,
            planes: fleet.planes.clone(),
            permits: fleet.permits.clone(),
            way,
            reject_when_unready: reject,
            level: self.level,
            standing,
            files: self.files,
            watched,
            stuck: None,
        };
        let (orders, child) = (self.orders, self.child);
        let code = runtime.block_on(async move {
            tokio::task::spawn_local(monitor.run());
            let sockets = Sockets { control: control_socket, agent: agent_socket, admin: admin_socket };
            sockets.serve(admin, operator, admin_door);
            tokio::task::spawn_local(kept);
            tokio::task::spawn_local(telling);
            tokio::task::spawn_local(reloader.run(orders));
            tokio::task::spawn_local(watcher);
            tokio::task::spawn_local(told);
            if std::process::id() == 1 || child.is_some() {
                tokio::task::spawn_local(reap());
            }
            child::to_the_end(child, stopping, stop).await
        });
        fleet.join();
        // Work on a file system that does not answer never ends: it must not keep the process.
        runtime.shutdown_background();
        Ok(code)
    }
}

/// A control socket that was asked for must be there; the usual one is missed, and that is all.
fn bind_control(config: &Config) -> Result<Option<Bound>, StartError> {
    match &config.control.socket {
        ControlSocket::Off => Ok(None),
        ControlSocket::Path(path) => Bound::private(path).map(Some).map_err(StartError::Bind),
        ControlSocket::Auto => {
            let bound = Bound::without_file(&config.place().control_name(&format!("{:016x}", random())));
            if let Err(error) = &bound {
                tracing::warn!(%error, "no control socket: use the management port, or set control.socket");
            }
            Ok(bound.ok())
        }
    }
}

/// Tells the data plane the one thing that it may be told of health. A draining process still serves.
async fn keep_gate(board: Arc<Board>, gate: Arc<Gate>, mut reject: watch::Receiver<bool>) {
    let mut seen = 0;
    loop {
        if !*reject.borrow_and_update() {
            gate.set_closed(false);
            if reject.changed().await.is_err() {
                return;
            }
            seen = 0;
            continue;
        }
        let report = tokio::select! {
            report = board.wait_for(|report| report.number != seen) => report,
            _ = reject.changed() => continue,
        };
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
