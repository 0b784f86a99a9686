use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};
use socket2::{Domain, SockAddr, SockFilter, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::net::{TcpStream, UnixStream};

use super::deferred::defer_accept;
use super::io::Stream;
use super::socket_file::SocketFile;
use crate::loopback;
use crate::settings::Address;
use crate::signs::shows;
use crate::unsent;

/// Connections that the kernel holds until we accept them.
const BACKLOG: i32 = 1024;

/// A socket that is bound and listening, not yet part of any runtime.
#[derive(Debug)]
pub struct Bound {
    address: Address,
    socket: BoundSocket,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(std::net::TcpListener),
    Unix(Option<Arc<SocketFile>>, StdUnixListener),
}

/// Why an address cannot be listened at.
#[derive(Debug)]
pub enum BindError {
    /// Somebody else listens there.
    Taken(Address),
    /// At its path is something that is no socket.
    NoSocket(Address),
    /// Any other reason.
    Other(Address, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(Address::Ip(address)) => {
                write!(f, "Port {} already in use", address.port())
            }
            Self::Taken(address) => write!(f, "{address} already in use"),
            Self::NoSocket(address) => {
                write!(f, "cannot listen at {address}: what is there is no socket; name another path, or remove it")
            }
            Self::Other(address, error) => {
                write!(f, "cannot listen at {address}: {error}")?;
                match (address, error.kind()) {
                    (Address::Ip(_), io::ErrorKind::PermissionDenied) => {
                        f.write_str("; a port below 1024 needs root or CAP_NET_BIND_SERVICE")
                    }
                    (_, io::ErrorKind::AddrNotAvailable) => f.write_str("; this machine has no such address"),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for BindError {}

impl Bound {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address is taken, not ours, or not permitted.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address.clone()),
            _ => BindError::Other(address.clone(), error),
        };
        match address {
            Address::Ip(ip) => {
                let listener = bind_tcp(*ip).map_err(failed)?;
                let address = Address::Ip(listener.local_addr().map_err(failed)?);
                Ok(Self { address, socket: BoundSocket::Tcp(listener) })
            }
            Address::Unix(path) => {
                // Connecting to what is no socket is refused as well, and it may be somebody's data.
                if std::fs::metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
                    return Err(BindError::NoSocket(address.clone()));
                }
                if path.exists() && is_left_behind(path) {
                    let _ = std::fs::remove_file(path);
                }
                let listener = StdUnixListener::bind(path).map_err(failed)?;
                let file = SocketFile::bound(path.clone()).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self::of_unix(address.clone(), listener, Some(file)))
            }
        }
    }

    /// `file` is removed when the last user of the listener is gone.
    pub(super) fn of_unix(address: Address, listener: StdUnixListener, file: Option<SocketFile>) -> Self {
        Self { address, socket: BoundSocket::Unix(file.map(Arc::new), listener) }
    }

    /// Where it listens; the port is the real one, also when port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// From now on a connection waits in the kernel until its first bytes have come, or for a second.
    pub fn defer_accept(&self) {
        if let BoundSocket::Tcp(listener) = &self.socket {
            defer_accept(listener);
        }
    }

    /// The same socket once more, for another worker. Not one socket each (`SO_REUSEPORT`): the kernel would give a
    /// connection to a worker that is busy while another idles, would reset what waits at a closed one, and a second
    /// process of the same user would silently take half of the port's connections.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            BoundSocket::Tcp(listener) => BoundSocket::Tcp(listener.try_clone()?),
            BoundSocket::Unix(file, listener) => BoundSocket::Unix(file.clone(), listener.try_clone()?),
        };
        Ok(Self { address: self.address.clone(), socket })
    }

    /// Makes it a part of the runtime that this is called on.
    pub(super) fn listen(self) -> io::Result<Listener> {
        let is_tcp = matches!(self.address, Address::Ip(_));
        let (file, socket) = match self.socket {
            BoundSocket::Tcp(listener) => (None, listener.into()),
            BoundSocket::Unix(file, listener) => (file, listener.into()),
        };
        #[expect(deprecated, reason = "an owned descriptor stays what it is, and what replaces this is forbidden here")]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Listener { is_tcp, file, socket })
    }
}

/// Whether nobody answers at this file any more, because its process was killed. Asked without waiting: whoever is there may
/// have a full queue.
fn is_left_behind(path: &Path) -> bool {
    let asked = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    });
    asked.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match Socket::new(Domain::for_address(address), Type::STREAM, None) {
        // A machine without IPv6: `[::]` means every address, so every address of IPv4 is what is left.
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            return bind_tcp(SocketAddr::from(([0; 4], address.port())));
        }
        socket => socket?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // Answers leave at once. What is accepted has this from its listener: one system call fewer for each.
    socket.set_tcp_nodelay(true)?;
    loopback::relieve(&socket, address.ip());
    unsent::bound(&socket);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listening socket of one runtime.
#[derive(Debug)]
pub(super) struct Listener {
    is_tcp: bool,
    file: Option<Arc<SocketFile>>,
    socket: AsyncFd<OwnedFd>,
}

/// A filter, in the instructions of the kernel's packet filter, that takes no SYN without ACK: the TCP header's flags are
/// its byte 13 (RFC 9293 section 3.1).
const NO_NEW_ONES: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x54, 0, 0, 0x12),
    SockFilter::new(0x15, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

impl Listener {
    /// From now on nobody new gets a connection. Whoever has begun one gets it, and can be accepted.
    ///
    /// Without this, a client whose connection the kernel makes between our last look and the close would have it reset,
    /// with its request. A client that comes now hears nothing, asks again after a second, and is refused.
    pub(super) fn take_no_new_ones(&self) {
        if self.is_tcp {
            // Where the kernel knows no such filters the gap is a few microseconds.
            let _ = SockRef::from(self.socket.get_ref()).attach_filter(&NO_NEW_ONES);
        }
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Waits for somebody, without accepting.
    ///
    /// # Errors
    /// The runtime ends.
    pub(super) async fn somebody(&self) -> io::Result<Somebody<'_>> {
        Ok(Somebody { listener: self, ready: self.socket.readable().await? })
    }

    /// Whether somebody waits to be accepted.
    pub(super) fn has_queue(&self) -> bool {
        shows(self.socket.get_ref(), PollFlags::IN)
    }

    /// A connection that waits already, by asking the kernel: what the runtime knows of the socket may be old.
    pub(super) fn accept_now(&self) -> io::Result<Accepted> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        if !self.is_tcp {
            let socket = accept_with(self.socket.get_ref(), flags)?;
            return Ok((Stream::Unix(UnixStream::from_std(socket.into())?), None));
        }
        let (socket, peer) = acceptfrom_with(self.socket.get_ref(), flags)?;
        let stream = TcpStream::from_std(socket.into())?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((Stream::Tcp(stream), peer.map(|peer| peer.ip().to_canonical())))
    }
}

/// Somebody who waits to be accepted, unless another worker is quicker.
pub(super) struct Somebody<'l> {
    listener: &'l Listener,
    ready: AsyncFdReadyGuard<'l, OwnedFd>,
}

impl Somebody<'_> {
    /// `None`: another worker was.
    pub(super) fn accept(mut self) -> Option<io::Result<Accepted>> {
        let listener = self.listener;
        self.ready.try_io(|_| listener.accept_now()).ok()
    }
}

/// A client's byte stream and its address.
pub(super) type Accepted = (Stream, Option<IpAddr>);
