//! What connections that never leave this machine can do without, and what they lack.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use crate::clock::back_off;

/// The simplest congestion control there is. Every kernel has it, and lets everybody choose it.
const RENO: &[u8] = b"reno";

/// Has a socket of this address do no more congestion control than it must, if the address is one of this machine alone:
/// nothing is ever lost there, and what others do at each segment (BBR measures the path and sets a pace) is in vain. A
/// connection takes after its listener.
pub fn relieve(socket: &impl AsFd, address: IpAddr) {
    if address.to_canonical().is_loopback() {
        // Fails where the kernel does not know the option: then as it was.
        let _ = SockRef::from(socket).set_tcp_congestion(RENO);
    }
}

/// Between two attempts at a socket whose queue is full.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// For as long as Linux tries to connect over TCP. Who has less patience stops waiting.
const LONGEST_CONNECT: Duration = Duration::from_secs(127);

/// Connects to a Unix socket. While its listener's queue is full the kernel says at once that it would have to wait
/// (EAGAIN, connect(2)); over TCP it waits, and so does this.
///
/// # Errors
/// Nobody listens there, or the queue has stayed full for all that time.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let ends = Instant::now() + LONGEST_CONNECT;
    let mut failures = 0;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => failures += 1,
            connected => return connected,
        }
        if Instant::now() >= ends {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(back_off(FIRST_PAUSE, LONGEST_PAUSE, failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_unix_socket_with_a_full_queue_is_waited_for_as_long_as_over_tcp() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        listener.bind(&SockAddr::unix(&path).expect("an address")).expect("a socket file");
        listener.listen(0).expect("listening");
        let first = connect_unix(&path).await.expect("room for one");
        let begun = Instant::now();
        let full = connect_unix(&path).await.expect_err("no room for two");
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= LONGEST_CONNECT, "{:?}", begun.elapsed());

        let (second, ()) = tokio::join!(connect_unix(&path), async {
            sleep(Duration::from_secs(1)).await;
            drop(listener.accept());
        });
        assert!(second.is_ok(), "{second:?}");
        drop((first, listener));
        let nobody = connect_unix(&path).await.expect_err("nobody listens");
        assert_eq!(nobody.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_connection_takes_after_its_listener_and_other_addresses_keep_what_the_system_says() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let system = SockRef::from(&listener).tcp_congestion().expect("a name");
        relieve(&listener, "192.0.2.1".parse().expect("an address"));
        assert_eq!(SockRef::from(&listener).tcp_congestion().expect("a name"), system);
        relieve(&listener, "::ffff:127.0.0.1".parse().expect("an address"));
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (accepted, _) = listener.accept().expect("the connection");
        assert!(SockRef::from(&accepted).tcp_congestion().expect("a name").starts_with(RENO));
    }
}
