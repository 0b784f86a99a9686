//! The PROXY protocol, versions 1 and 2: a load balancer says whom it speaks for, before anything else. Strict and bounded;
//! no I/O.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What some bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// All of it belongs to a header that is not complete.
    Partial,
    /// So many bytes are the header. The client's address, or `None` if the balancer speaks for itself or does not know.
    Complete(usize, Option<IpAddr>),
}

/// Why some bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// Something else.
    Absent,
    /// A header that breaks the rules.
    Malformed,
    /// A header that is longer than its version allows, or than anybody needs.
    TooLong,
}

impl fmt::Display for NoHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "a trusted peer sent no PROXY header",
            Self::Malformed => "the PROXY header is malformed",
            Self::TooLong => "the PROXY header is too long",
        })
    }
}

impl std::error::Error for NoHeader {}

/// A header of version 1 with its CRLF is never longer.
const LONGEST_V1: usize = 107;

/// Addresses and additional fields of version 2 may take 65,535 bytes; balancers send a few hundred.
const LONGEST_V2: usize = 4096;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const FIXED_V2: usize = 16;

/// Reads a header from the beginning of some bytes.
///
/// # Errors
/// There is none, or one that breaks the rules.
pub fn parse(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    if is_begun(bytes, V2) {
        return parse_v2(bytes);
    }
    if is_begun(bytes, V1) {
        return parse_v1(bytes);
    }
    Err(NoHeader::Absent)
}

/// Whether bytes begin with these, or with as many of these as there are.
fn is_begun(bytes: &[u8], with: &[u8]) -> bool {
    let length = bytes.len().min(with.len());
    bytes[..length] == with[..length]
}

/// Whether a header says that the balancer speaks for itself, as in a health check of its own.
pub(super) fn is_local(header: &[u8]) -> bool {
    const LOCAL: u8 = 0x20;
    header.starts_with(V2) && header.get(V2.len()) == Some(&LOCAL)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    let line = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if bytes.len() < LONGEST_V1 { Ok(Parsed::Partial) } else { Err(NoHeader::TooLong) };
    };
    let line = std::str::from_utf8(&line[..end]).ok().and_then(|line| line.strip_suffix('\r'));
    let line = line.filter(|line| !line.contains('\r')).ok_or(NoHeader::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let source = match words.next() {
        // What comes after it means nothing.
        Some("UNKNOWN") => return Ok(Parsed::Complete(end + 1, None)),
        Some("TCP4") => addresses::<Ipv4Addr>(&mut words)?.into(),
        Some("TCP6") => addresses::<Ipv6Addr>(&mut words)?.into(),
        _ => return Err(NoHeader::Malformed),
    };
    if words.next().is_some() {
        return Err(NoHeader::Malformed);
    }
    Ok(Parsed::Complete(end + 1, Some(IpAddr::to_canonical(&source))))
}

/// Two addresses and two ports; the first address is the client's.
fn addresses<'a, A: std::str::FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Result<A, NoHeader> {
    let mut address = || words.next().and_then(|word| word.parse::<A>().ok()).ok_or(NoHeader::Malformed);
    let source = address()?;
    address()?;
    for _ in 0..2 {
        let port = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.filter(|word| *word == "0" || !word.starts_with('0'));
        port.and_then(|word| word.parse::<u16>().ok()).ok_or(NoHeader::Malformed)?;
    }
    Ok(source)
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_V2>() else {
        return Ok(Parsed::Partial);
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_V2 {
        return Err(NoHeader::TooLong);
    }
    // Version 2; LOCAL or PROXY. A stream is all that HTTP is spoken over here.
    let needed = match (command, family) {
        (0x20, _) | (0x21, 0x00) => 0,
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        (0x21, 0x31) => 216,
        _ => return Err(NoHeader::Malformed),
    };
    if length < needed {
        return Err(NoHeader::Malformed);
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(Parsed::Partial);
    };
    let source = match (command, family) {
        (0x21, 0x11) => rest.first_chunk().map(|octets: &[u8; 4]| IpAddr::from(*octets)),
        (0x21, 0x21) => rest.first_chunk().map(|octets: &[u8; 16]| IpAddr::from(*octets)),
        _ => None,
    };
    Ok(Parsed::Complete(FIXED_V2 + length, source.map(|source| source.to_canonical())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{NoHeader, Parsed, V2, is_local, parse};

    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [V2, &[command, family], &length, content].concat()
    }

    #[test]
    fn headers_are_read() {
        for (header, source) in [
            (&b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"[..], Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 0\r\n", Some("2001:db8::7")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", Some("192.0.2.7")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            let source = source.map(|source| source.parse().expect("an address"));
            assert_eq!(parse(&[header, b"GET / HTTP/1.1\r\n"].concat()), Ok(Parsed::Complete(header.len(), source)));
            for length in 0..header.len() {
                assert_eq!(parse(&header[..length]), Ok(Parsed::Partial), "{length} bytes");
            }
        }
    }

    #[test]
    fn binary_headers_are_read() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 3, 4];
        let mut six = [0; 36];
        six[15] = 7;
        let with_more = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert!(is_local(&v2(0x20, 0x11, &four)) && !is_local(&v2(0x21, 0x00, b"")) && !is_local(b"PROXY UNKNOWN\r\n"));
        for (header, source) in [
            (v2(0x21, 0x11, &four), Some("192.0.2.7")),
            (v2(0x21, 0x11, &with_more), Some("192.0.2.7")),
            (v2(0x21, 0x21, &six), Some("::7")),
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x21, 0x00, &[1, 2]), None),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x11, &four), None),
        ] {
            let source = source.map(|source| source.parse().expect("an address"));
            let more = [&header[..], b"\x16\x03"].concat();
            assert_eq!(parse(&more), Ok(Parsed::Complete(header.len(), source)));
            for length in 0..header.len() {
                assert_eq!(parse(&header[..length]), Ok(Parsed::Partial), "{length} bytes");
            }
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        use NoHeader::{Absent, Malformed, TooLong};
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat();
        let huge = [V2, &[0x21, 0x11, 0xff, 0xff]].concat();
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Absent),
            (b"\x16\x03\x01", Absent),
            (b"proxy TCP4 ", Absent),
            (b"\r\n\r\nGET", Absent),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\n", Malformed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n", Malformed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 \r\n", Malformed),
            (b"PROXY TCP4  192.0.2.7 10.0.0.1 56324 443\r\n", Malformed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n", Malformed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 01 443\r\n", Malformed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n", Malformed),
            (b"PROXY TCP4 192.0.2.007 10.0.0.1 1 443\r\n", Malformed),
            (b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n", Malformed),
            (b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n", Malformed),
            (b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n", Malformed),
            (b"PROXY UNKNOWN a\rb\r\n", Malformed),
            (b"PROXY \xff\r\n", Malformed),
            (&long, TooLong),
            (&huge, TooLong),
            (&v2(0x11, 0x11, &[0; 12]), Malformed),
            (&v2(0x22, 0x11, &[0; 12]), Malformed),
            (&v2(0x21, 0x12, &[0; 12]), Malformed),
            (&v2(0x21, 0x11, &[0; 11]), Malformed),
            (&v2(0x21, 0x21, &[0; 35]), Malformed),
        ] {
            assert_eq!(parse(bytes), Err(expected), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_length_goes_past_them(
            begin in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", V2]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [begin, &bytes].concat();
            if let Ok(Parsed::Complete(length, _)) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
