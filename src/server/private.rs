use std::fs::Permissions;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use super::{BindError, Bound, Client, Io, Serve};
use crate::settings::Address;

/// Serves connections of this user's programs and of the administrator's; closes all others.
#[derive(Clone, Debug)]
pub struct Private<S>(pub S);

impl<S: Serve> Serve for Private<S> {
    async fn serve(self, io: Io, client: Client) {
        let us = rustix::process::geteuid().as_raw();
        match io.user() {
            Some(user) if user == us || user == 0 => self.0.serve(io, client).await,
            user => tracing::warn!(user, "a connection to the control socket was refused: another user's"),
        }
    }
}

impl Bound {
    /// Listens at a socket file that only this user may open.
    ///
    /// # Errors
    /// As [`Bound::bind`]; or the file's mode cannot be set.
    pub fn private(path: &Path) -> Result<Self, BindError> {
        let address = Address::Unix(path.to_owned());
        let bound = Self::bind(&address)?;
        // Who connects before this is looked at all the same: see `Private`.
        std::fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(|error| BindError::Other(address, error))?;
        Ok(bound)
    }

    /// Listens at a name without a file: in the abstract namespace, which every network namespace has.
    ///
    /// # Errors
    /// The name is taken, or the system knows no such names.
    pub fn without_file(name: &str) -> Result<Self, BindError> {
        // As `ss` and /proc/net/unix show such names.
        let address = Address::Unix(PathBuf::from(format!("@{name}")));
        let listen = || -> io::Result<UnixListener> {
            let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        match listen() {
            Ok(listener) => Ok(Self::of_unix(address, listener, None)),
            Err(error) => Err(BindError::Other(address, error)),
        }
    }
}
