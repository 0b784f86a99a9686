use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;

use super::forwarded::{Forwarded, address, told_client};
use super::http1::{Field, trim};
use super::lines::write_field;

/// What earlier proxies told of the client, to be told on by a trusted peer.
#[derive(Default)]
pub(super) struct Told<'b> {
    for_: Vec<u8>,
    forwarded: Vec<u8>,
    proto: Option<&'b [u8]>,
    host: bool,
}

impl<'b> Told<'b> {
    /// Takes in one more field; tells whether it is passed on as it is.
    pub(super) fn take(&mut self, kind: Field, value: &'b [u8]) -> bool {
        match kind {
            Field::ForwardedFor => add_to_list(&mut self.for_, value),
            Field::Forwarded => add_to_list(&mut self.forwarded, value),
            Field::ForwardedProto => {
                self.proto.get_or_insert(value);
                return true;
            }
            Field::ForwardedHost => {
                self.host = true;
                return true;
            }
            _ => return true,
        }
        false
    }

    fn is_empty(&self) -> bool {
        self.for_.is_empty() && self.forwarded.is_empty() && self.proto.is_none()
    }

    /// Writes who the client is, after what earlier proxies told of it; tells its address. Where they told it in one family of
    /// fields only, the other says the same (RFC 7239 section 7.4): an app may read either, and must not find two truths.
    pub(super) fn write(&self, out: &mut Vec<u8>, forwarded: &Forwarded, host: &[u8]) -> Option<IpAddr> {
        let mut host_told = host;
        let mut client = forwarded.arrival.peer;
        if self.is_empty() {
            out.extend_from_slice(forwarded.whole());
        } else {
            let first = self.forwarded.split(|byte| *byte == b',').next().unwrap_or_default();
            client = told_client(&self.for_, &self.forwarded).or(client);
            let proto = self.proto.or_else(|| parameter(first, b"proto")).filter(|proto| is_scheme(proto));
            self.write_addresses(out, forwarded);
            self.write_elements(out, forwarded, proto);
            if self.proto.is_none() {
                let scheme = forwarded.arrival.scheme().as_bytes();
                write_field(out, "X-Forwarded-Proto", proto.unwrap_or(scheme));
            }
            if self.for_.is_empty() {
                host_told = parameter(first, b"host").unwrap_or(host);
            }
        }
        if !self.host {
            write_field(out, "X-Forwarded-Host", host_told);
        }
        client
    }

    fn write_addresses(&self, out: &mut Vec<u8>, forwarded: &Forwarded) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if self.for_.is_empty() {
            for node in self.forwarded.split(|byte| *byte == b',').filter_map(|element| parameter(element, b"for")) {
                match address_of(node) {
                    Some(address) => write(out, format_args!("{address}, ")),
                    None => out.extend_from_slice(b"unknown, "),
                }
            }
        } else {
            out.extend_from_slice(&self.for_);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(forwarded.address());
        out.extend_from_slice(b"\r\n");
    }

    /// What is made of addresses has the scheme that was told with the first of them, which is the client's; of our own we say
    /// none then, as some programs take the last one.
    fn write_elements(&self, out: &mut Vec<u8>, forwarded: &Forwarded, proto: Option<&[u8]>) {
        out.extend_from_slice(b"Forwarded: ");
        if self.forwarded.is_empty() {
            let mut proto = proto;
            for node in self.for_.split(|byte| *byte == b',').map(trim).filter(|node| !node.is_empty()) {
                match address_of(node) {
                    Some(IpAddr::V4(address)) => write(out, format_args!("for={address}")),
                    Some(IpAddr::V6(address)) => write(out, format_args!("for=\"[{address}]\"")),
                    None => out.extend_from_slice(b"for=unknown"),
                }
                write_proto(out, proto.take());
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(forwarded.node());
            write_proto(out, proto);
        } else {
            out.extend_from_slice(&self.forwarded);
            out.extend_from_slice(b", ");
            out.extend_from_slice(forwarded.element());
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn write_proto(out: &mut Vec<u8>, proto: Option<&[u8]>) {
    if let Some(proto) = proto {
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(proto);
    }
}

fn write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(text);
}

fn address_of(node: &[u8]) -> Option<IpAddr> {
    address(std::str::from_utf8(node).ok()?)
}

/// The value of a parameter of an element, without quotes (RFC 7239 section 4).
fn parameter<'a>(element: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let value = trim(&pair[equals + 1..]);
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        // One with escapes in it is nothing that anybody sends.
        let is_plain = !value.is_empty() && !value.iter().any(|byte| matches!(byte, b'"' | b'\\'));
        (is_plain && trim(&pair[..equals]).eq_ignore_ascii_case(name)).then_some(value)
    })
}

