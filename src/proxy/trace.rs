use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use super::http1::{Field, Fields, trim};

/// The id of a trace, as its `traceparent` field says it (W3C Trace Context, section 3.2.2.3): 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId([u8; 32]);

/// The field that carries the trace.
pub(super) const TRACEPARENT: &str = "traceparent";

/// Version, trace id, parent id and flags with the hyphens between them; later versions may append to it.
const LENGTH: usize = 55;

impl TraceId {
    /// The trace that a request belongs to: that of its one valid `traceparent` field.
    pub(super) fn of(fields: Fields<'_, '_>) -> Option<Self> {
        let mut parents = fields.of(Field::TraceParent);
        match (parents.next(), parents.next()) {
            (Some(field), None) => Self::parse(trim(field.value)),
            _ => None,
        }
    }

    /// Reads the value of a `traceparent` field; `None` if it is not valid, and the trace must be begun anew (section 4.3).
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
        let hyphens = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
        let digits = [version, trace, parent, flags].into_iter().all(is_hex);
        // Version 00 ends here; a later one may go on, behind one more hyphen; ff is none.
        let ends = if version == b"00" { rest.is_empty() } else { rest.is_empty() || rest[0] == b'-' };
        let is_zero = |id: &[u8]| id.iter().all(|byte| *byte == b'0');
        let valid = hyphens && digits && ends && version != b"ff" && !is_zero(trace) && !is_zero(parent);
        if valid { trace.try_into().ok().map(Self) } else { None }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Begins traces. One for each worker.
#[derive(Debug)]
pub(super) struct Tracer(Cell<[u64; 4]>);

impl Tracer {
    /// Seeded by the system; from then on no id costs a system call.
    pub(super) fn new() -> Self {
        let mut state = [0, 1, 2, 3].map(|part: u64| RandomState::new().hash_one(part));
        // The one state that would stay as it is.
        state[0] |= 1;
        Self(Cell::new(state))
    }

    /// A new trace, and the `traceparent` value that begins it: sampled, because whoever asks to begin traces wants to
    /// see them, and an app that follows its parent would otherwise record none.
    pub(super) fn begin(&self) -> (TraceId, [u8; LENGTH]) {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-01";
        write_hex(&mut value[3..19], self.random());
        // An id of zeroes is none (sections 3.2.2.3 and 3.2.2.4).
        write_hex(&mut value[19..35], self.random() | 1);
        write_hex(&mut value[36..52], self.random() | 1);
        let mut id = [0; 32];
        id.copy_from_slice(&value[3..35]);
        (TraceId(id), value)
    }

    /// xoshiro256++, by Blackman and Vigna: equal ids are as good as impossible, and nothing here is a secret.
    fn random(&self) -> u64 {
        let mut state = self.0.get();
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        self.0.set(state);
        result
    }
}

fn write_hex(digits: &mut [u8], number: u64) {
    for (index, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * index) & 15) as usize];
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::http1::{Parsed, Room, parse_request};
    use super::{TraceId, Tracer};

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_recommendation_calls_valid_is() {
        let read = |value: &str| TraceId::parse(value.as_bytes()).map(|id| String::from_utf8_lossy(&id.0).into_owned());
        let id = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
        assert_eq!(read(VALID), id);
        assert_eq!(read(&VALID.replace("-01", "-ff")), id, "flags that nobody knows");
        assert_eq!(read(&VALID.replacen("00", "cc", 1)), id, "a version that nobody knows");
        assert_eq!(read(&(VALID.replacen("00", "01", 1) + "-what-comes-later")), id);
        for invalid in [
            String::new(),
            VALID[..54].to_owned(),
            format!("{VALID}0"),
            format!("{VALID}-more"),
            VALID.replacen("00", "ff", 1),
            VALID.replacen("00", "01", 1) + "x",
            VALID.replacen('-', "_", 1),
            VALID.to_uppercase(),
            VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            VALID.replace("4bf9", "4bg9"),
            VALID.replace("-01", "-0x"),
            format!("{VALID}, {VALID}"),
            "é".repeat(28),
        ] {
            assert_eq!(read(&invalid), None, "{invalid}");
        }
    }

    #[test]
    fn one_field_and_no_more() {
        let has_trace = |names: &[&str]| {
            let fields: String = names.iter().map(|name| format!("{name}: {VALID}\r\n")).collect();
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let mut room = Room::new();
            let Ok(Parsed::Complete(head, _)) = parse_request(head.as_bytes(), &mut room) else { panic!("valid") };
            TraceId::of(head.fields).is_some()
        };
        assert!(has_trace(&["a", "TraceParent"]));
        assert!(!has_trace(&["traceparent", "traceparent"]));
        assert!(!has_trace(&["tracestate"]));
    }

    #[test]
    fn every_trace_that_is_begun_is_valid_and_new() {
        let tracers = [Tracer::new(), Tracer::new()];
        let mut seen = BTreeSet::new();
        for tracer in &tracers {
            for _ in 0..10_000 {
                let (id, value) = tracer.begin();
                assert_eq!(TraceId::parse(&value), Some(id));
                assert!(seen.insert(value[..52].to_vec()));
            }
        }
    }
}
