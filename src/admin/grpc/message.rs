use bytes::{BufMut as _, Bytes, BytesMut};

/// `HealthCheckResponse.ServingStatus`, but for UNKNOWN, which is never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServingStatus {
    /// SERVING: healthy or degraded.
    Up = 1,
    /// NOT_SERVING: anything else, as what is not known is not green.
    Down = 2,
    /// SERVICE_UNKNOWN: told to who watches something that there is not, or not yet.
    Missing = 3,
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    /// It is compressed, which nobody has asked for.
    Compressed,
    /// It is not one whole message.
    Malformed,
}

/// What stands before a message: whether it is compressed, and its length (gRPC over HTTP/2).
pub(super) const PREFIX: usize = 5;

/// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// `HealthCheckRequest.service`, a text in field 1; what else is there is of a later version, and ignored.
pub(super) fn read_service(body: &[u8]) -> Result<String, ReadError> {
    let (prefix, message) = body.split_at_checked(PREFIX).ok_or(ReadError::Malformed)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    match prefix[0] {
        0 if usize::try_from(length) == Ok(message.len()) => {}
        1 => return Err(ReadError::Compressed),
        _ => return Err(ReadError::Malformed),
    }
    let mut rest = Fields(message);
    let mut service = "";
    while !rest.0.is_empty() {
        if let Some(bytes) = rest.field(1).ok_or(ReadError::Malformed)? {
            service = std::str::from_utf8(bytes).map_err(|_| ReadError::Malformed)?;
        }
    }
    Ok(service.to_owned())
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Takes one field off; its bytes, if it is the wanted one and made of such.
    fn field(&mut self, wanted: u64) -> Option<Option<&'a [u8]>> {
        let tag = self.varint()?;
        let skipped = match tag & 7 {
            VARINT => {
                self.varint()?;
                return (tag >> 3 != 0).then_some(None);
            }
            FIXED64 => 8,
            LENGTH => usize::try_from(self.varint()?).ok()?,
            FIXED32 => 4,
            _ => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(skipped)?;
        self.0 = rest;
        let is_wanted = tag >> 3 == wanted && tag & 7 == LENGTH;
        (tag >> 3 != 0).then_some(is_wanted.then_some(bytes))
    }

    /// At most ten bytes, as every reader of protobuf has it.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// `HealthCheckResponse`, with its prefix.
pub(super) fn write_serving(serving: ServingStatus) -> Bytes {
    let mut message = BytesMut::new();
    put_serving(&mut message, serving);
    prefixed(&message)
}

/// `HealthListResponse`, with its prefix: a map from names to responses, each entry a message of its own.
pub(super) fn write_list<'a>(statuses: impl Iterator<Item = (&'a str, ServingStatus)>) -> Bytes {
    let mut message = BytesMut::new();
    for (name, serving) in statuses {
        let (mut value, mut entry) = (BytesMut::new(), BytesMut::new());
        put_serving(&mut value, serving);
        put_bytes(&mut entry, 1, name.as_bytes());
        put_bytes(&mut entry, 2, &value);
        put_bytes(&mut message, 1, &entry);
    }
    prefixed(&message)
}

fn put_serving(message: &mut BytesMut, serving: ServingStatus) {
    message.put_slice(&[1 << 3, serving as u8]);
}

fn put_bytes(message: &mut BytesMut, field: u8, bytes: &[u8]) {
    message.put_u8(field << 3 | LENGTH as u8);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.put_u8(length as u8);
    message.put_slice(bytes);
}

fn prefixed(message: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(PREFIX + message.len());
    whole.put_u8(0);
    // Lists have a bound far below this.
    whole.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    whole.put_slice(message);
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ReadError, ServingStatus, read_service, write_list, write_serving};

    fn read(message: &[u8]) -> Result<String, ReadError> {
        read_service(&[&[0, 0, 0, 0, message.len() as u8], message].concat())
    }

    #[test]
    fn a_request_is_a_name_among_fields_that_may_come() {
        for (message, service) in [
            (&b""[..], ""),
            (b"\x0a\x00", ""),
            (b"\x0a\x02db", "db"),
            (b"\x0a\x01a\x0a\x02db", "db"),
            (b"\x10\x96\x01\x0a\x02db\x19\x01\x02\x03\x04\x05\x06\x07\x08\x25\x01\x02\x03\x04\x2a\x01x", "db"),
            // Field 1 of another type is some other field.
            (b"\x08\x01\x0a\x02db", "db"),
            (b"\x8a\x00\x02db", "db"),
        ] {
            assert_eq!(read(message).as_deref(), Ok(service), "{message:?}");
        }
        for message in [
            &b"\x0a"[..],
            b"\x0a\x03db",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\x01\xff",
            b"\x0b",
            b"\x0c",
            b"\x0f",
            b"\x00\x00",
            b"\x02\x00",
            b"\x10",
            b"\x10\x80",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x19\x01",
            b"\x25\x01",
        ] {
            assert_eq!(read(message), Err(ReadError::Malformed), "{message:?}");
        }
        for (body, error) in [
            (&b""[..], ReadError::Malformed),
            (b"\0\0\0\0", ReadError::Malformed),
            (b"\0\0\0\0\x01", ReadError::Malformed),
            (b"\0\0\0\0\0x", ReadError::Malformed),
            (b"\0\0\0\0\0\0\0\0\0\0", ReadError::Malformed),
            (b"\x02\0\0\0\0", ReadError::Malformed),
            (b"\x01\0\0\0\0", ReadError::Compressed),
        ] {
            assert_eq!(read_service(body), Err(error), "{body:?}");
        }
    }

    #[test]
    fn answers_are_written_as_protobuf_has_them() {
        assert_eq!(write_serving(ServingStatus::Up), &b"\0\0\0\0\x02\x08\x01"[..]);
        assert_eq!(write_serving(ServingStatus::Missing), &b"\0\0\0\0\x02\x08\x03"[..]);
        let list = write_list([("", ServingStatus::Up), ("db", ServingStatus::Down)].into_iter());
        assert_eq!(list, &b"\0\0\0\0\x12\x0a\x06\x0a\x00\x12\x02\x08\x01\x0a\x08\x0a\x02db\x12\x02\x08\x02"[..]);
        let long = "x".repeat(300);
        let list = write_list([(&*long, ServingStatus::Up)].into_iter());
        assert_eq!(&list[..11], b"\0\0\0\x01\x36\x0a\xb3\x02\x0a\xac\x02");
    }

    proptest! {
        #[test]
        fn no_request_is_too_strange(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_service(&body);
            let _ = read(&body);
        }
    }
}
