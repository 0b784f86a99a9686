use rustix::process::{Resource, getrlimit};

use crate::proxy::ProxySettings;

/// So many client connections have room: as many as the settings allow, or as the limit of open files lets us have with one
/// connection to the app each. What is beyond them waits in the kernel's queue, and probes, checks and reloads find a file
/// for themselves.
pub(super) fn connections(settings: &ProxySettings) -> u32 {
    let asked = settings.limits.connections;
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    asked.min(that_fit(files).max(1))
}

/// The same, with a warning where the limit of open files is by far the lower one.
pub(super) fn connections_with_a_warning(settings: &ProxySettings) -> u32 {
    let (asked, room) = (settings.limits.connections, connections(settings));
    if room < asked / 2 {
        tracing::warn!(
            asked,
            room,
            "the limit of open files has no room for so many connections: raise it, or lower limits.connections"
        );
    }
    room
}

/// What the process has open before anybody comes: sockets, pipes, what its runtimes need.
const OWN: u64 = 32;

/// Of the rest, this part is for the management port, the control socket, checks, and files that are read again; no more than
/// they can all have.
const SHARE: u64 = 8;
const MOST: u64 = 512;

fn that_fit(files: u64) -> u32 {
    let rest = files.saturating_sub(OWN);
    let both = rest - (rest / SHARE).min(MOST);
    u32::try_from(both / 2).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::that_fit;

    #[test]
    fn each_connection_may_have_one_to_the_app_and_something_is_left() {
        for (files, connections) in [(0, 0), (32, 0), (64, 14), (256, 98), (1024, 434), (65_536, 32_496)] {
            assert_eq!(that_fit(files), connections, "{files}");
        }
        assert_eq!(that_fit(u64::MAX), u32::MAX);
    }
}
