use super::number::number;

/// A host and perhaps a port: no user, no path, no white space, no list (RFC 9110 section 4.2, RFC 3986 section 3.2.2).
#[must_use]
pub fn is_host(authority: &[u8]) -> bool {
    let (host, port) = match authority.strip_prefix(b"[") {
        Some(literal) => match memchr::memchr(b']', literal).map(|end| literal.split_at(end)) {
            // An IPv6 address; no zone, which means nothing to anybody else (RFC 6874).
            Some((address, port)) => (is_ipv6(address), &port[1..]),
            None => return false,
        },
        None => {
            let colon = memchr::memchr(b':', authority);
            let (name, port) = authority.split_at(colon.unwrap_or(authority.len()));
            (is_name(name), port)
        }
    };
    host && is_port(port)
}

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A name or an IPv4 address. A comma would be one of RFC 3986, and makes two hosts of one where fields are joined.
fn is_name(name: &[u8]) -> bool {
    // All bytes at once: hardly any name escapes anything.
    if name.iter().fold(true, |all, byte| all & IN_NAMES[usize::from(*byte)]) {
        return !name.is_empty();
    }
    let mut bytes = name.iter().copied();
    while let Some(byte) = bytes.next() {
        let mut is_hex = || bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        let mut escapes = |byte: u8| byte == b'%' && is_hex() && is_hex();
        if !IN_NAMES[usize::from(byte)] && !escapes(byte) {
            return false;
        }
    }
    true
}

/// The bytes that a name may have as they are.
const IN_NAMES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < allowed.len() {
        let other = matches!(byte as u8, b'.' | b'-' | b'_' | b'~' | b'!' | b'$' | b'&'..=b'+' | b';' | b'=');
        allowed[byte] = other || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    allowed
};

/// Nothing, or a colon and perhaps a number (RFC 3986 section 3.2.3).
fn is_port(port: &[u8]) -> bool {
    let Some(digits) = port.strip_prefix(b":") else { return port.is_empty() };
    digits.is_empty() || number(digits).is_some_and(|port| u16::try_from(port).is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts_and_ports() {
        for host in [
            "a",
            "A.example",
            "a_b-c",
            "a:",
            "a:80",
            "127.0.0.1:65535",
            "[::1]",
            "[2001:db8::1]:8080",
            "%41",
            "a!$&'()*+;=",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+80",
            "a:-1",
            "a b",
            "a,b",
            "a@b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[::1%eth0]",
            "[a]",
            "a]",
            "%4",
            "%zz",
            "a\tb",
            "a\"b",
            "a<b",
            "\u{e9}",
            "[v1.x]",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
