use std::net::IpAddr;
use std::path::Path;

use super::Config;
use crate::admin::{AdminListen, ControlSocket};
use crate::settings::{Address, Origin, Problems};

/// What the kernel takes as the path of a socket, its end included (unix(7)).
const LONGEST_PATH: usize = 107;

/// Addresses at which nobody could listen on any machine, and those that are named twice.
pub(super) fn validate(config: &Config, problems: &Problems, origin: &impl Fn(&[&str]) -> Origin) {
    let mut all: Vec<([&str; 2], Address)> =
        config.proxy.listen.iter().map(|address| (["proxy", "listen"], address.clone())).collect();
    if let AdminListen(Some(address)) = &config.admin.listen {
        all.push((["admin", "listen"], address.clone()));
    }
    all.extend(config.agent_check.listen.iter().map(|address| (["agent_check", "listen"], address.clone())));
    if let ControlSocket::Path(path) = &config.control.socket {
        all.push((["control", "socket"], Address::Unix(path.clone())));
    }
    for (index, (path, address)) in all.iter().enumerate() {
        let name = path.join(".");
        if matches!(address, Address::Unix(socket) if is_too_long(socket)) {
            let message =
                format!("`{name}` must be a path of at most {LONGEST_PATH} bytes: the system takes no longer one");
            problems.add(&origin(path), message);
        }
        let same =
            all[..index].iter().find(|(other, taken)| clash(address, taken) && !is_told_elsewhere(path, other, taken));
        if let Some((other, _)) = same {
            let message = format!("`{name}` is an address at which `{}` listens already", other.join("."));
            problems.add(&origin(path), message);
        }
    }
}

/// The port of traffic and management, which the app may have too.
fn is_told_elsewhere(path: &[&str; 2], other: &[&str; 2], address: &Address) -> bool {
    path == &["admin", "listen"] && other == &["proxy", "listen"] && matches!(address, Address::Ip(_))
}

fn is_too_long(path: &Path) -> bool {
    path.as_os_str().len() > LONGEST_PATH
}

fn clash(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Ip(one), Address::Ip(other)) => {
            one.port() == other.port() && one.port() != 0 && overlap(one.ip(), other.ip())
        }
        _ => false,
    }
}

/// Whether one takes what comes to the other. What `[::]` takes of IPv4 is the machine's affair.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}
