use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, mpsc, watch};

use super::router::{AdminOnly, AgentLines, Endpoints, Traffic};
use super::{StartError, room};
use crate::admin::{Admin, AgentCheck, CurrentAdmin, GrpcHealth, Management, Operator, Port};
use crate::check::Pulse;
use crate::clock;
use crate::drain::{Hub, Phase, Seat, Tally};
use crate::proxy::{Admission, Current, Gate, Proxy, ProxySettings, RequestLogRules, Target};
use crate::server::{Acceptor, Bound, ConnectionSettings, Crowd, Door, HyperServer, Private, Serve};
use crate::tls;
use crate::traffic::{Shard, Traffic as Counters};

/// What all workers of the data plane share.
#[derive(Clone)]
pub(super) struct Plane {
    pub(super) settings: ProxySettings,
    pub(super) target: Target,
    pub(super) log: RequestLogRules,
    pub(super) traffic: Arc<Counters>,
    pub(super) admission: Arc<Admission>,
    pub(super) gate: Arc<Gate>,
    pub(super) admin: Arc<Admin>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) tls: Option<Arc<tls::Server>>,
    pub(super) pseudonym: String,
    /// Where a worker says that it has taken this one.
    pub(super) taken: Option<mpsc::Sender<()>>,
}

impl Plane {
    /// What connections pass before they are served.
    fn door(&self) -> Door {
        let proxy = &self.settings;
        Door {
            tls: self.tls.clone(),
            introducers: proxy.proxy_protocol.then(|| proxy.trusted_proxies.clone()),
            patience: proxy.timeouts.request_header,
        }
    }
}

/// The workers of the data plane, each a thread with a runtime of its own.
pub(super) struct Fleet {
    pub(super) phases: watch::Sender<Phase>,
    pub(super) planes: watch::Sender<Plane>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) tally: Arc<Tally>,
    /// Listeners that are still open.
    pub(super) listeners: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// Starts them all, or says why one of them cannot start.
    pub(super) fn start(plane: Plane, sockets: Vec<Bound>) -> Result<Self, StartError> {
        let phases = watch::Sender::new(Phase::Serving);
        let (tally, listeners) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
        let permits = Arc::new(Semaphore::new(room::connections_with_a_warning(&plane.settings) as usize));
        let workers = plane.settings.threads.0;
        let mut threads = Vec::with_capacity(workers);
        let planes = watch::Sender::new(plane);
        let (told, started) = std::sync::mpsc::sync_channel(workers);
        for index in 0..workers {
            let sockets = sockets.iter().map(|bound: &Bound| Ok((bound.try_clone()?, listeners.seat())));
            let sockets = sockets.collect::<Result<Vec<_>, _>>().map_err(StartError::Runtime)?;
            let worker = Worker {
                index,
                planes: planes.subscribe(),
                sockets,
                phases: phases.subscribe(),
                tally: tally.clone(),
                permits: permits.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn({
                let told = told.clone();
                move || worker.run(&told)
            });
            threads.push(thread.map_err(StartError::Runtime)?);
        }
        drop((told, sockets));
        // A worker that is not there would be missed by nobody: health has a thread of its own.
        for _ in 0..workers {
            started.recv().unwrap_or_else(|_| Err(io::Error::other("it has ended"))).map_err(StartError::Runtime)?;
        }
        Ok(Self { phases, planes, permits, tally, listeners, threads })
    }

    /// Ends the workers, and whatever is still going on in them.
    pub(super) fn join(self) {
        self.phases.send_replace(Phase::Ended);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker of the data plane panicked");
            }
        }
    }
}

struct Worker {
    index: usize,
    planes: watch::Receiver<Plane>,
    sockets: Vec<(Bound, Seat)>,
    phases: watch::Receiver<Phase>,
    tally: Arc<Tally>,
    permits: Arc<Semaphore>,
}

impl Worker {
    fn run(self, told: &SyncSender<io::Result<()>>) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_unpark(clock::wake_up)
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                // A place for every worker.
                let _ = told.send(Ok(()));
                runtime.block_on(self.serve());
                // A name that is being looked up just now must not keep the process.
                runtime.shutdown_background();
            }
            Err(error) => {
                let _ = told.send(Err(error));
            }
        }
    }

    async fn serve(self) {
        let Self { index, mut planes, sockets, mut phases, tally, permits } = self;
        let plane = planes.borrow_and_update().clone();
        let door = Rc::new(RefCell::new(Rc::new(plane.door())));
        let shard = plane.traffic.shard(index);
        let endpoints = Endpoints(plane.admin);
        let (traffic, admission, gate) = (plane.traffic, plane.admission, plane.gate);
        let proxy =
            Proxy::new(plane.settings, plane.target, index, traffic, admission, gate, &plane.pseudonym, endpoints);
        proxy.log(plane.log);
        let proxy = Rc::new(Current::new(proxy));
        let hub = Rc::new(Hub::default());
        let acceptor = Acceptor {
            service: Traffic(proxy.clone()),
            hub: hub.clone(),
            tally,
            permits,
            crowd: None,
            shard,
            door: door.clone(),
            phases: phases.clone(),
        };
        let swept = proxy.clone();
        #[expect(clippy::disallowed_methods, reason = "they end with this runtime, which ends with this function")]
        {
            for (socket, seat) in sockets {
                let acceptor = acceptor.clone();
                tokio::task::spawn_local(async move {
                    accept(acceptor, socket).await;
                    drop(seat);
                });
            }
            // What is to be done now and then is done with the beat: an idle worker wakes up for nothing else.
            tokio::task::spawn_local(plane.pulse.answer(index, move || swept.get().sweep()));
        }
        loop {
            tokio::select! {
                changed = phases.changed() => match changed {
                    Ok(()) => {
                        let phase = *phases.borrow_and_update();
                        if phase == Phase::Ended {
                            return;
                        }
                        hub.enter(phase);
                    }
                    Err(_) => return,
                },
                Ok(()) = planes.changed() => {
                    let plane = planes.borrow_and_update().clone();
                    *door.borrow_mut() = Rc::new(plane.door());
                    let Plane { settings, target, log, admission, admin, taken, .. } = plane;
                    proxy.get().log(log);
                    proxy.replace(proxy.get().succeed(settings, target, admission, Endpoints(admin)));
                    hub.wake();
                    if let Some(taken) = taken {
                        // A place for every worker; nobody may be waiting any more.
                        let _ = taken.try_send(());
                    }
                }
            }
        }
    }
}

