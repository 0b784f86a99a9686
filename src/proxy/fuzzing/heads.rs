use super::super::http1::{Framing, Malformed, Parsed, Room, parse_request, parse_response};
use super::choice;
use super::plain::{Plain, lossy, only_length};

/// What [`request_head`] compares between readings.
fn request(bytes: &[u8]) -> Result<Option<(usize, String)>, Malformed> {
    let mut fields = Room::new();
    match parse_request(bytes, &mut fields)? {
        Parsed::Complete(head, length) => Ok(Some((length, format!("{head:?}")))),
        Parsed::Partial => Ok(None),
    }
}

fn response(bytes: &[u8], to_head: bool) -> Result<Option<(usize, String)>, Malformed> {
    let mut fields = Room::new();
    match parse_response(bytes, &mut fields, to_head)? {
        Parsed::Complete(head, length) => Ok(Some((length, format!("{head:?}")))),
        Parsed::Partial => Ok(None),
    }
}

/// A head ends at the same byte whatever follows it, and is never complete before.
fn ends_where_it_ends(bytes: &[u8], read: impl Fn(&[u8]) -> Result<Option<(usize, String)>, Malformed>) {
    let Ok(Some((length, whole))) = read(bytes) else { return };
    assert_eq!(read(&bytes[..length]), Ok(Some((length, whole))), "what follows a head changes it");
    for cut in [1, 2, 3, 5, length / 2, length - 1].into_iter().filter(|cut| *cut < length) {
        assert_eq!(read(&bytes[..length - cut]), Ok(None), "{cut} bytes short of its end, a head is something else");
    }
}

/// Any bytes where a request is expected.
pub fn request_head(data: &[u8]) {
    ends_where_it_ends(data, request);
    let mut fields = Room::new();
    let Ok(Parsed::Complete(head, length)) = parse_request(data, &mut fields) else { return };
    // Empty lines before a request are no part of it (RFC 9112 section 2.2).
    let mut text = &data[..length];
    while let [b'\r', b'\n', rest @ ..] = text {
        text = rest;
    }
    let plain = Plain::read(text);
    let words: Vec<&[u8]> = plain.first.split(|byte| *byte == b' ').collect();
    assert_eq!(words.len(), 3, "{:?} has not three words", lossy(plain.first));
    assert_eq!(words[0], head.method.as_bytes());
    assert_eq!(words[2], if head.is_http10 { b"HTTP/1.0" } else { b"HTTP/1.1" });
    assert!(words[1].ends_with(head.target.path_and_query.as_bytes()) || head.target.path_and_query.len() == 1);
    assert!(head.target.path_and_query.bytes().all(|byte| byte.is_ascii_graphic()));

    assert_eq!(plain.fields.len(), head.fields.all.len());
    for ((name, value), field) in plain.fields.iter().zip(head.fields.all) {
        assert_eq!((*name, *value), (field.name.as_bytes(), super::plain::stripped(field.value)));
    }
    let hosts = plain.all("host");
    assert!(hosts.len() == 1 || (hosts.is_empty() && head.is_http10), "{} hosts", hosts.len());
    assert!(!hosts.iter().any(|host| host.contains(&b'@') || host.contains(&b'/') || host.contains(&b' ')));

    let codings = plain.all("transfer-encoding");
    let expected = match (only_length(&plain), codings.as_slice()) {
        (None | Some(0), []) => Framing::Empty,
        (Some(length), []) => Framing::Length(length),
        (None, [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !head.is_http10 => Framing::Chunked,
        other => panic!("{other:?} has no one reading"),
    };
    assert_eq!(head.framing, expected);
    let options = plain.listed("connection");
    let says = |option: &[u8]| options.iter().any(|listed| listed == option);
    assert_eq!(head.keep_alive, !says(b"close") && (!head.is_http10 || says(b"keep-alive")));
    if head.websocket {
        assert!(says(b"upgrade") && plain.listed("upgrade").contains(&b"websocket".to_vec()));
        assert_eq!((head.framing, head.method, head.is_http10), (Framing::Empty, "GET", false));
    }
}

/// Any bytes where an answer is expected; the first byte says to what it is one.
pub fn response_head(data: &[u8]) {
    let (flags, data) = choice(data);
    let to_head = flags & 1 == 1;
    ends_where_it_ends(data, |bytes| response(bytes, to_head));
    let mut fields = Room::new();
    let Ok(Parsed::Complete(head, length)) = parse_response(data, &mut fields, to_head) else { return };
    let plain = Plain::read(&data[..length]);
    let is_http10 = plain.first.starts_with(b"HTTP/1.0 ");
    assert!(is_http10 || plain.first.starts_with(b"HTTP/1.1 "), "{:?}", lossy(plain.first));
    let code = format!(" {:03}", head.code);
    assert!(plain.first[8..].starts_with(code.as_bytes()) && (100..=599).contains(&head.code));
    assert!(plain.first.len() == 12 || plain.first[12] == b' ', "{:?}", lossy(plain.first));
    assert_eq!(plain.fields.len(), head.fields.all.len());

    let codings = plain.all("transfer-encoding");
    let length = only_length(&plain);
    let bodiless = to_head || head.code < 200 || matches!(head.code, 204 | 304);
    let expected = match (length, codings.as_slice()) {
        (_, []) if bodiless => Framing::Empty,
        (Some(0), []) => Framing::Empty,
        (Some(length), []) => Framing::Length(length),
        (None, []) => Framing::UntilClose,
        (None, [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !is_http10 => {
            if bodiless {
                Framing::Empty
            } else {
                Framing::Chunked
            }
        }
        other => panic!("{other:?} has no one reading"),
    };
    assert_eq!(head.framing, expected);
    let options = plain.listed("connection");
    let says = |option: &[u8]| options.iter().any(|listed| listed == option);
    let keep = !says(b"close") && (!is_http10 || says(b"keep-alive"));
    // An app that sends a body after all, where there is none, must not have it taken for the next answer.
    let doubtful = (head.code < 200 || matches!(head.code, 204 | 304)) && (length > Some(0) || !codings.is_empty());
    assert_eq!(head.keep_alive, keep && expected != Framing::UntilClose && !doubtful);
}
