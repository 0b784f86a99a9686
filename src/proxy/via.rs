use std::rc::Rc;

use super::lines::write_field;

/// Who passed a message on (RFC 9110 section 7.6.3): us, by a name that no other process has, so that a request that comes
/// back is known.
#[derive(Clone, Debug)]
pub(super) struct Via {
    name: Rc<[u8]>,
    /// The field for a message that came in HTTP/1.1, as nearly all do.
    line: Rc<[u8]>,
}

/// The version that a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
    Http2,
}

impl Via {
    pub(super) fn new(pseudonym: &str) -> Self {
        let mut line = Vec::new();
        write_field(&mut line, "Via", format!("1.1 {pseudonym}").as_bytes());
        Self { name: pseudonym.as_bytes().into(), line: line.into() }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, version: Version) {
        let number: &[u8] = match version {
            Version::Http11 => return out.extend_from_slice(&self.line),
            Version::Http10 => b"1.0 ",
            Version::Http2 => b"2.0 ",
        };
        for part in [b"Via: ", number, &self.name, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }

    /// Whether an element of the field names us as the one that has received the message, whatever comment follows.
    pub(super) fn is_in(&self, value: &[u8]) -> bool {
        // Nearly always there is no trace of us.
        memchr::memmem::find(value, &self.name).is_some()
            && value.split(|byte| *byte == b',').any(|element| {
                let mut words = element.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(&self.name))
            })
    }
}

impl Version {
    pub(super) fn of_http1(is_http10: bool) -> Self {
        if is_http10 { Self::Http10 } else { Self::Http11 }
    }
}
