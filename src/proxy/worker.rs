use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::admission::{Admission, Gate};
use super::at_hand::AtHand;
use super::connection::{Budget, Hold, Slot};
use super::exchange::Ledger;
use super::http2::InHand;
use super::kept::KeptAnswers;
use super::local::Local;
use super::pipes::Pipes;
use super::request_log::RequestLogRules;
use super::settings::ProxySettings;
use super::upstream::{Pool, Target};
use super::via::Via;
use super::witness::Witness;
use crate::clock;
use crate::traffic::{Shard, Traffic};

/// Forwards the requests of one worker, by one configuration. Never leaves its thread.
pub struct Proxy<L> {
    pub(super) settings: ProxySettings,
    pub(super) traffic: Arc<Traffic>,
    pub(super) shard: Arc<Shard>,
    /// Where this worker's requests are written down, whatever the configuration.
    pub(super) ledger: Rc<Ledger>,
    pub(super) admission: Arc<Admission>,
    pub(super) gate: Arc<Gate>,
    pub(super) witness: Witness,
    pub(super) pool: Rc<Pool>,
    pub(super) budget: Rc<Budget>,
    pub(super) hold: Rc<Hold>,
    pub(super) local: L,
    /// The app, as a Host field that the client did not give.
    pub(super) host: String,
    pub(super) via: Via,
    /// Where every connection reads: what is in it is dealt with before anybody waits. One per worker, whatever the
    /// configuration.
    pub(super) scratch: Rc<RefCell<Box<[u8]>>>,
    /// What large bodies pass through. One set per worker as well.
    pub(super) pipes: Rc<Pipes>,
    /// Of answers that are not taken; of all of this worker's clients as well.
    pub(super) in_hand: Rc<InHand>,
    /// What is kept of requests' bodies.
    pub(super) at_hand: AtHand,
    spare: RefCell<Vec<Vec<u8>>>,
    /// Those of answers apart from those of requests, which wait for their answers: an answer mostly leaves at once, so
    /// that the next one is written where the last one was, and not where the caches have forgotten it.
    spare_for_answers: RefCell<Vec<Vec<u8>>>,
    #[expect(clippy::vec_box, reason = "each is handed out where it lies")]
    spare_slots: RefCell<Vec<Box<Slot>>>,
    /// The present second, and until when it is that.
    date: RefCell<(Option<Instant>, String)>,
    pub(super) kept: KeptAnswers,
    /// Bodies of requests for endpoints that are waited for at the same time.
    pub(super) bodies: Arc<Semaphore>,
}

/// How much is read at once.
pub(super) const SCRATCH: usize = 64 * 1024;

/// Buffers and slots that are kept for the next exchange, and how large a buffer may be.
const MOST_SPARE: usize = 256;
const LARGEST_SPARE: usize = 8 * 1024;

/// At most so many bodies of requests for endpoints are waited for at the same time; those that come with their heads are
/// not waited for.
const MOST_BODIES: usize = 128;

/// What most heads fit into.
const NEW_BUFFER: usize = 1024;

impl<L: Local> Proxy<L> {
    /// A proxy for one worker. `pseudonym` names this process in `Via`; `local` answers what is not for the app.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "what a worker is made of")]
    pub fn new(
        settings: ProxySettings,
        target: Target,
        worker: usize,
        traffic: Arc<Traffic>,
        admission: Arc<Admission>,
        gate: Arc<Gate>,
        pseudonym: &str,
        local: L,
    ) -> Self {
        let shard = traffic.shard(worker);
        Self {
            witness: Witness::new(&settings.login),
            host: target.authority(),
            via: Via::new(pseudonym),
            pool: Pool::new(target, shard.clone()),
            budget: Rc::new(Budget::new(shard.clone())),
            hold: Rc::default(),
            settings,
            traffic,
            ledger: Ledger::new(shard.clone()),
            shard,
            admission,
            gate,
            local,
            scratch: Rc::new(RefCell::new(vec![0; SCRATCH].into_boxed_slice())),
            pipes: Rc::default(),
            in_hand: Rc::default(),
            at_hand: AtHand::default(),
            spare: RefCell::default(),
            spare_for_answers: RefCell::default(),
            spare_slots: RefCell::default(),
            date: RefCell::default(),
            kept: KeptAnswers::default(),
            bodies: Arc::new(Semaphore::new(MOST_BODIES)),
        }
    }

