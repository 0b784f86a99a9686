use super::field::{is_spelled, options};
use super::fields::{look, withdraw};
use super::request::{content_length, malformed};
use super::{Field, Fields, Framing, Malformed, Parsed, Room, has_bare_line_ends, trim};

/// An answer's head that keeps to the rules.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseHead<'h, 'b> {
    pub(in crate::proxy) code: u16,
    pub(in crate::proxy) reason: &'b str,
    pub(in crate::proxy) is_http10: bool,
    /// All of it, as it was sent.
    pub(in crate::proxy) bytes: &'b [u8],
    pub(in crate::proxy) fields: Fields<'h, 'b>,
    pub(in crate::proxy) framing: Framing,
    /// Whether the app will keep the connection.
    pub(in crate::proxy) keep_alive: bool,
    /// Whether `Connection` names fields that concern this connection only.
    pub(in crate::proxy) names_fields: bool,
    /// Whether the body is in a coding that we do not read.
    pub(in crate::proxy) is_encoded: bool,
}

/// Reads an answer's head from the beginning of some bytes; the request's method decides whether there is a body.
pub(in crate::proxy) fn parse_response<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
    to_head: bool,
) -> Result<Parsed<ResponseHead<'h, 'b>>, Malformed> {
    // httparse would skip empty lines, which nobody sends before an answer: they are left over from another one.
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(Malformed::StatusLine);
    }
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut room.fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::Status | httparse::Error::Token) => return Err(Malformed::StatusLine),
        Err(error) => return Err(malformed(error)),
    };
    if has_bare_line_ends(&bytes[..length]) {
        return Err(Malformed::BareLineEnd);
    }
    let (Some(code @ 100..=599), Some(version)) = (response.code, response.version) else {
        return Err(Malformed::StatusLine);
    };
    let mut length_field = None;
    let mut chunked = false;
    let (mut close, mut keep, mut names_fields, mut is_encoded) = (false, false, false, false);
    let present = look(response.headers, &mut room.kinds, |kind, field| {
        match kind {
            Field::ContentLength if length_field.replace(content_length(field.value)?).is_some() => {
                return Err(Malformed::ContentLength);
            }
            Field::TransferEncoding => {
                if chunked || !is_spelled(trim(field.value), b"chunked") {
                    return Err(Malformed::TransferEncoding);
                }
                chunked = true;
            }
            Field::Connection => {
                for token in options(field.value) {
                    if is_spelled(token, b"close") {
                        close = true;
                    } else if is_spelled(token, b"keep-alive") {
                        keep = true;
                    } else {
                        names_fields = true;
                    }
                }
            }
            Field::ContentEncoding => {
                let coding = trim(field.value);
                is_encoded |= !coding.is_empty() && !is_spelled(coding, b"identity");
            }
            _ => {}
        }
        Ok(())
    })?;
    if names_fields {
        withdraw(response.headers, &mut room.kinds)?;
    }
    let fields = Fields::of_kinds(response.headers, &room.kinds, present);
    let framing = framing_of(code, length_field, chunked, to_head, version == 0)?;
    // A length that an answer without a body must not have (RFC 9110 section 8.6, RFC 9112 section 6.1), or one that says
    // what another answer would have: an app that sends that body after all must not have it taken for the next answer.
    let doubtful = matches!(code, 100..=199 | 204 | 304) && (chunked || length_field.is_some_and(|length| length > 0));
    let keep_alive = framing != Framing::UntilClose && !doubtful && if version == 0 { keep && !close } else { !close };
    let head = ResponseHead {
        code,
        reason: response.reason.unwrap_or_default(),
        is_http10: version == 0,
        bytes: &bytes[..length],
        fields,
        framing,
        keep_alive,
        names_fields,
        is_encoded,
    };
    Ok(Parsed::Complete(head, length))
}

/// RFC 9112 section 6.3.
fn framing_of(
    code: u16,
    length: Option<u64>,
    chunked: bool,
    to_head: bool,
    is_http10: bool,
) -> Result<Framing, Malformed> {
    Ok(match (code, length, chunked) {
        (_, Some(_), true) => return Err(Malformed::TwoLengths),
        (_, _, true) if is_http10 => return Err(Malformed::ChunkedHttp10),
        (100..=199 | 204 | 304, ..) => Framing::Empty,
        _ if to_head => Framing::Empty,
        (_, _, true) => Framing::Chunked,
        (_, Some(0), _) => Framing::Empty,
        (_, Some(length), _) => Framing::Length(length),
        (_, None, _) => Framing::UntilClose,
    })
}

#[cfg(test)]
mod tests {
    use super::{Framing, Malformed, Parsed, parse_response};

    fn parse(head: &str, to_head: bool) -> Result<(u16, Framing, bool), Malformed> {
        let mut fields = super::Room::new();
        match parse_response(head.as_bytes(), &mut fields, to_head)? {
            Parsed::Complete(head, _) => Ok((head.code, head.framing, head.keep_alive)),
            Parsed::Partial => panic!("partial: {head:?}"),
        }
    }

    #[test]
    fn the_length_of_an_answer_follows_the_rfc() {
        let found = |head: &str| parse(head, false).expect("valid");
        assert_eq!(found("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), (200, Framing::Length(3), true));
        assert_eq!(found("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), (200, Framing::Chunked, true));
        assert_eq!(found("HTTP/1.1 200 OK\r\n\r\n"), (200, Framing::UntilClose, false));
        assert_eq!(found("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n"), (204, Framing::Empty, false));
        assert_eq!(found("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"), (304, Framing::Empty, false));
        assert_eq!(found("HTTP/1.1 304 Not Modified\r\n\r\n"), (304, Framing::Empty, true));
        assert_eq!(found("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n"), (200, Framing::Length(3), false));
        assert_eq!(
            found("HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            (200, Framing::Empty, false)
        );
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true), Ok((200, Framing::Empty, true)));
    }

    #[test]
    fn an_answer_is_encoded_if_a_coding_says_so() {
        let encoded = |fields: &str| {
            let (head, mut room) = (format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), super::Room::new());
            match parse_response(head.as_bytes(), &mut room, false) {
                Ok(Parsed::Complete(head, _)) => head.is_encoded,
                other => panic!("{other:?}"),
            }
        };
        for plain in ["", "Content-Encoding:\r\n", "Content-Encoding: Identity\r\n"] {
            assert!(!encoded(plain), "{plain:?}");
        }
        for coded in ["Content-Encoding: gzip\r\n", "Content-Encoding: br\r\nContent-Encoding: identity\r\n"] {
            assert!(encoded(coded), "{coded:?}");
        }
    }

    #[test]
    fn an_app_is_held_to_the_same_rules() {
        for (head, expected) in [
            ("HTTP/1.1 99 X\r\n\r\n", Malformed::StatusLine),
            ("HTTP/1.1 099 X\r\n\r\n", Malformed::StatusLine),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", Malformed::StatusLine),
            ("HTTP/1.1 600 X\r\n\r\n", Malformed::StatusLine),
            ("SSH-2.0-OpenSSH\r\n\r\n", Malformed::Version),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Malformed::ContentLength),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::TwoLengths),
            ("HTTP/1.1 200 OK\nContent-Length: 1\n\n", Malformed::BareLineEnd),
            ("HTTP/1.1 200 OK\r\nA : 1\r\n\r\n", Malformed::FieldName),
        ] {
            assert_eq!(parse(head, false), Err(expected), "{head:?}");
        }
    }
}
