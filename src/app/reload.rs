use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lifecycle::Lifecycle as Way;
use super::management::Standing;
use super::notify::Manager;
use super::reading::Read;
use super::watcher::{CAUSE as CHANGED_FILES, Watched};
use super::worker::{Plane, SharedDoor, admin_door};
use super::{SetLevel, child, room};
use crate::admin::CurrentAdmin;
use crate::check::{Pulse, Resources};
use crate::config::{Config, Digests};
use crate::events::Webhook;
use crate::proxy::resize;
use crate::settings::Problem;
use crate::shortage::passes_as_told;
use crate::supervise::AppStatus;

/// Reloads that wait for their turn; more are refused.
const MOST_WAITING: usize = 16;

/// Reading must end by then: a file system that does not answer must not look like a reload that goes on.
const READING: Duration = Duration::from_secs(30);

/// By then every worker has taken the new configuration, unless its event loop is stuck, which liveness tells.
const TAKING: Duration = Duration::from_secs(2);

/// At most so many changed keys are named in the log.
const MOST_NAMED: usize = 32;

/// And so many problems are told there; their count is told in any case. A wrong file may have one in each of its lines.
const MOST_TOLD: usize = 100;

/// Asks for the configuration to be read anew.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<Order>);

/// Who wants to know what came of it.
pub(super) type Order = (&'static str, Option<oneshot::Sender<Outcome>>);

/// What came of a reload: the keys that changed, or everything that is wrong.
pub(super) type Outcome = Result<Vec<String>, Vec<String>>;

impl ReloadHandle {
    pub(super) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(MOST_WAITING);
        (Self(orders), receiver)
    }

    /// Asks, and waits for nothing; `cause` is for the log. When as many wait as may, one more would change nothing.
    pub fn request(&self, cause: &'static str) {
        let _ = self.0.try_send((cause, None));
    }

    /// Asks, and waits for what comes of it.
    pub(super) async fn reload(&self, cause: &'static str) -> Outcome {
        let (told, outcome) = oneshot::channel();
        if self.0.try_send((cause, Some(told))).is_err() {
            return Err(vec!["too many reloads wait for their turn".into()]);
        }
        outcome.await.unwrap_or_else(|_| Err(vec!["the process ends".into()]))
    }
}

/// Reads the configuration anew and puts it in place of the one in effect: all of it, or nothing.
pub(super) struct Reloader {
    pub(super) manager: Manager,
    pub(super) config: Config,
    pub(super) resources: Resources,
    pub(super) pulse: Arc<Pulse>,
    pub(super) app: Option<Arc<AppStatus>>,
    pub(super) admin: Arc<CurrentAdmin>,
    pub(super) admin_door: SharedDoor,
    pub(super) webhooks: watch::Sender<Arc<Vec<Webhook>>>,
    pub(super) planes: watch::Sender<Plane>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) way: Arc<Way>,
    pub(super) reject_when_unready: watch::Sender<bool>,
    pub(super) level: SetLevel,
    pub(super) standing: Standing,
    /// What the files held that the configuration in effect was read from.
    pub(super) files: Digests,
    /// The files whose change is a reason to reload.
    pub(super) watched: watch::Sender<Watched>,
    /// A reading that has not ended in time.
    pub(super) stuck: Option<JoinHandle<Result<Read, Vec<Problem>>>>,
}

