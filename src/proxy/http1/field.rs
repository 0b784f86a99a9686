/// A field whose name means something to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Field {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Te,
    Upgrade,
    Via,
    Date,
    ContentEncoding,
    Forwarded,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    RealIp,
    /// What else proxies tell of a client under such a name: port, prefix, user.
    ForwardedOther,
    /// The trace that a request belongs to, and what tracing systems add to it.
    TraceParent,
    TraceState,
    /// Concerns one connection only: dropped both ways (RFC 9110 section 7.6.1).
    HopByHop,
    /// Would be taken for one of ours by an app's gateway interface, which turns `-` into `_`: dropped.
    Shadow,
    /// The same for a field that says where the body ends: refused, for who reads it so reads another message.
    FramingShadow,
    /// What the trailer will bring: passed on where a trailer is (RFC 9110 section 6.6.2).
    Trailer,
    /// Whether the client waits for leave to send its body.
    Expect,
    /// How many more proxies OPTIONS and TRACE may pass.
    MaxForwards,
    /// `Connection` says that it is for the next hop only (RFC 9110 section 7.6.1).
    Named,
    Other,
}

/// The names by length: one comparison for most fields, none for many.
const KNOWN: [&[(&str, Field)]; 26] = [
    &[],
    &[],
    &[("te", Field::Te)],
    &[("via", Field::Via)],
    &[("host", Field::Host), ("date", Field::Date)],
    // A gateway interface would make an environment variable of it that programs take for their own proxy (httpoxy).
    &[("proxy", Field::HopByHop)],
    &[("expect", Field::Expect)],
    &[("upgrade", Field::Upgrade), ("trailer", Field::Trailer)],
    &[],
    &[("forwarded", Field::Forwarded), ("x-real-ip", Field::RealIp)],
    &[("connection", Field::Connection), ("keep-alive", Field::HopByHop), ("tracestate", Field::TraceState)],
    &[("traceparent", Field::TraceParent)],
    &[("max-forwards", Field::MaxForwards)],
    &[],
    // Only before an upgrade to HTTP/2, which is not passed on (RFC 9113 section 3.1).
    &[("content-length", Field::ContentLength), ("http2-settings", Field::HopByHop)],
    &[("x-forwarded-for", Field::ForwardedFor)],
    &[
        ("x-forwarded-host", Field::ForwardedHost),
        ("content-encoding", Field::ContentEncoding),
        ("proxy-connection", Field::HopByHop),
    ],
    &[("transfer-encoding", Field::TransferEncoding), ("x-forwarded-proto", Field::ForwardedProto)],
    &[("proxy-authenticate", Field::HopByHop)],
    &[("proxy-authorization", Field::HopByHop)],
    &[],
    &[],
    &[],
    &[],
    &[],
    &[("proxy-authentication-info", Field::HopByHop)],
];

impl Field {
    /// What the name means, in any case of letters.
    pub(in crate::proxy) fn of(name: &str) -> Self {
        let candidates = KNOWN.get(name.len()).copied().unwrap_or_default();
        // Most fields of a known one's length differ in the first letter.
        let first = name.bytes().next().unwrap_or_default() | LOWER;
        let mut alike = candidates.iter().filter(|(known, _)| known.as_bytes().first() == Some(&first));
        let known = alike.find_map(|(known, field)| Self::spelled(name.as_bytes(), known.as_bytes(), *field));
        known.or_else(|| Self::told(name.as_bytes(), first)).unwrap_or(Self::Other)
    }

    /// Whatever else begins as what proxies tell of their clients.
    fn told(name: &[u8], first: u8) -> Option<Self> {
        let begin = name.get(..FORWARDED.len()).filter(|_| first == b'x')?;
        Self::spelled(begin, FORWARDED, Self::ForwardedOther)
    }

    fn spelled(name: &[u8], known: &[u8], field: Self) -> Option<Self> {
        if is_spelled(name, known) {
            return Some(field);
        }
        match (is_shadow(name, known), field) {
            (true, Self::ContentLength | Self::TransferEncoding) => Some(Self::FramingShadow),
            (true, _) => Some(Self::Shadow),
            (false, _) => None,
        }
    }
}

/// How the names begin under which proxies tell of their clients.
const FORWARDED: &[u8] = b"x-forwarded-";

/// The bit that tells small letters from large ones. All bytes of known names have it, and of what else a name or a value may
/// consist of (RFC 9110 sections 5.6.2 and 5.5), it makes none of them.
const LOWER: u8 = 0x20;