    /// The same worker's proxy by another configuration. Connections to the app are kept if they would be made the same
    /// way; otherwise the idle ones close now, and the others when their exchange has ended.
    #[must_use]
    pub fn succeed(&self, settings: ProxySettings, target: Target, admission: Arc<Admission>, local: L) -> Self {
        let host = target.authority();
        let (pool, hold) = if target.is_like(&self.pool.target) {
            (self.pool.clone(), self.hold.clone())
        } else {
            self.pool.retire();
            (Pool::new(target, self.shard.clone()), Rc::default())
        };
        Self {
            witness: Witness::new(&settings.login),
            host,
            via: self.via.clone(),
            pool,
            budget: self.budget.clone(),
            hold,
            settings,
            traffic: self.traffic.clone(),
            shard: self.shard.clone(),
            ledger: self.ledger.clone(),
            admission,
            gate: self.gate.clone(),
            local,
            scratch: self.scratch.clone(),
            pipes: self.pipes.clone(),
            in_hand: self.in_hand.clone(),
            at_hand: self.at_hand.clone(),
            spare: RefCell::default(),
            spare_for_answers: RefCell::default(),
            spare_slots: RefCell::default(),
            date: RefCell::default(),
            kept: KeptAnswers::default(),
            bodies: self.bodies.clone(),
        }
    }

    /// Logs requests by these rules from now on; none before the first call.
    pub fn log(&self, rules: RequestLogRules) {
        self.ledger.log.set_rules(rules);
    }

    /// Closes connections that the app has closed and pipes that are not in use, and tells what the log left out; to be
    /// called now and then.
    pub fn sweep(&self) {
        self.ledger.log.tell_left_out();
        self.pool.sweep();
        self.pipes.sweep();
    }

    /// A target as the app is asked for it. What stands below the prefix is taken by itself if its path is one of ours,
    /// for no other way leads to the app's own there; any other path keeps the one name that it has.
    pub(super) fn at_app<'t>(&self, target: &'t str) -> &'t str {
        let Some(prefix) = &self.settings.passthrough_prefix.0 else { return target };
        let is_ours = |below: &&str| below.split('?').next().is_some_and(|path| self.local.owns(path));
        target.strip_prefix(prefix.as_str()).filter(is_ours).unwrap_or(target)
    }

    /// An empty buffer.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(NEW_BUFFER))
    }

    /// A buffer that is not needed any more.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        keep(&self.spare, buffer);
    }

    /// An empty buffer for an answer.
    pub(super) fn answer_buffer(&self) -> Vec<u8> {
        self.spare_for_answers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(NEW_BUFFER))
    }

    /// A buffer of an answer that is not needed any more.
    pub(super) fn give_back_answer(&self, buffer: Vec<u8>) {
        keep(&self.spare_for_answers, buffer);
    }

    /// An empty slot for a request.
    pub(super) fn slot(&self) -> Box<Slot> {
        self.spare_slots.borrow_mut().pop().unwrap_or_default()
    }

    /// A slot that is not needed any more.
    pub(super) fn give_back_slot(&self, slot: Box<Slot>) {
        let mut spare = self.spare_slots.borrow_mut();
        if spare.len() < MOST_SPARE {
            spare.push(slot);
        }
    }

    /// The present second as a Date field says it (RFC 9110 section 5.6.7), made once a second.
    pub(super) fn with_date<T>(&self, write: impl FnOnce(&str) -> T) -> T {
        let now = clock::turn();
        let mut date = self.date.borrow_mut();
        if date.0.is_none_or(|until| now >= until) {
            let unix = clock::unix();
            let left = Duration::from_secs(1) - Duration::from_nanos(unix.subsec_nanos().into());
            *date = (Some(now + left), httpdate::fmt_http_date(std::time::UNIX_EPOCH + unix));
        }
        write(&date.1)
    }

    /// Until when the second lasts that was written last.
    pub(super) fn second_ends(&self) -> Option<Instant> {
        self.date.borrow().0
    }
}

fn keep(spare: &RefCell<Vec<Vec<u8>>>, mut buffer: Vec<u8>) {
    let mut spare = spare.borrow_mut();
    if spare.len() < MOST_SPARE && (1..=LARGEST_SPARE).contains(&buffer.capacity()) {
        buffer.clear();
        spare.push(buffer);
    }
}

impl<L> std::fmt::Debug for Proxy<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("upstream", &self.host).finish_non_exhaustive()
    }
}
