use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::arrival::Arrival;
use super::http1::{Field, Fields};

/// What every request of one connection is told about its client.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) arrival: Arrival,
    trusted: bool,
    /// The fields, in one piece, as each connection makes its own.
    whole: String,
    /// The parts of them that may stand in a list.
    address: Range<usize>,
    element: Range<usize>,
}

/// What those fields take at most, with an address of either kind.
const FORWARDED_V4: usize = 112;
const FORWARDED_V6: usize = 160;

impl Forwarded {
    pub(super) fn new(arrival: Arrival, trusted: &[IpNet]) -> Self {
        let (peer, scheme) = (arrival.peer, arrival.scheme());
        let is_v6 = matches!(peer, Some(IpAddr::V6(_)));
        let mut whole = String::with_capacity(if is_v6 { FORWARDED_V6 } else { FORWARDED_V4 });
        let mut add = |text: fmt::Arguments<'_>| {
            let begin = whole.len();
            // Writing to a string cannot fail.
            let _ = whole.write_fmt(text);
            begin..whole.len()
        };
        add(format_args!("X-Forwarded-For: "));
        let address = match peer {
            Some(peer) => add(format_args!("{peer}")),
            None => add(format_args!("unknown")),
        };
        add(format_args!("\r\nX-Forwarded-Proto: {scheme}\r\nForwarded: "));
        let element = match peer {
            Some(IpAddr::V6(peer)) => add(format_args!("for=\"[{peer}]\";proto={scheme}")),
            Some(IpAddr::V4(peer)) => add(format_args!("for={peer};proto={scheme}")),
            None => add(format_args!("for=unknown;proto={scheme}")),
        };
        add(format_args!("\r\n"));
        // Who can open our Unix socket is on this machine, by our own file permissions.
        let trusted = peer.is_none_or(|peer| trusted.iter().any(|net| net.contains(&peer)));
        Self { arrival, trusted, whole, address, element }
    }

    /// Whether what the peer tells of its own clients is told on.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// All fields of a client about which nothing was told before.
    pub(super) fn whole(&self) -> &[u8] {
        self.whole.as_bytes()
    }

    /// The peer's address.
    pub(super) fn address(&self) -> &[u8] {
        self.whole[self.address.clone()].as_bytes()
    }

    /// The peer as an element of `Forwarded` (RFC 7239 section 4).
    pub(super) fn element(&self) -> &[u8] {
        self.whole[self.element.clone()].as_bytes()
    }

    /// The client itself: what the nearest trusted proxy says, else the peer.
    pub(super) fn client(&self, fields: Fields<'_, '_>) -> Option<IpAddr> {
        if !self.trusted {
            return self.arrival.peer;
        }
        let told = fields.of(Field::ForwardedFor).next_back();
        told.and_then(|field| last_address(field.value)).or(self.arrival.peer)
    }
}

/// The last element of an `X-Forwarded-For` list, if it is an address.
pub(super) fn last_address(list: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(list).ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_the_longest_address_is_in_one_piece() {
        let longest = ["255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
        for (peer, room) in longest.into_iter().zip([FORWARDED_V4, FORWARDED_V6]) {
            let arrival = Arrival { peer: peer.parse().ok(), tls: true, ..Arrival::default() };
            let forwarded = Forwarded::new(arrival, &[]);
            assert!((room - 8..=room).contains(&forwarded.whole.len()), "{}", forwarded.whole.len());
        }
    }
}
