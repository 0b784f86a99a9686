use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use super::stream::AppStream;

/// The queue in which an app's kernel keeps connections until the app accepts them.
///
/// A listener that is closed takes its queue down, with whatever was sent on the connections in it. The app has never
/// seen that, but the reset does not say so. Beforehand the kernel can tell: an end that nobody has accepted has no file,
/// and so no inode number (`sock_diag(7)`). It needs no privilege, and knows the sockets of this network namespace,
/// which a sidecar shares with its app.
#[derive(Debug, Default)]
pub(super) struct Queue {
    diagnostics: RefCell<Option<OwnedFd>>,
}

impl Queue {
    /// Whether a connection waits in the queue at this moment. Where nobody can tell, it does not: the app is elsewhere, the
    /// kernel is an old one or may not be asked, or accepts when it has seen the first bytes (`TCP_DEFER_ACCEPT`).
    pub(super) fn holds(&self, connection: &AppStream) -> bool {
        let asked = match connection {
            AppStream::Tcp(stream) => stream.local_addr().and_then(|ours| {
                let apps = stream.peer_addr()?;
                Ok((about_inet(apps, ours), waits_inet as fn(&[u8]) -> bool))
            }),
            AppStream::Unix(stream) => rustix::fs::fstat(stream)
                .map_err(io::Error::from)
                .map(|ours| (about_unix(ours.st_ino as u32), waits_unix as fn(&[u8]) -> bool)),
            // The app has already spoken on it.
            AppStream::Tls(_) | AppStream::Http2(_) => return false,
        };
        // The kernel remembers no end of a Unix socket's queue: our own end knows.
        asked.is_ok_and(|(question, waits)| self.ask(&question).is_ok_and(|answer| waits(&answer)))
            && !connection.has_ended()
    }

    /// What the kernel answers; without the header.
    fn ask(&self, question: &[u8]) -> io::Result<Vec<u8>> {
        let mut diagnostics = self.diagnostics.borrow_mut();
        let socket = match diagnostics.take() {
            Some(socket) => socket,
            None => socket_with(
                AddressFamily::NETLINK,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                Some(netlink::SOCK_DIAG),
            )?,
        };
        let mut message = Vec::with_capacity(HEADER + question.len());
        message.extend(((HEADER + question.len()) as u32).to_ne_bytes());
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend(NLM_F_REQUEST.to_ne_bytes());
        // Number and sender are the kernel's to fill in: the answer is there when the question has been sent.
        message.extend([0; 8]);
        message.extend_from_slice(question);
        send(socket.as_fd(), &message, SendFlags::empty())?;
        let mut answer = [MaybeUninit::uninit(); LARGEST_ANSWER];
        let ((answer, _), _) = recv(socket.as_fd(), &mut answer, RecvFlags::empty())?;
        // One that failed is not asked again.
        *diagnostics = Some(socket);
        if u16_at(answer, 4) != Some(SOCK_DIAG_BY_FAMILY) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(answer.get(HEADER..).unwrap_or_default().to_vec())
    }
}

// From the kernel's `netlink.h`, `sock_diag.h`, `inet_diag.h` and `unix_diag.h`.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const ANY_STATE: u32 = u32::MAX;
const NO_COOKIE: [u8; 8] = [0xFF; 8];
const ESTABLISHED: u8 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_PEER: u16 = 2;

/// An answer has 72 bytes and a few attributes.
const LARGEST_ANSWER: usize = 1024;

/// `inet_diag_req_v2`: the app's end of a connection.
fn about_inet(apps: SocketAddr, ours: SocketAddr) -> Vec<u8> {
    let family = if apps.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut question = vec![family.as_raw() as u8, rustix::net::ipproto::TCP.as_raw().get() as u8, 0, 0];
    question.extend(ANY_STATE.to_ne_bytes());
    question.extend(apps.port().to_be_bytes());
    question.extend(ours.port().to_be_bytes());
    for end in [apps, ours] {
        let before = question.len();
        match end.ip() {
            IpAddr::V4(address) => question.extend(address.octets()),
            IpAddr::V6(address) => question.extend(address.octets()),
        }
        question.resize(before + 16, 0);
    }
    // On whatever interface.
    question.extend([0; 4]);
    question.extend(NO_COOKIE);
    question
}

