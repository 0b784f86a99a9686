use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// A worker's pipes for large bodies.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    spare: RefCell<Vec<Rc<Ends>>>,
    /// How many are in use.
    lent: Cell<usize>,
    /// This kernel does not splice sockets.
    forbidden: Cell<bool>,
}

/// A pipe that one body has to itself. The next body may have it if it is left empty; otherwise it is closed, as what it
/// holds is nobody's.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) ends: Rc<Ends>,
    /// How much is in it.
    pub(super) held: usize,
    pipes: Rc<Pipes>,
}

/// The two ends of a pipe.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) inlet: OwnedFd,
    pub(super) outlet: OwnedFd,
    /// How much it can hold.
    pub(super) room: usize,
}

/// At most so many bodies of a worker go through pipes at the same time, each at the cost of two file descriptors.
const MOST_LENT: usize = 256;

/// So many pipes are kept for the next bodies, until the next sweep.
const MOST_SPARE: usize = 16;

/// How much one pipe is to hold, and what it holds without being asked. The kernel gives less to users who have very many.
const ROOM: usize = 256 * 1024;
const LEAST_ROOM: usize = 64 * 1024;

impl Pipes {
    /// An empty pipe, if there is one to be had.
    pub(super) fn take(self: &Rc<Self>) -> Option<Pipe> {
        if self.forbidden.get() || self.lent.get() >= MOST_LENT {
            return None;
        }
        let spare = self.spare.borrow_mut().pop();
        let ends = spare.or_else(|| Ends::new().map(Rc::new))?;
        self.lent.set(self.lent.get() + 1);
        Some(Pipe { ends, held: 0, pipes: self.clone() })
    }

    /// Closes the spare ones; to be called now and then, as a new one costs little.
    pub(super) fn sweep(&self) {
        self.spare.borrow_mut().clear();
    }

    /// No pipes from now on.
    pub(super) fn forbid(&self) {
        self.forbidden.set(true);
    }
}

impl Ends {
    fn new() -> Option<Self> {
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let room = fcntl_setpipe_size(&inlet, ROOM).unwrap_or(LEAST_ROOM);
        Some(Self { inlet, outlet, room })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        let mut spare = self.pipes.spare.borrow_mut();
        if self.held == 0 && spare.len() < MOST_SPARE {
            spare.push(self.ends.clone());
        }
    }
}
