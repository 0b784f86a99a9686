use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::{ControlSocket, Meant, Place};
use crate::config::{Sources, Whereabouts};
use crate::fetch::{Answer, Question, fetch_through};
use crate::loopback::connect_unix;
use crate::settings::{Address, Scheme, Url};
use crate::tls::{Client, TlsError};

/// A way to a running process.
pub(super) enum Way {
    Socket(Socket),
    /// With the certificate that is served there, and what is said first if it does not answer.
    Port(Url, Option<PathBuf>, &'static str),
}

/// A control socket.
pub(super) enum Socket {
    File(PathBuf),
    /// One without a file.
    Name(String),
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Name(name) => write!(f, "@{name}"),
        }
    }
}

/// Asks at a control socket.
pub(super) async fn ask_at(socket: &Socket, question: &Question) -> Result<Answer, String> {
    let stream = match socket {
        Socket::File(path) => connect_unix(path).await,
        // As the kernel writes it.
        Socket::Name(name) => connect_unix(Path::new(&format!("\0{name}"))).await,
    };
    let stream = stream.map_err(|error| format!("nothing answers at {socket}: {error}"))?;
    fetch_through(stream, question).await.map_err(|error| format!("{socket}: {error}"))
}

/// What is asked there.
pub(super) fn through_socket(path: &str) -> Result<Url, String> {
    Url::parse("http://pulsegate").map(|url| url.with_path(path)).ok_or_else(|| "an impossible path".into())
}

/// The control socket that a flag names; the management port that a flag names; the control socket of the configuration;
/// the one that is found; else the configuration's management port. With it, what the process there must be: whoever names a
/// file or a port means the process that was started with it, and no other that happens to answer.
pub(super) fn way(socket: Option<&str>, sources: &Sources) -> Result<(Way, Meant), String> {
    let found = Whereabouts::read(sources).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("\npulsegate: ")
    })?;
    let listens = Meant { file: None, ..found.meant };
    if let Some(socket) = socket {
        // As the log says it, and as people say it.
        let socket = socket.strip_prefix("unix:").unwrap_or(socket);
        return Ok((Way::Socket(named(socket)), listens));
    }
    let port = |first| {
        let url = base_of(found.admin.as_ref()?, found.admin_certificate.is_some())?;
        Some(Way::Port(url, found.admin_certificate.clone(), first))
    };
    if found.names_admin
        && let Some(port) = port("")
    {
        return Ok((port, listens));
    }
    if let ControlSocket::Path(path) = &found.control {
        let meant = if found.control_is_of_file { listens } else { found.meant };
        return Ok((Way::Socket(Socket::File(path.clone())), meant));
    }
    let somebody = found.meant != Meant::default();
    match fitting(&running(), found.meant, found.place).as_slice() {
        [name] => Ok((Way::Socket(Socket::Name(name.clone())), found.meant)),
        [] => {
            let (first, else_) = if somebody {
                let first = "no running pulsegate was found with this file or port, nor at its management port: ";
                (first, "no running pulsegate was found with this file or port: name its control socket with --socket")
            } else {
                let first = "no running pulsegate was found, nor at its management port: ";
                (first, "no running pulsegate was found: name its control socket with --socket")
            };
            port(first).map(|port| (port, found.meant)).ok_or_else(|| else_.into())
        }
        several => {
            let names: Vec<String> = several.iter().map(|name| format!("--socket @{name}")).collect();
            let how = "the --port, --config or --admin-listen that it was started with, or with one of";
            Err(format!("several pulsegates run here: name one with {how}\n  {}", names.join("\n  ")))
        }
    }
}

fn named(socket: &str) -> Socket {
    match socket.strip_prefix('@') {
        Some(name) => Socket::Name(name.to_owned()),
        None => Socket::File(socket.into()),
    }
}

/// Where a process that was started with this file hears operators, if it is running: for those who know no better way.
pub(super) fn socket_of_file(found: &Whereabouts) -> Option<Socket> {
    found.meant.file?;
    if let ControlSocket::Path(path) = &found.control {
        return Some(Socket::File(path.clone()));
    }
    match fitting(&running(), found.meant, found.place).as_slice() {
        [name] => Some(Socket::Name(name.clone())),
        _ => None,
    }
}

/// Those of the control sockets that are meant; of several, the one that was started with the same of both.
fn fitting(running: &[String], meant: Meant, ours: Place) -> Vec<String> {
    let those = |meant: Meant| -> Vec<String> {
        let is_meant = |name: &&String| Place::of_control_name(name).is_some_and(|place| meant.is(place));
        running.iter().filter(is_meant).cloned().collect()
    };
    let named = those(meant);
    let both = Meant { file: Some(ours.file), listen: Some(ours.listen) };
    let same = if named.len() > 1 { those(both) } else { Vec::new() };
    if same.is_empty() { named } else { same }
}

/// The control sockets without a file that this user may use: all that listen.
fn running() -> Vec<String> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let ours = control_name_of_user();
    let listening = sockets.lines().filter_map(|line| {
        let mut parts = line.split_ascii_whitespace();
        // Flags with __SO_ACCEPTCON: a listener, not one of its connections.
        let listens = parts.nth(3)? == "00010000";
        let name = parts.next_back()?.strip_prefix('@')?;
        (listens && name.starts_with(&ours)).then(|| name.to_owned())
    });
    let mut names: Vec<String> = listening.collect();
    names.sort();
    names.dedup();
    names
}

/// What the names of this user's processes begin with; the administrator's are everybody's.
fn control_name_of_user() -> String {
    let user = rustix::process::geteuid().as_raw();
    if user == 0 { "pulsegate-control-".into() } else { format!("pulsegate-control-{user}-") }
}

/// TLS towards a URL, if it is spoken there; with a certificate, towards the server that has it.
pub(super) fn client(url: &Url, certificate: Option<&Path>) -> Result<Option<Arc<Client>>, TlsError> {
    let client = match (certificate, &url.scheme) {
        // Our own certificate need not name 127.0.0.1, nor come from an authority that this machine knows.
        (Some(certificate), _) => Client::pinned(certificate)?,
        (None, Scheme::Https) => Client::trusting(None)?,
        (None, _) => return Ok(None),
    };
    Ok(Some(Arc::new(client)))
}

/// The URL of an address that somebody listens at, with TLS or without.
pub(super) fn base_of(address: &Address, tls: bool) -> Option<Url> {
    let base = match address {
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Ip(address) => {
            let mut address = *address;
            // An address that means "all of them" is not one that can be connected to everywhere. `[::]` takes IPv4 too; a
            // container of Docker has it, and often no `::1`.
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            format!("{}://{address}", if tls { "https" } else { "http" })
        }
    };
    Url::parse(&base)
}

#[cfg(test)]
mod tests {
    use super::base_of;
    use crate::settings::Address;

    #[test]
    fn what_listens_everywhere_is_asked_where_every_machine_has_an_address() {
        for (listen, asked) in [
            ("[::]:9000", "http://127.0.0.1:9000/"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            ("127.0.0.2:9000", "http://127.0.0.2:9000/"),
        ] {
            let url = base_of(&Address::parse(listen).expect("an address"), false).expect("a URL");
            assert_eq!(url.to_string(), asked, "{listen}");
        }
    }
}
