use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::held::Work;
use crate::settings::Address;

/// The connections of one listener whose newcomers do not wait: when the last free places are taken, the connection that
/// has waited for its client the longest is closed for the next one.
///
/// It waits for its client if no request of it is being answered: in its handshake, between two requests, in the middle of
/// a head, or with an answer that the client does not take. One that is being answered is closed only when so many are
/// that a newcomer would be closed before it has been heard.
#[derive(Debug)]
pub struct Crowd {
    guests: RefCell<Slab<Entry>>,
    /// So many places are not for long answers.
    kept: usize,
    /// So many places are always free, or about to be.
    spare: usize,
    /// Closed, and not gone yet.
    leaving: Cell<usize>,
    /// Where they come in, for the log.
    address: Address,
    told: Cell<Option<Instant>>,
}

/// This part of the places, those that are free among them, is for whoever has just come.
const KEPT: usize = 4;

/// This part of the places is free: a burst of newcomers does not wait for one to be closed for each of them.
const SPARE: usize = 16;

/// It is said so often that places are short.
const TELL: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Entry {
    work: Rc<Work>,
    /// What ends it; `None` if it is about to begin, or to end.
    task: Option<AbortHandle>,
    leaves: bool,
}

impl Crowd {
    /// Nobody yet, at a listener with so many places.
    #[must_use]
    pub fn new(address: Address, places: usize) -> Rc<Self> {
        let spare = (places / SPARE).max(1);
        let kept = (places / KEPT).saturating_sub(spare);
        let (leaving, told) = Default::default();
        Rc::new(Self { guests: RefCell::default(), kept, spare, leaving, address, told })
    }

    /// One more.
    pub(super) fn enter(self: &Rc<Self>) -> Guest {
        let work = Rc::<Work>::default();
        let key = self.guests.borrow_mut().insert(Entry { work: work.clone(), task: None, leaves: false });
        Guest { crowd: self.clone(), key, work }
    }

    /// From now on this ends it.
    pub(super) fn ends_by(&self, key: usize, task: AbortHandle) {
        if let Some(entry) = self.guests.borrow_mut().get_mut(key) {
            entry.task = Some(task);
        }
    }

    /// Closes as many as it takes, where so many places are free now. Theirs are free as soon as their tasks have been
    /// dropped.
    pub(super) fn make_room(&self, free: usize) {
        while free + self.leaving.get() < self.spare
            && let Some(task) = self.least_needed()
        {
            self.leaving.update(|count| count + 1);
            task.abort();
            if self.told.get().is_none_or(|told| told.elapsed() >= TELL) {
                self.told.set(Some(Instant::now()));
                let (address, connections) = (&self.address, self.guests.borrow().len());
                tracing::warn!(%address, connections, "no place is left: idle connections are closed for new ones");
            }
        }
    }

    fn least_needed(&self) -> Option<AbortHandle> {
        let mut guests = self.guests.borrow_mut();
        let idle = guests.iter().filter(|(_, entry)| entry.task.is_some() && !entry.work.is_going()).count();
        let takes_busy = idle < self.kept;
        let entries = guests.iter_mut().map(|(_, entry)| entry).filter(|entry| entry.task.is_some());
        let least = entries.min_by_key(|entry| (entry.work.is_going() != takes_busy, entry.work.since()));
        least.and_then(|entry| {
            entry.leaves = true;
            entry.task.take()
        })
    }
}

/// One connection's place in a [`Crowd`].
#[derive(Debug)]
pub(super) struct Guest {
    crowd: Rc<Crowd>,
    pub(super) key: usize,
    pub(super) work: Rc<Work>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let entry = self.crowd.guests.borrow_mut().try_remove(self.key);
        if entry.is_some_and(|entry| entry.leaves) {
            self.crowd.leaving.update(|count| count.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::task::{JoinHandle, LocalSet, spawn_local};
    use tokio::time::advance;

    use super::super::held::{Busy, Work};
    use super::Crowd;
    use crate::settings::Address;

    /// So many connections, which came one after the other.
    async fn crowd(places: usize) -> (Rc<Crowd>, Vec<(Rc<Work>, JoinHandle<()>)>) {
        let crowd = Crowd::new(Address::Unix("crowd".into()), places);
        let mut guests = Vec::new();
        for _ in 0..places {
            let guest = crowd.enter();
            let (key, work) = (guest.key, guest.work.clone());
            #[expect(clippy::disallowed_methods, reason = "a connection of this test, ended by it")]
            let task = spawn_local(async move {
                std::future::pending::<()>().await;
                drop(guest);
            });
            crowd.ends_by(key, task.abort_handle());
            guests.push((work, task));
            advance(Duration::from_millis(1)).await;
        }
        (crowd, guests)
    }

    /// Which of them are there no more, after room has been made so often.
    async fn gone(crowd: &Crowd, guests: &[(Rc<Work>, JoinHandle<()>)], times: usize) -> Vec<usize> {
        for _ in 0..times {
            crowd.make_room(0);
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        (0..guests.len()).filter(|index| guests[*index].1.is_finished()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_been_idle_longest_goes_first() {
        LocalSet::new()
            .run_until(async {
                let (crowd, guests) = crowd(8).await;
                // The first is being answered, the second has been, the third has taken some of its answer.
                let _busy = Busy::new(guests[0].0.clone());
                drop(Busy::new(guests[1].0.clone()));
                guests[2].0.touch();
                assert_eq!(gone(&crowd, &guests, 1).await, [3]);
                assert_eq!(gone(&crowd, &guests, 4).await, [3, 4, 5, 6, 7], "each once");
                assert_eq!(crowd.guests.borrow().len(), 3, "who is gone has left");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn long_answers_do_not_take_the_places_of_newcomers() {
        LocalSet::new()
            .run_until(async {
                let (crowd, guests) = crowd(8).await;
                let mut answered = Vec::new();
                for (work, _) in guests[..7].iter().rev() {
                    answered.push(Busy::new(work.clone()));
                    advance(Duration::from_millis(1)).await;
                }
                answered.push(Busy::new(guests[7].0.clone()));
                // Two of eight places are kept: one is to be free, one for somebody idle.
                assert_eq!(gone(&crowd, &guests, 1).await, [6], "what has been answered longest");
                answered.remove(6);
                assert_eq!(gone(&crowd, &guests, 1).await, [0, 6], "one is idle");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn some_places_are_always_free() {
        LocalSet::new()
            .run_until(async {
                let (crowd, guests) = crowd(64).await;
                crowd.make_room(4);
                assert_eq!(gone(&crowd, &guests, 0).await, [0usize; 0], "so many are free");
                crowd.make_room(1);
                crowd.make_room(1);
                assert_eq!(gone(&crowd, &guests, 0).await, [0, 1, 2], "who is about to go counts as gone");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_there_to_go() {
        let crowd = Crowd::new(Address::Unix("crowd".into()), 8);
        crowd.make_room(0);
        let guest = crowd.enter();
        crowd.make_room(0);
        drop(guest);
        assert!(crowd.guests.borrow().is_empty());
    }
}