impl Reloader {
    /// Reloads as often as it is asked to.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some((cause, told)) = orders.recv().await {
            if self.way.is_stopping() {
                // Nothing is wrong with the configuration: no error, and no failure that an alert would see.
                tracing::info!(cause, "not reloaded: {STOPPING}");
                let _ = told.map(|told| told.send(Err(vec![STOPPING.into()])));
                continue;
            }
            let begun = Instant::now();
            self.manager.reloading().await;
            let outcome = self.reload(cause).await;
            self.manager.reloaded().await;
            let took_ms = begun.elapsed().as_secs_f64() * 1e3;
            let was_good = self.standing.reloads.succeeded();
            self.standing.reloads.note(outcome.is_ok());
            match &outcome {
                // As when somebody else has reloaded what was just written. Of an error the log says that it is over.
                Ok(changed) if changed.is_empty() && cause == CHANGED_FILES && was_good => {}
                Ok(changed) if changed.is_empty() => tracing::info!(cause, "reloaded: nothing has changed"),
                Ok(changed) => {
                    let named = changed[..changed.len().min(MOST_NAMED)].join(", ");
                    tracing::info!(cause, took_ms, changed = named, "reloaded");
                }
                Err(problems) => {
                    for problem in problems.iter().take(MOST_TOLD) {
                        tracing::error!(cause, problem, "not reloaded");
                    }
                    tracing::error!(cause, count = problems.len(), "not reloaded: everything stays as it was");
                }
            }
            // Only now, so that the line above is the last one of the old level.
            self.level.set(self.config.log.level.0);
            if let Some(told) = told {
                // Whoever asked may have gone.
                let _ = told.send(outcome);
            }
        }
    }

    async fn reload(&mut self, cause: &str) -> Outcome {
        // Nobody has asked for it to be opened: it would be waited for, perhaps without end.
        if cause == CHANGED_FILES && self.config.sources().file.as_deref().is_some_and(is_pipe) {
            return Err(vec!["the configuration's file is a pipe or a device by now, and is not waited for".into()]);
        }
        let read = self.read().await?;
        let obstacles = self.config.obstacles(&read.config);
        if !obstacles.is_empty() {
            return Err(texts(obstacles));
        }
        let mut changed = self.config.changes(&read.config);
        changed.extend(self.changed_files(&read.files));
        if !changed.is_empty() {
            let plane = self.plane(&read, &changed)?;
            self.put_into_effect(read, plane).await;
        }
        Ok(changed)
    }

    /// Reads everything, on a thread of its own: the management port answers meanwhile.
    async fn read(&mut self) -> Result<Read, Vec<String>> {
        if self.stuck.as_ref().is_some_and(|reading| !reading.is_finished()) {
            return Err(vec![NO_ANSWER.into()]);
        }
        let (sources, resources, pulse) = (self.config.sources().clone(), self.resources.clone(), self.pulse.clone());
        let app = self.app.clone();
        let mut reading = tokio::task::spawn_blocking(move || Read::of(&sources, resources, &pulse, app.as_ref()));
        match tokio::time::timeout(READING, &mut reading).await {
            Ok(Ok(read)) => read.map_err(texts),
            Ok(Err(_)) => Err(vec!["a defect: reading the configuration panicked".into()]),
            Err(_) => {
                self.stuck = Some(reading);
                Err(vec![NO_ANSWER.into()])
            }
        }
    }

    /// The files beside the configuration itself that hold something else than before.
    fn changed_files(&self, files: &Digests) -> impl Iterator<Item = String> {
        let same_before = |file: &&(PathBuf, u64)| !self.files.contains(file);
        let own = self.config.sources().file.as_ref();
        let known_before =
            |file: &&(PathBuf, u64)| Some(&file.0) != own && self.files.iter().any(|(path, _)| *path == file.0);
        let changed: Vec<String> = files
            .iter()
            .filter(known_before)
            .filter(same_before)
            .map(|(path, _)| format!("the content of {}", path.display()))
            .collect();
        changed.into_iter()
    }

    /// What the data plane is to work with. The last thing that can fail.
    fn plane(&self, read: &Read, changed: &[String]) -> Result<Plane, Vec<String>> {
        let before = self.planes.borrow().clone();
        let proxy = &read.config.proxy;
        // Clients may resume their sessions as long as nothing about TLS is another.
        let files = proxy.tls.files();
        let about_tls = |change: &String| {
            change.starts_with("proxy.tls") || files.iter().any(|file| change.ends_with(&*file.to_string_lossy()))
        };
        let tls = if changed.iter().any(about_tls) { read.tls.clone() } else { before.tls.clone() };
        let admin = self
            .standing
            .admin(&read.config, tls.clone(), read.target.tls())
            .map_err(|error| vec![error.to_string()])?;
        Ok(Plane {
            settings: proxy.clone(),
            target: read.target.clone(),
            log: read.config.log.requests(),
            admission: before.admission.clone(),
            admin: Arc::new(admin),
            tls,
            ..before
        })
    }

    /// Nothing in here fails. Connections stay; what has begun ends with what it began with.
    async fn put_into_effect(&mut self, read: Read, mut plane: Plane) {
        let Read { config, resources, plan, files, admin_tls, webhooks, .. } = read;
        self.webhooks.send_replace(Arc::new(webhooks));
        self.admin_door.swap(&admin_door(admin_tls));
        let workers = config.proxy.threads.0;
        let (taken, mut takers) = mpsc::channel(workers);
        plane.taken = Some(taken);
        plane.admission = Arc::new(plane.admission.succeed(&config.proxy.limits));
        resize(&self.permits, room::connections(&self.config.proxy), room::connections_with_a_warning(&config.proxy));
        self.way.shutdown.send_replace(child::shutdown(&config));
        self.reject_when_unready.send_replace(config.proxy.reject_when_unready);
        // Groups before the endpoints that speak of them.
        self.way.monitor.replan(plan).await;
        let generation = plane.admin.watching.generation;
        self.admin.replace(plane.admin.clone());
        self.planes.send_replace(plane);
        let everybody = async {
            for _ in 0..workers {
                takers.recv().await;
            }
        };
        if tokio::time::timeout(TAKING, everybody).await.is_err() {
            tracing::warn!("a worker has not taken the new configuration yet: its event loop is busy or stuck");
        }
        // Whoever watches comes again, and finds the new ones.
        self.standing.watchers.renew(generation);
        let files_now = watched(&config, &files);
        self.watched.send_if_modified(|watched| std::mem::replace(watched, files_now.clone()) != files_now);
        (self.config, self.resources, self.files) = (config, resources, files);
    }
}

const STOPPING: &str = "the process has been told to stop";

const NO_ANSWER: &str = "the configuration's files cannot be read: their file system does not answer";

/// Whether what a reload failed for may pass with nothing changed, so that nobody will ask for another one.
pub(super) fn may_pass(problems: &[String]) -> bool {
    problems.iter().any(|problem| problem == NO_ANSWER || passes_as_told(problem))
}

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// The files that are to be watched by this configuration.
pub(super) fn watched(config: &Config, files: &Digests) -> Watched {
    if config.reload.watch { files.clone() } else { Watched::new() }
}

#[expect(clippy::needless_pass_by_value, reason = "problems come as errors, by value")]
fn texts(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
