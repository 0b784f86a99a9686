use std::cell::Cell;
use std::rc::Rc;

/// How much one worker keeps of bodies that are on their way, so that their requests can be sent once more.
#[derive(Clone, Debug, Default)]
pub(super) struct AtHand(Rc<Cell<usize>>);

/// So much of one request's head and body.
const MOST_OF_ONE: usize = 32 * 1024;

/// So much of all requests of a worker; then what follows is sent and forgotten.
const MOST: usize = 4 * 1024 * 1024;

/// One request's part of it, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    all: AtHand,
    own: usize,
}

impl AtHand {
    /// Makes room for so much more of a request of which `there` is kept already; tells whether there is any.
    pub(super) fn keep(&self, share: &mut Option<Share>, there: usize, more: usize) -> bool {
        if there + more > MOST_OF_ONE || self.0.get() + more > MOST {
            return false;
        }
        self.0.set(self.0.get() + more);
        share.get_or_insert_with(|| Share { all: self.clone(), own: 0 }).own += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.0.set(self.all.0.get() - self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_bound_for_one_and_for_all() {
        let all = AtHand::default();
        let mut first = None;
        assert!(all.keep(&mut first, 1, MOST_OF_ONE - 1));
        assert!(!all.keep(&mut first, MOST_OF_ONE, 1));
        let mut others = Vec::new();
        loop {
            let mut share = None;
            if !all.keep(&mut share, 0, MOST_OF_ONE) {
                break;
            }
            others.extend(share);
        }
        assert_eq!(others.len(), MOST / MOST_OF_ONE - 1);
        others.pop();
        assert!(all.keep(&mut None, 0, MOST_OF_ONE), "its room is free");
        drop((others, first));
        assert_eq!(all.0.get(), 0);
    }
}
