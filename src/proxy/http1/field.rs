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
    &[("forwarded", Field::Forwarded), ("x_real_ip", Field::Shadow)],
    &[("connection", Field::Connection), ("keep-alive", Field::HopByHop)],
    &[],
    &[],
    &[],
    &[("content-length", Field::ContentLength), ("content_length", Field::Shadow)],
    &[("x-forwarded-for", Field::ForwardedFor), ("x_forwarded_for", Field::Shadow)],
    &[
        ("x-forwarded-host", Field::ForwardedHost),
        ("content-encoding", Field::ContentEncoding),
        ("x_forwarded_host", Field::Shadow),
        ("proxy-connection", Field::HopByHop),
    ],
    &[
        ("transfer-encoding", Field::TransferEncoding),
        ("x-forwarded-proto", Field::ForwardedProto),
        ("x_forwarded_proto", Field::Shadow),
        ("transfer_encoding", Field::Shadow),
    ],
    &[("proxy-authenticate", Field::HopByHop)],
    &[("proxy-authorization", Field::HopByHop)],
];

impl Field {
    /// What the name means, in any case of letters.
    pub(in crate::proxy) fn of(name: &str) -> Self {
        let candidates = KNOWN.get(name.len()).copied().unwrap_or_default();
        let found = candidates.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(Self::Other, |(_, field)| *field)
    }
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
