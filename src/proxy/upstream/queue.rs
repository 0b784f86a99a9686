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

/// Where the app's end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum AppsEnd {
    /// In the queue: the app has not accepted it.
    Queued,
    /// Not there yet, or not any more: it comes at this moment, or goes and its reset is about to be sent. For longer than a
    /// moment, the kernel waits for the first bytes (`TCP_DEFER_ACCEPT`), or it is elsewhere by some translation of addresses.
    Unclear,
    /// With the app, or gone. Also where nobody can tell: the app is elsewhere, or the kernel is an old one or may not be asked.
    NotQueued,
}

impl Queue {
    /// Where the app's end of a connection is at this moment; one that has ended is in no queue.
    pub(super) fn look(&self, connection: &AppStream) -> AppsEnd {
        let found = match connection {
            AppStream::Tcp(stream) => {
                let ends = stream.peer_addr().and_then(|apps| Ok((apps, stream.local_addr()?)));
                ends.map_or(AppsEnd::NotQueued, |(apps, ours)| self.look_for_inet(apps, ours))
            }
            AppStream::Unix(stream) => {
                let ours = rustix::fs::fstat(stream).map_err(io::Error::from);
                let waits = ours.and_then(|ours| self.ask(&about_unix(ours.st_ino as u32)));
                if waits.is_ok_and(|answer| waits_unix(&answer)) { AppsEnd::Queued } else { AppsEnd::NotQueued }
            }
            // The app has already spoken on it.
            AppStream::Tls(_) | AppStream::Http2(_) => return AppsEnd::NotQueued,
        };
        // The kernel remembers no end of a Unix socket's queue, and a reset may have come meanwhile: our own end knows.
        if connection.has_ended() { AppsEnd::NotQueued } else { found }
    }

    fn look_for_inet(&self, apps: SocketAddr, ours: SocketAddr) -> AppsEnd {
        match self.ask(&about_inet(apps, ours)) {
            Ok(answer) => found_inet(&answer),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_here(apps, ours) => AppsEnd::Unclear,
            Err(_) => AppsEnd::NotQueued,
        }
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
            let code = u32_at(answer, HEADER).unwrap_or_default().cast_signed();
            return Err(io::Error::from_raw_os_error(code.saturating_neg()));
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
const SYN_RECV: u8 = 3;
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
fn found_inet(answer: &[u8]) -> AppsEnd {
    const STATE: usize = 1;
    const INODE: usize = 68;
    match (answer.get(STATE), u32_at(answer, INODE)) {
        (Some(&ESTABLISHED), Some(0)) => AppsEnd::Queued,
        (Some(&SYN_RECV), _) => AppsEnd::Unclear,
        _ => AppsEnd::NotQueued,
    }
}

/// Whether both ends are this machine's, so that the kernel knows both.
fn is_here(apps: SocketAddr, ours: SocketAddr) -> bool {
    apps.ip() == ours.ip() || apps.ip().to_canonical().is_loopback()
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
    use std::time::Duration;

    use nix::sys::socket::{SetSockOpt as _, sockopt::SetStruct};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    struct DeferAccept;

    nix::setsockopt_impl!(DeferAccept, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, i32, SetStruct<'_, i32>);

    async fn to(listener: &std::net::TcpListener, host: &str) -> AppStream {
        let port = listener.local_addr().expect("an address").port();
        AppStream::Tcp(TcpStream::connect((host, port)).await.expect("a connection"))
    }

    /// Where its end is once that is clear.
    async fn settled(queue: &Queue, connection: &AppStream) -> AppsEnd {
        let clear = async {
            loop {
                match queue.look(connection) {
                    AppsEnd::Unclear => yield_now().await,
                    clear => return clear,
                }
            }
        };
        timeout(Duration::from_secs(20), clear).await.expect("it comes or goes at some time")
    }

    async fn both(queue: &Queue, first: &AppStream, second: &AppStream) -> (AppsEnd, AppsEnd) {
        (settled(queue, first).await, settled(queue, second).await)
    }

    #[tokio::test]
    async fn a_connection_waits_until_it_is_accepted() {
        use AppsEnd::{NotQueued, Queued};
        let queue = Queue::default();
        for (bound, host) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let listener = std::net::TcpListener::bind(bound).expect("a port");
            let (first, second) = (to(&listener, host).await, to(&listener, host).await);
            assert_eq!(both(&queue, &first, &second).await, (Queued, Queued), "{bound}");
            let accepted = listener.accept().expect("a connection");
            assert_eq!(both(&queue, &first, &second).await, (NotQueued, Queued), "{bound}");
            drop(accepted);
            assert_eq!(
                settled(&queue, &first).await,
                NotQueued,
                "{bound}: one that was accepted and closed does not wait"
            );
            drop(listener);
            assert_eq!(settled(&queue, &second).await, NotQueued, "{bound}: a queue that is gone holds nothing");
        }
    }

    #[tokio::test]
    async fn a_unix_connection_waits_as_well() {
        use AppsEnd::{NotQueued, Queued};
        let queue = Queue::default();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app");
        let listener = UnixListener::bind(&path).expect("a socket");
        let connect = || async { AppStream::Unix(UnixStream::connect(&path).await.expect("a connection")) };
        let (first, second) = (connect().await, connect().await);
        assert_eq!(both(&queue, &first, &second).await, (Queued, Queued));
        let _accepted = listener.accept().expect("a connection");
        assert_eq!(both(&queue, &first, &second).await, (NotQueued, Queued));
        drop(listener);
        assert_eq!(settled(&queue, &second).await, NotQueued);
    }

    #[tokio::test]
    async fn who_accepts_with_the_first_bytes_is_not_in_the_queue() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        DeferAccept.set(&listener, &1).expect("an option");
        assert_eq!(Queue::default().look(&to(&listener, "127.0.0.1").await), AppsEnd::Unclear);
    }

    #[test]
    fn an_end_that_is_not_there_is_unclear_only_where_it_has_to_be() {
        let queue = Queue::default();
        // Nobody sends from port 0.
        for (apps, ours, found) in [
            ("127.0.0.1:1", "127.0.0.1:0", AppsEnd::Unclear),
            ("[::1]:1", "[::1]:0", AppsEnd::Unclear),
            ("192.0.2.1:1", "192.0.2.1:0", AppsEnd::Unclear),
            ("192.0.2.1:1", "192.0.2.2:0", AppsEnd::NotQueued),
        ] {
            let (apps, ours) = (apps.parse().expect("an address"), ours.parse().expect("an address"));
            assert_eq!(queue.look_for_inet(apps, ours), found, "{apps}");
        }
    }

    #[test]
    fn what_is_cut_off_says_nothing() {
        let mut answer = vec![2, ESTABLISHED, 0, 0];
        answer.resize(72, 0);
        assert_eq!((found_inet(&answer), found_inet(&answer[..71])), (AppsEnd::Queued, AppsEnd::NotQueued));
        let mut answer = vec![0; 16];
        answer.extend([4, 0, 9, 0, 0, 0, 0, 0].iter().chain(&[8, 0, 2, 0, 0, 0, 0, 0]));
        assert!(waits_unix(&answer));
        assert!((0..answer.len()).all(|length| !waits_unix(&answer[..length])));
    }
}
