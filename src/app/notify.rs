use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::lifecycle::Lifecycle as Way;
use super::stop::Stop;
use crate::clock::{Clock, monotonic};
use crate::config::Config;
use crate::health::{Group, Lifecycle, Report};
use crate::monitor::Board;
use crate::settings::Environment;

/// The service manager that has started us and wants to know how we are, if there is one: systemd, by the protocol of
/// sd_notify(3).
#[derive(Clone, Debug)]
pub(super) struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    /// It kills us when it has not heard from us for so long.
    watchdog: Option<Duration>,
    /// What an app of ours may take to end after the requests.
    app_stop: Duration,
}

/// A manager that does not read must not hold up whoever tells it something.
const TELLING: Duration = Duration::from_secs(1);

/// At most so many checks are named in the status line.
const MOST_NAMED: usize = 5;

/// What the end may take beyond what it is given, on a busy machine.
const SPARE: Duration = Duration::from_secs(5);

impl Manager {
    /// The one of this environment. Within a runtime.
    pub(super) fn of(config: &Config) -> Self {
        let (environment, app) = (&config.environment, &config.app);
        let socket = environment.get("NOTIFY_SOCKET").and_then(|name| match connect(name) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be reached: the service manager is told nothing");
                None
            }
        });
        let app_stop = if app.command.is_empty() { Duration::ZERO } else { app.stop_timeout };
        Self { socket, watchdog: watchdog(environment), app_stop }
    }

    async fn tell(&self, what: &str) {
        let Some(socket) = &self.socket else { return };
        let sent = timeout(TELLING, socket.send(what.as_bytes())).await;
        if !matches!(sent, Ok(Ok(_))) {
            tracing::warn!("the service manager cannot be told: {}", what.lines().next().unwrap_or_default());
        }
    }

    /// The configuration is being read anew. It wants to know since when, for what it has asked before.
    pub(super) async fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic().as_micros())).await;
    }

    /// That has ended, one way or the other.
    pub(super) async fn reloaded(&self) {
        self.tell("READY=1").await;
    }

    /// Tells that we are there, and from then on whatever changes, as long as the runtime lives. That we are alive it is
    /// told while liveness says so too.
    pub(super) async fn keep_told(
        self,
        board: Arc<Board>,
        clock: Clock,
        mut stop: watch::Receiver<Stop>,
        way: Arc<Way>,
    ) {
        if self.socket.is_none() {
            return;
        }
        let mut said = status(&board.report());
        self.tell(&format!("READY=1\nSTATUS={said}")).await;
        let pace = self.watchdog.map_or(NEVER, |watchdog| watchdog / 2);
        let mut alive = interval_at(Instant::now() + pace, pace);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut stopping) = (0, false);
        loop {
            tokio::select! {
                report = board.wait_for(|report| report.number != seen) => {
                    seen = report.number;
                    let now = status(&report);
                    if now != said {
                        self.tell(&format!("STATUS={now}")).await;
                        said = now;
                    }
                }
                _ = alive.tick() => {
                    let report = board.report().clone();
                    let lives = !report.is_overdue(clock.now()) && report.verdict(&Group::Liveness).is_up();
                    if self.watchdog.is_some() && lives {
                        self.tell("WATCHDOG=1").await;
                    }
                }
                told = stop.wait_for(|stop| *stop != Stop::NotYet), if !stopping => {
                    let grace = way.shutdown.borrow().grace;
                    if told.is_ok() {
                        let time = grace.saturating_add(self.app_stop).saturating_add(SPARE).as_micros();
                        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={time}")).await;
                    }
                    stopping = true;
                }
            }
        }
    }
}

/// Without a watchdog nobody waits for a sign of life: a year.
const NEVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// By path, or, with an @, by a name without a file.
fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = StdDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// How often we must be heard, if that is meant for us and not for a process that has passed its environment on.
fn watchdog(environment: &Environment) -> Option<Duration> {
    let ours = environment.get("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let time = environment.get("WATCHDOG_USEC")?.parse().ok().filter(|time| *time > 1)?;
    ours.then(|| Duration::from_micros(time))
}

/// One line for people, of names and words that /readyz tells everybody too.
fn status(report: &Report) -> String {
    if report.is_ready() {
        return "ready".into();
    }
    let phase = match (report.lifecycle, &report.maintenance) {
        (Lifecycle::Serving, None) => String::new(),
        (Lifecycle::Serving, Some(_)) => ", in maintenance".into(),
        (phase, _) => format!(", {}", phase.word()),
    };
    let members = report.members(&Group::Readiness).filter(|check| !check.weighted().is_up());
    let failing: Vec<&str> = members.map(|check| &*check.name).collect();
    let named = failing[..failing.len().min(MOST_NAMED)].join(", ");
    match failing.len() {
        0 => format!("not ready{phase}"),
        count if count > MOST_NAMED => format!("not ready{phase}: {named} and {} more", count - MOST_NAMED),
        _ => format!("not ready{phase}: {named}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::watchdog;
    use crate::settings::Environment;

    #[test]
    fn the_watchdog_is_ours_if_its_process_is() {
        let of = |variables: &[(&str, &str)]| {
            let environment: Environment =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            watchdog(&environment)
        };
        let own = std::process::id().to_string();
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(30)));
        assert_eq!(of(&[("WATCHDOG_USEC", "2"), ("WATCHDOG_PID", &own)]), Some(Duration::from_micros(2)));
        for none in [
            &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")][..],
            &[("WATCHDOG_USEC", "0")],
            &[("WATCHDOG_USEC", "1")],
            &[("WATCHDOG_USEC", "-5")],
            &[("WATCHDOG_USEC", "soon")],
            &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "x")],
            &[],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