/// Whether it is the known name or option, in any case of its letters. Word by word, the last one with bytes of that before:
/// this is asked of every field of every message.
#[inline]
pub(super) fn is_spelled(name: &[u8], known: &[u8]) -> bool {
    fn is_same<const N: usize>(name: &[u8], known: &[u8], word: fn(&[u8; N]) -> u64) -> Option<bool> {
        const CASE: u64 = u64::from_ne_bytes([LOWER; 8]);
        let differ = |name: &[u8; N], known: &[u8; N]| (word(name) ^ word(known)) & !CASE;
        let end = differ(name.last_chunk()?, known.last_chunk()?);
        let words = name.as_chunks().0.iter().zip(known.as_chunks().0);
        Some(words.fold(end, |other, (name, known)| other | differ(name, known)) == 0)
    }
    name.len() == known.len()
        && is_same::<8>(name, known, |word| u64::from_ne_bytes(*word))
            .or_else(|| is_same::<4>(name, known, |word| u32::from_ne_bytes(*word).into()))
            .or_else(|| is_same::<1>(name, known, |word| word[0].into()))
            .unwrap_or(true)
}

/// Whether it is the known one, but for an underscore, or another character that CGI makes one of (RFC 3875 section
/// 4.1.18), in the place of a hyphen. Both are of the same length.
fn is_shadow(name: &[u8], known: &[u8]) -> bool {
    known
        .iter()
        .zip(name)
        .all(|(known, byte)| byte.to_ascii_lowercase() == *known || (*known == b'-' && !byte.is_ascii_alphanumeric()))
}

/// Fields that decide who asks for what, for whoever reads the message. No connection has them to itself, whatever
/// `Connection` names (RFC 9110 section 7.6.1), and in a trailer they come too late.
const END_TO_END: [&str; 10] = [
    "authorization",
    "cache-control",
    "content-range",
    "content-type",
    "cookie",
    "location",
    "origin",
    "range",
    "set-cookie",
    "x-api-key",
];

/// Whether a field is for all who read the message, and may not be taken out by whoever passes it on.
pub(in crate::proxy) fn is_end_to_end(name: &[u8]) -> bool {
    END_TO_END.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// What a value of `Connection` says.
pub(super) fn options(connection: &[u8]) -> impl Iterator<Item = &[u8]> {
    connection.split(|byte| *byte == b',').map(trim).filter(|option| !option.is_empty())
}

/// A value without the white space around it (RFC 9110 section 5.5).
pub(in crate::proxy) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::{Field, KNOWN, is_spelled, trim};

    #[test]
    fn every_known_name_stands_at_its_length() {
        for (length, names) in KNOWN.iter().enumerate() {
            for (name, field) in *names {
                assert_eq!(name.len(), length, "{name}");
                assert_eq!(Field::of(&name.to_uppercase()), *field);
            }
        }
        assert_eq!(Field::of("X_Forwarded-For"), Field::Shadow);
        assert_eq!(Field::of("X.Forwarded.For"), Field::Shadow);
        assert_eq!(Field::of("content_length"), Field::FramingShadow);
        assert_eq!(Field::of("Transfer~Encoding"), Field::FramingShadow);
        assert_eq!(Field::of("contentxlength"), Field::Other);
        assert_eq!(Field::of("X-Forwarded-Prefix"), Field::ForwardedOther);
        assert_eq!(Field::of("x-forwarded-preferred_username"), Field::ForwardedOther);
        assert_eq!(Field::of("X_Forwarded_Port"), Field::Shadow);
        assert_eq!(Field::of("x-forwarded"), Field::Other);
        assert_eq!(Field::of("x-request-id"), Field::Other);
        assert_eq!(Field::of(&"x".repeat(5000)), Field::Other);
    }

    #[test]
    fn a_name_is_spelled_by_all_of_its_bytes() {
        for known in ["", "te", "via", "host", "close", "keep-alive", "content-length", "proxy-authentication-info"] {
            let name = known.to_uppercase().into_bytes();
            assert!(is_spelled(&name, known.as_bytes()), "{known}");
            assert!(!is_spelled(format!("{known}x").as_bytes(), known.as_bytes()), "{known}");
            for at in 0..name.len() {
                let mut other = name.clone();
                other[at] ^= 1;
                assert!(!is_spelled(&other, known.as_bytes()), "{known} at {at}");
            }
        }
    }

    #[test]
    fn white_space_around_values_goes() {
        assert_eq!(trim(b" \t a b\t"), b"a b");
        assert_eq!(trim(b"  "), b"");
        assert_eq!(trim(b""), b"");
    }
}
