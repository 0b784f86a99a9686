use std::net::IpAddr;

use super::forwarded::{Forwarded, address, told_client};
use super::http1::{Field, trim};
use super::lines::write_field;

/// What earlier proxies told of the client, to be told on by a trusted peer.
#[derive(Default)]
pub(super) struct Told {
    for_: Vec<u8>,
    forwarded: Vec<u8>,
    proto: Option<Vec<u8>>,
    host: bool,
}

impl Told {
    /// Takes in one more field; tells whether it is passed on as it is.
    pub(super) fn take(&mut self, kind: Field, value: &[u8]) -> bool {
        match kind {
            Field::ForwardedFor => add_to_list(&mut self.for_, value),
            Field::Forwarded => add_to_list(&mut self.forwarded, value),
            Field::ForwardedProto => {
                self.proto.get_or_insert_with(|| value.to_vec());
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

    /// Writes who the client is, after what earlier proxies told of it; tells its address. Where they told it in one family of
    /// fields only, the other says the same (RFC 7239 section 7.4): an app may read either, and must not find two truths.
    pub(super) fn write(self, out: &mut Vec<u8>, forwarded: &Forwarded, host: &[u8]) -> Option<IpAddr> {
        let Self { mut for_, forwarded: mut elements, proto, host: has_host } = self;
        let mut client = forwarded.arrival.peer;
        let mut told_host = None;
        if for_.is_empty() && elements.is_empty() && proto.is_none() {
            out.extend_from_slice(forwarded.whole());
        } else {
            client = told_client(&for_, &elements).or(client);
            let first = Element::first(&elements);
            let told_proto = proto.as_deref().or(first.proto).map(<[u8]>::to_vec);
            told_host = first.host.filter(|_| for_.is_empty()).map(<[u8]>::to_vec);
            match (for_.is_empty(), elements.is_empty()) {
                (false, true) => {
                    elements = elements_of(&for_, told_proto.as_deref());
                    add_to_list(&mut elements, forwarded.node());
                }
                (true, true) => add_to_list(&mut elements, &with_proto(forwarded.node(), told_proto.as_deref())),
                (is_empty, false) => {
                    for_ = if is_empty { addresses_of(&elements) } else { for_ };
                    add_to_list(&mut elements, forwarded.element());
                }
            }
            add_to_list(&mut for_, forwarded.address());
            write_field(out, "X-Forwarded-For", &for_);
            write_field(out, "Forwarded", &elements);
            if proto.is_none() {
                let scheme = forwarded.arrival.scheme().as_bytes();
                write_field(out, "X-Forwarded-Proto", told_proto.as_deref().unwrap_or(scheme));
            }
        }
        if !has_host {
            write_field(out, "X-Forwarded-Host", told_host.as_deref().unwrap_or(host));
        }
        client
    }
}

/// What the first proxy told of the client's own request.
#[derive(Default)]
struct Element<'a> {
    proto: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl<'a> Element<'a> {
    fn first(forwarded: &'a [u8]) -> Self {
        let first = forwarded.split(|byte| *byte == b',').next().unwrap_or_default();
        Self { proto: parameter(first, b"proto").filter(|proto| is_scheme(proto)), host: parameter(first, b"host") }
    }
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

/// The list of `X-Forwarded-For` as elements of `Forwarded`; the first had the scheme that is told.
fn elements_of(for_: &[u8], proto: Option<&[u8]>) -> Vec<u8> {
    let mut elements = Vec::new();
    let nodes = for_.split(|byte| *byte == b',').map(trim).filter(|node| !node.is_empty());
    for (at, node) in nodes.enumerate() {
        let node = match std::str::from_utf8(node).ok().and_then(address) {
            Some(IpAddr::V4(address)) => format!("for={address}"),
            Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
            None => "for=unknown".to_owned(),
        };
        let element = with_proto(node.as_bytes(), proto.filter(|_| at == 0));
        add_to_list(&mut elements, &element);
    }
    elements
}

/// The elements of `Forwarded` as the list of `X-Forwarded-For`.
fn addresses_of(elements: &[u8]) -> Vec<u8> {
    let mut for_ = Vec::new();
    for element in elements.split(|byte| *byte == b',') {
        let node = parameter(element, b"for").and_then(|node| std::str::from_utf8(node).ok());
        if let Some(node) = node {
            let node = address(node).map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            add_to_list(&mut for_, node.as_bytes());
        }
    }
    for_
}

fn with_proto(node: &[u8], proto: Option<&[u8]>) -> Vec<u8> {
    let proto = proto.filter(|proto| is_scheme(proto));
    proto.map_or_else(|| node.to_vec(), |proto| [node, b";proto=", proto].concat())
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
