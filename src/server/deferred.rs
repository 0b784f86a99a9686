use std::os::fd::AsFd;

use nix::sys::socket::{SetSockOpt, sockopt::SetStruct};

/// For how long, in seconds, the kernel keeps a connection on which nothing comes: the least that it knows, which is until
/// it has sent its SYN+ACK once more.
const SECONDS: i32 = 1;

/// `TCP_DEFER_ACCEPT` of tcp(7).
#[derive(Clone, Copy, Debug)]
struct DeferAccept;

nix::setsockopt_impl!(DeferAccept, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, i32, SetStruct<'_, i32>);

/// Has a listening socket give a connection away when its first bytes are there, or after [`SECONDS`]: a client that
/// connects and asks wakes us up once then, not twice. HTTP, TLS and the PROXY protocol all begin with the client.
pub(super) fn defer_accept(listener: &impl AsFd) {
    // Fails where the kernel does not know the option: then as ever.
    let _ = DeferAccept.set(&listener.as_fd(), &SECONDS);
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_given_away_with_its_first_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        defer_accept(&listener);
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        assert_eq!(listener.accept().expect_err("nothing has come").kind(), ErrorKind::WouldBlock);
        client.write_all(b"G").expect("a byte sent");
        listener.accept().expect("the connection, its first byte being there");
    }

    #[test]
    fn one_on_which_nothing_comes_is_given_away_as_well() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        defer_accept(&listener);
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (_, peer) = listener.accept().expect("the connection, in its time");
        assert_eq!(peer, client.local_addr().expect("an address"));
    }

    #[test]
    fn one_that_ends_without_a_byte_is_given_away_with_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        defer_accept(&listener);
        drop(TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection"));
        listener.accept().expect("the connection, its end being there");
    }
}