/// What connections pass before they are served; replaced by a reload.
pub(super) type SharedDoor = Rc<RefCell<Rc<Door>>>;

/// A TLS handshake at the management port must end by then.
const ADMIN_HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

/// The door of the management port.
pub(super) fn admin_door(tls: Option<Arc<tls::Server>>) -> SharedDoor {
    let door = Door { tls, introducers: None, patience: ADMIN_HANDSHAKE };
    Rc::new(RefCell::new(Rc::new(door)))
}

/// What the main thread listens at.
pub(super) struct Sockets {
    pub(super) control: Option<Bound>,
    pub(super) agent: Option<Bound>,
    pub(super) admin: Option<Bound>,
}

impl Sockets {
    /// Serves each of them, for as long as the runtime lives.
    #[expect(clippy::disallowed_methods, reason = "these tasks end with the runtime, which is the main thread's")]
    pub(super) fn serve(self, admin: Arc<CurrentAdmin>, operator: Operator, door: SharedDoor) {
        if let Some(socket) = self.control {
            tokio::task::spawn_local(serve_control(socket, admin.clone(), operator.clone()));
        }
        if let Some(socket) = self.agent {
            tokio::task::spawn_local(serve_agent(socket, AgentCheck(admin.clone())));
        }
        if let Some(socket) = self.admin {
            tokio::task::spawn_local(serve_admin(socket, admin, operator, door));
        }
    }
}

/// Serves the management port on the runtime of the health plane: a saturated data plane never delays it.
async fn serve_admin(socket: Bound, admin: Arc<CurrentAdmin>, operator: Operator, door: SharedDoor) {
    let handler =
        AdminOnly(Management { admin, port: Port::Admin, operator, peer: None, health: GrpcHealth::default() });
    serve_management(socket, HyperServer { handler, settings: ADMIN_CONNECTION }, ADMIN_CONNECTIONS, door).await;
}

/// Serves the control socket: the same, for this user alone.
async fn serve_control(socket: Bound, admin: Arc<CurrentAdmin>, operator: Operator) {
    let handler =
        AdminOnly(Management { admin, port: Port::Admin, operator, peer: None, health: GrpcHealth::default() });
    let server = Private(HyperServer { handler, settings: ADMIN_CONNECTION });
    serve_management(socket, server, CONTROL_CONNECTIONS, SharedDoor::default()).await;
}

/// Serves HAProxy's agent-check, on the runtime of the health plane as well.
async fn serve_agent(socket: Bound, agent: AgentCheck) {
    serve_management(socket, AgentLines(agent), AGENT_CONNECTIONS, SharedDoor::default()).await;
}

async fn serve_management(socket: Bound, service: impl Serve, connections: usize, door: SharedDoor) {
    // Its own phase never changes: it closes last.
    let phases = watch::Sender::new(Phase::Serving);
    let acceptor = Acceptor {
        service,
        hub: Rc::new(Hub::default()),
        tally: Arc::default(),
        permits: Arc::new(Semaphore::new(connections)),
        crowd: Some(Crowd::new(socket.address().clone(), connections)),
        shard: Arc::new(Shard::default()),
        door,
        phases: phases.subscribe(),
    };
    accept(acceptor, socket).await;
}

async fn accept<S: Serve>(acceptor: Acceptor<S>, socket: Bound) {
    let address = socket.address().clone();
    if let Err(error) = acceptor.run(socket).await {
        tracing::error!(%address, %error, "cannot accept connections");
    }
}

/// Connections of the management port at the same time: kubelet, Prometheus, a load balancer, a few people.
const ADMIN_CONNECTIONS: usize = 256;

/// Connections of the agent-check at the same time: each lasts for as long as a line takes.
const AGENT_CONNECTIONS: usize = 64;

/// Connections of the control socket at the same time: so that nobody who hangs at the management port locks operators
/// out.
const CONTROL_CONNECTIONS: usize = 32;

const ADMIN_CONNECTION: ConnectionSettings = ConnectionSettings {
    request_header: std::time::Duration::from_secs(30),
    lifetime: std::time::Duration::from_secs(120),
    header_bytes: 16 * 1024,
};
