//! What the kernel has of a connection that the other side does not have yet.

use std::os::fd::AsFd;

use nix::sys::socket::sockopt::{GetStruct, SetStruct};
use nix::sys::socket::{GetSockOpt, SetSockOpt};
use rustix::event::PollFlags;

use crate::signs::shows;

/// So many bytes may wait in the kernel, besides those that are on their way: enough to keep a fast line busy until we are
/// asked for more, when half of it has left.
const MOST: u32 = 256 * 1024;

/// `TCP_NOTSENT_LOWAT` of tcp(7).
#[derive(Clone, Copy, Debug)]
struct NotSent;

nix::setsockopt_impl!(NotSent, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, u32, SetStruct<'_, u32>);

/// The beginning of `struct tcp_info` (`TCP_INFO` of tcp(7)), which every kernel has: whose end is not asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct InfoHead {
    state: u8,
    _counts: [u8; 7],
    _times_and_sizes: [u32; 4],
    /// Segments that were sent and not acknowledged.
    unacked: u32,
}

/// `TCP_INFO` of tcp(7), as far as it is needed.
#[derive(Clone, Copy, Debug)]
struct Info;

nix::getsockopt_impl!(Info, libc::IPPROTO_TCP, libc::TCP_INFO, InfoHead, GetStruct<InfoHead>);

/// Whether the other side's kernel has all that was written; so too where nobody can tell, or nobody will ever have it. For
/// a socket that nothing more is written to: from now on it takes next to nothing.
pub fn has_arrived(socket: &impl AsFd) -> bool {
    let Ok(info) = Info.get(&socket.as_fd()) else { return true };
    match info.state {
        ESTABLISHED | CLOSE_WAIT => info.unacked == 0 && is_sent(socket),
        // Our end is behind all that was written, and is acknowledged after it.
        FIN_WAIT_1 | CLOSING | LAST_ACK => false,
        _ => true,
    }
}

/// Whether nothing waits for its turn: the socket can be written to, then.
fn is_sent(socket: &impl AsFd) -> bool {
    let _ = NotSent.set(&socket.as_fd(), &1);
    shows(socket, PollFlags::OUT | PollFlags::ERR | PollFlags::HUP)
}

// From the kernel's `tcp_states.h`; the states are those of RFC 9293 section 3.3.2.
const ESTABLISHED: u8 = 1;
const FIN_WAIT_1: u8 = 4;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// Has the kernel take no more than 256 KiB of this socket that cannot leave yet. A connection takes after its listener.
///
/// Without it the kernel takes megabytes for whoever reads slowly, and asks for more only when a third of them has left:
/// that is memory that nobody uses, and a client that reads 16 KiB a second would seem to take nothing for a minute.
pub fn bound(socket: &impl AsFd) {
    // Fails where the kernel does not know the option: then as it was.
    let _ = NotSent.set(&socket.as_fd(), &MOST);
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use rustix::event::{PollFd, Timespec, poll};

    use super::*;

    /// A connection of a bounded listener that has taken all that it takes for a client that reads nothing, and how much.
    fn full() -> (TcpStream, TcpStream, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        bound(&listener);
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (mut accepted, _) = listener.accept().expect("the connection");
        assert!(has_arrived(&accepted), "nothing was written");
        bound(&accepted);
        accepted.set_nonblocking(true).expect("non-blocking");
        let (mut taken, piece) = (0, vec![0; 64 * 1024]);
        while let Ok(length) = accepted.write(&piece) {
            taken += length;
        }
        (client, accepted, taken)
    }

    fn is_writable(connection: &TcpStream, seconds: i64) -> bool {
        let mut look = [PollFd::new(connection, PollFlags::OUT)];
        poll(&mut look, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })) == Ok(1)
    }

    /// The last acknowledgement may be late, but not by much.
    fn soon_arrives(connection: &TcpStream) -> bool {
        (0..1_000_000).any(|_| {
            std::thread::yield_now();
            has_arrived(connection)
        })
    }

    #[test]
    fn little_is_taken_for_a_client_that_does_not_read_and_it_soon_gets_more() {
        let (mut client, accepted, taken) = full();
        assert!(taken < 1024 * 1024, "{taken} bytes");
        assert!(!is_writable(&accepted, 0));
        client.read_exact(&mut vec![0; MOST as usize]).expect("what was sent");
        assert!(is_writable(&accepted, 10), "it asks for more");
    }

    #[test]
    fn what_was_written_has_arrived_when_the_other_side_has_all_of_it() {
        let (mut client, accepted, taken) = full();
        assert!(!has_arrived(&accepted));
        client.read_exact(&mut vec![0; taken]).expect("all of it");
        assert!(is_writable(&accepted, 10), "all of it was sent");
        assert!(soon_arrives(&accepted));
    }

    #[test]
    fn so_it_is_with_the_end_behind_it() {
        let (mut client, accepted, _) = full();
        accepted.shutdown(Shutdown::Write).expect("an end");
        assert!(!has_arrived(&accepted));
        client.read_to_end(&mut Vec::new()).expect("all of it");
        assert!(soon_arrives(&accepted));
    }

    #[test]
    fn what_nobody_will_ever_have_is_not_waited_for() {
        let (client, accepted, _) = full();
        // With what it has not read, its end is a reset.
        drop(client);
        assert!(has_arrived(&accepted));
    }
}
