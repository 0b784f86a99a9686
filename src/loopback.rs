//! What a TCP connection that never leaves this machine can do without.

use std::net::IpAddr;
use std::os::fd::AsFd;

use socket2::SockRef;

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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

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
