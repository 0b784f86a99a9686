use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

/// The streams of a connection that have their answers, while something of their requests still comes; the oldest first. They
/// count for the client's limit of streams (RFC 9113 section 5.1.2), and give way to those that want an answer.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    next: Cell<u64>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Leftover {
    number: u64,
    of: Rc<Leftovers>,
}

impl Leftovers {
    /// One more, which is woken when it must end.
    pub(super) fn join(self: &Rc<Self>, waker: &Waker) -> Leftover {
        let number = self.next.get();
        self.next.set(number + 1);
        self.waiting.borrow_mut().push_back((number, waker.clone()));
        Leftover { number, of: self.clone() }
    }

    /// Ends the oldest if they are more than half of the streams that a client may have, or if a quarter of those would not be
    /// free: `open` are, these included. Tells whether any was ended.
    pub(super) fn give_way(&self, open: usize, most: usize) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let too_many = waiting.len().saturating_sub(most / 2);
        let in_the_way = open.saturating_sub(most - most.div_ceil(4)).min(waiting.len());
        let ending = too_many.max(in_the_way);
        waiting.drain(..ending).for_each(|(_, waker)| waker.wake());
        ending > 0
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.waiting.borrow().binary_search_by_key(&number, |(number, _)| *number).ok()
    }
}

impl Leftover {
    pub(super) fn must_end(&self) -> bool {
        self.of.find(self.number).is_none()
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(at) = self.of.find(self.number) {
            self.of.waiting.borrow_mut().remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Leftover, Leftovers, Rc, Waker};

    #[test]
    fn the_oldest_give_way() {
        let all: Rc<Leftovers> = Rc::default();
        let mut each: Vec<Leftover> = (0..10).map(|_| all.join(Waker::noop())).collect();
        let ended = |each: &[Leftover]| each.iter().map(Leftover::must_end).collect::<Vec<_>>();
        assert!(!all.give_way(10, 20));
        drop(each.remove(3));
        assert!(!all.give_way(15, 20), "a quarter is free");
        assert!(all.give_way(17, 20));
        assert_eq!(ended(&each), [true, true, false, false, false, false, false, false, false]);
        assert!(all.give_way(9, 12), "more than half");
        assert_eq!(ended(&each), [true, true, true, false, false, false, false, false, false]);
        assert!(all.give_way(100, 20), "all that there are");
        assert_eq!(ended(&each), [true; 9]);
        each.clear();
        let one = all.join(Waker::noop());
        assert!(all.give_way(1, 1) && one.must_end(), "there is no room for both");
    }
}
