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
    /// Concerns one connection only: dropped both ways (RFC 9110 section 7.6.1).
    HopByHop,
    /// Would be taken for one of ours by an app's gateway interface, which turns `-` into `_`: dropped.
    Shadow,
    Other,
}

/// The names by length: one comparison for most fields, none for many.
const KNOWN: [&[(&str, Field)]; 20] = [
    &[],
    &[],
    &[("te", Field::Te)],
    &[("via", Field::Via)],
    &[("host", Field::Host), ("date", Field::Date)],
    &[],
    &[],
    &[("upgrade", Field::Upgrade)],
    &[],
    &[("forwarded", Field::Forwarded), ("x-real-ip", Field::RealIp)],
    &[("connection", Field::Connection), ("keep-alive", Field::HopByHop)],
    &[],
    &[],
    &[],
    &[("content-length", Field::ContentLength)],
    &[("x-forwarded-for", Field::ForwardedFor)],
    &[
        ("x-forwarded-host", Field::ForwardedHost),
        ("content-encoding", Field::ContentEncoding),
        ("proxy-connection", Field::HopByHop),
    ],
    &[("transfer-encoding", Field::TransferEncoding), ("x-forwarded-proto", Field::ForwardedProto)],
    &[("proxy-authenticate", Field::HopByHop)],
    &[("proxy-authorization", Field::HopByHop)],
];

impl Field {
    /// What the name means, in any case of letters.
    pub(in crate::proxy) fn of(name: &str) -> Self {
        let candidates = KNOWN.get(name.len()).copied().unwrap_or_default();
        let found = candidates.iter().find_map(|(known, field)| match spelling(known, name) {
            Spelling::Exact => Some(*field),
            Spelling::Underscored => Some(Self::Shadow),
            Spelling::Other => None,
        });
        found.unwrap_or(Self::Other)
    }
}

/// How a name relates to a known one of the same length.
enum Spelling {
    Exact,
    /// The same, but for underscores where the known one has hyphens.
    Underscored,
    Other,
}

fn spelling(known: &str, name: &str) -> Spelling {
    let mut spelling = Spelling::Exact;
    for (known, byte) in known.bytes().zip(name.bytes()) {
        match byte.to_ascii_lowercase() {
            byte if byte == known => {}
            b'_' if known == b'-' => spelling = Spelling::Underscored,
            _ => return Spelling::Other,
        }
    }
    spelling
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
    use super::{Field, KNOWN, trim};

    #[test]
    fn every_known_name_stands_at_its_length() {
        for (length, names) in KNOWN.iter().enumerate() {
            for (name, field) in *names {
                assert_eq!(name.len(), length, "{name}");
                assert_eq!(Field::of(&name.to_uppercase()), *field);
            }
        }
        assert_eq!(Field::of("X_Forwarded-For"), Field::Shadow);
        assert_eq!(Field::of("content_length"), Field::Shadow);
        assert_eq!(Field::of("x-request-id"), Field::Other);
        assert_eq!(Field::of(&"x".repeat(5000)), Field::Other);
    }

    #[test]
    fn white_space_around_values_goes() {
        assert_eq!(trim(b" \t a b\t"), b"a b");
        assert_eq!(trim(b"  "), b"");
        assert_eq!(trim(b""), b"");
    }
}
