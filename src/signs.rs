//! What a socket shows at this moment.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether it shows any of these signs. Takes nothing off it, not even its error.
pub fn shows(socket: &impl AsFd, signs: PollFlags) -> bool {
    let mut look = [PollFd::new(socket, signs)];
    poll(&mut look, Some(&Timespec::default())).is_ok() && look[0].revents().intersects(signs)
}