/// `inet_diag_msg`.
fn waits_inet(answer: &[u8]) -> bool {
    const STATE: usize = 1;
    const INODE: usize = 68;
    answer.get(STATE) == Some(&ESTABLISHED) && u32_at(answer, INODE) == Some(0)
}

/// `unix_diag_req`: our end of a connection, and what is at the other.
fn about_unix(inode: u32) -> Vec<u8> {
    let mut question = vec![AddressFamily::UNIX.as_raw() as u8, 0, 0, 0];
    for number in [ANY_STATE, inode, UDIAG_SHOW_PEER] {
        question.extend(number.to_ne_bytes());
    }
    question.extend(NO_COOKIE);
    question
}

/// `unix_diag_msg` and its attributes.
fn waits_unix(answer: &[u8]) -> bool {
    let mut attributes = answer.get(16..).unwrap_or_default();
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        if kind == UNIX_DIAG_PEER {
            return u32_at(attributes, 4) == Some(0);
        }
        let length = usize::from(length).next_multiple_of(4).max(4);
        attributes = attributes.get(length..).unwrap_or_default();
    }
    false
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{SetSockOpt as _, sockopt::SetStruct};
    use tokio::net::{TcpStream, UnixStream};

    use super::*;

    #[derive(Clone, Copy, Debug)]
    struct DeferAccept;

    nix::setsockopt_impl!(DeferAccept, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, i32, SetStruct<'_, i32>);

    async fn to(listener: &std::net::TcpListener, host: &str) -> AppStream {
        let port = listener.local_addr().expect("an address").port();
        AppStream::Tcp(TcpStream::connect((host, port)).await.expect("a connection"))
    }

    #[tokio::test]
    async fn a_connection_waits_until_it_is_accepted() {
        let queue = Queue::default();
        for (bound, host) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let listener = std::net::TcpListener::bind(bound).expect("a port");
            let (first, second) = (to(&listener, host).await, to(&listener, host).await);
            assert!(queue.holds(&first) && queue.holds(&second), "{bound}");
            let accepted = listener.accept().expect("a connection");
            assert!(!queue.holds(&first) && queue.holds(&second), "{bound}");
            drop(accepted);
            assert!(!queue.holds(&first), "{bound}: one that was accepted and closed does not wait");
            drop(listener);
            assert!(!queue.holds(&second), "{bound}: a queue that is gone holds nothing");
        }
    }

    #[tokio::test]
    async fn a_unix_connection_waits_as_well() {
        let queue = Queue::default();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app");
        let listener = UnixListener::bind(&path).expect("a socket");
        let connect = || async { AppStream::Unix(UnixStream::connect(&path).await.expect("a connection")) };
        let (first, second) = (connect().await, connect().await);
        assert!(queue.holds(&first) && queue.holds(&second));
        let _accepted = listener.accept().expect("a connection");
        assert!(!queue.holds(&first) && queue.holds(&second));
        drop(listener);
        assert!(!queue.holds(&second));
    }

    #[tokio::test]
    async fn who_accepts_with_the_first_bytes_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        DeferAccept.set(&listener, &1).expect("an option");
        assert!(!Queue::default().holds(&to(&listener, "127.0.0.1").await));
    }

    #[test]
    fn what_is_cut_off_says_nothing() {
        let mut answer = vec![2, ESTABLISHED, 0, 0];
        answer.resize(72, 0);
        assert!(waits_inet(&answer) && !waits_inet(&answer[..71]));
        let mut answer = vec![0; 16];
        answer.extend([4, 0, 9, 0, 0, 0, 0, 0].iter().chain(&[8, 0, 2, 0, 0, 0, 0, 0]));
        assert!(waits_unix(&answer));
        assert!((0..answer.len()).all(|length| !waits_unix(&answer[..length])));
    }
}