/// RFC 3986 section 3.1.
fn is_scheme(proto: &[u8]) -> bool {
    proto.first().is_some_and(u8::is_ascii_alphabetic)
        && proto.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn add_to_list(list: &mut Vec<u8>, value: &[u8]) {
    if !list.is_empty() && !value.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(trim(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::arrival::Arrival;

    /// The fields after what a proxy on this machine told.
    fn told(fields: &[(Field, &str)]) -> String {
        let arrival = Arrival { peer: Some([127, 0, 0, 1].into()), ..Arrival::default() };
        let forwarded = Forwarded::new(arrival, &["127.0.0.0/8".parse().expect("a network")]);
        let (mut told, mut out) = (Told::default(), Vec::new());
        for (kind, value) in fields {
            told.take(*kind, value.as_bytes());
        }
        told.write(&mut out, &forwarded, b"app");
        String::from_utf8(out).expect("text").replace("\r\n", "\n")
    }

    #[test]
    fn both_families_say_the_same_whichever_came() {
        let x = [
            (Field::ForwardedFor, "203.0.113.9, 2001:db8::7"),
            (Field::ForwardedFor, "198.51.100.1:80,_x"),
            (Field::ForwardedProto, "https"),
        ];
        assert_eq!(
            told(&x),
            "X-Forwarded-For: 203.0.113.9, 2001:db8::7, 198.51.100.1:80,_x, 127.0.0.1\n\
             Forwarded: for=203.0.113.9;proto=https, for=\"[2001:db8::7]\", for=198.51.100.1, for=unknown, for=127.0.0.1\n\
             X-Forwarded-Host: app\n"
        );
        let elements = "For=\"[2001:db8::7]:47\";Proto=https;host=\"shop.example\", for=_hidden;by=x";
        assert_eq!(
            told(&[(Field::Forwarded, elements)]),
            format!(
                "X-Forwarded-For: 2001:db8::7, unknown, 127.0.0.1\n\
                 Forwarded: {elements}, for=127.0.0.1;proto=http\n\
                 X-Forwarded-Proto: https\n\
                 X-Forwarded-Host: shop.example\n"
            )
        );
        assert_eq!(
            told(&[(Field::ForwardedProto, "https")]),
            "X-Forwarded-For: 127.0.0.1\nForwarded: for=127.0.0.1;proto=https\nX-Forwarded-Host: app\n"
        );
    }

    #[test]
    fn both_that_came_are_added_to_and_nothing_is_made_up() {
        let both = told(&[(Field::ForwardedFor, "192.0.2.1"), (Field::Forwarded, "for=192.0.2.2;proto=https")]);
        assert!(both.starts_with("X-Forwarded-For: 192.0.2.1, 127.0.0.1\n"), "{both}");
        assert!(both.contains("Forwarded: for=192.0.2.2;proto=https, for=127.0.0.1;proto=http\n"), "{both}");
        assert!(told(&[]).contains("Forwarded: for=127.0.0.1;proto=http\n"));
        // What is no scheme gets into no other field.
        let odd = told(&[(Field::ForwardedFor, "192.0.2.1"), (Field::ForwardedProto, "https, http")]);
        assert!(odd.contains("Forwarded: for=192.0.2.1, for=127.0.0.1\n"), "{odd}");
    }
}
