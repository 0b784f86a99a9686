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
        let trusted = !arrival.unnamed && peer.is_none_or(|peer| trusted.iter().any(|net| net.contains(&peer)));
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

    /// The peer as an element of `Forwarded`, without the scheme.
    pub(super) fn node(&self) -> &[u8] {
        let element = self.element();
        &element[..memchr::memchr(b';', element).unwrap_or(element.len())]
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
        let last = |kind| fields.of(kind).next_back().map_or(&b""[..], |field| field.value);
        told_client(last(Field::ForwardedFor), last(Field::Forwarded)).or(self.arrival.peer)
    }
}

/// Whom the nearest proxy speaks for: the last element of `X-Forwarded-For`, else the last `for` of `Forwarded`, if that
/// is an address.
pub(super) fn told_client(forwarded_for: &[u8], forwarded: &[u8]) -> Option<IpAddr> {
    let last = |list| std::str::from_utf8(list).ok()?.rsplit(',').next();
    if !forwarded_for.is_empty() {
        return address(last(forwarded_for)?);
    }
    let pairs = last(forwarded)?.split(';').filter_map(|pair| pair.split_once('='));
    let node = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?.1;
    address(node.trim().trim_matches('"'))
}

/// An address, with brackets and a port or without: some proxies say those too.
pub(super) fn address(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    let address = match node.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        None => node.split_once(':').filter(|(_, port)| !port.contains(':')).map_or(node, |(address, _)| address),
    };
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_however_it_is_named() {
        let v4: IpAddr = [192, 0, 2, 7].into();
        let v6: IpAddr = "2001:db8::7".parse().expect("an address");
        for (forwarded_for, forwarded, client) in [
            ("10.0.0.1, 192.0.2.7", "for=10.0.0.2", Some(v4)),
            ("192.0.2.7:4711", "", Some(v4)),
            ("2001:db8::7", "", Some(v6)),
            ("[2001:db8::7]", "", Some(v6)),
            ("10.0.0.1,[2001:db8::7]:80", "", Some(v6)),
            ("unknown", "for=192.0.2.7", None),
            ("10.0.0.1, ", "", None),
            ("", "for=10.0.0.1, for=192.0.2.7;proto=https", Some(v4)),
            ("", "proto=http; FOR=\"192.0.2.7:_port\"", Some(v4)),
            ("", "for=\"[2001:db8::7]:47\"", Some(v6)),
            ("", "for=_hidden", None),
            ("", "by=192.0.2.7", None),
            ("", "for=192.0.2.7, proto=https", None),
            ("", "", None),
        ] {
            let told = told_client(forwarded_for.as_bytes(), forwarded.as_bytes());
            assert_eq!(told, client, "{forwarded_for:?} {forwarded:?}");
        }
    }

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
