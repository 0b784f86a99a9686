use std::net::IpAddr;

use super::super::arrival::Arrival;
use super::super::forwarded::Forwarded;
use super::super::http1::{Field, Framing, MOST_FIELDS, Parsed, Room, is_end_to_end, parse_request, parse_response};
use super::super::rewrite::{delivery_of, write_request, write_response};
use super::super::via::{Version, Via};
use super::choice;
use super::plain::{Plain, only_length, stripped};

/// Our own element of `Via`.
const VIA: &str = "pulsegate-fuzz";

/// Fields that end at a proxy, whoever sent them.
const ENDS_HERE: [&str; 10] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "http2-settings",
    "proxy",
    "content_length",
    "transfer_encoding",
    "x_forwarded_for",
];

/// A request's head, as it goes on to the app. The first byte says who sent it.
pub fn rewrite_request(data: &[u8]) {
    let (flags, data) = choice(data);
    let mut fields = Room::new();
    let Ok(Parsed::Complete(head, length)) = parse_request(data, &mut fields) else { return };
    let peer: Option<IpAddr> = ["127.0.0.1", "192.0.2.7", "2001:db8::1", ""][usize::from(flags & 3)].parse().ok();
    let trusted = peer.is_none_or(|peer| peer.is_loopback());
    let arrival = Arrival { peer, tls: flags & 8 == 8, ..Arrival::default() };
    let forwarded = Forwarded::new(arrival, &["127.0.0.0/8".parse().expect("a network")]);
    let mut out = Vec::new();
    write_request(&mut out, &head, &forwarded, "app:8080", &Via::new(VIA), None);

    let mut text = &data[..length];
    while let [b'\r', b'\n', rest @ ..] = text {
        text = rest;
    }
    let (before, after) = (Plain::read(text), Plain::read(&out));
    let line = format!("{} {} HTTP/1.1", head.method, head.target.path_and_query);
    assert_eq!(after.first, line.as_bytes());
    assert_eq!(after.all("host").len(), 1, "not one Host");
    assert_eq!(only_length(&after), only_length(&before), "another length");
    let chunked = if head.framing == Framing::Chunked { 1 } else { 0 };
    assert_eq!(after.all("transfer-encoding").len(), chunked);
    for name in ENDS_HERE {
        assert!(after.all(name).is_empty(), "{name} was passed on");
    }
    let te = after.all("te");
    assert!(te.is_empty() || te == [b"trailers"]);
    // What concerns the connection to the app is named as such, and nothing else is.
    let mut options = Vec::new();
    options.extend(head.websocket.then(|| b"upgrade".to_vec()));
    options.extend((!te.is_empty()).then(|| b"te".to_vec()));
    assert_eq!(after.listed("connection"), options);
    assert_eq!(after.all("upgrade").len(), usize::from(head.websocket));
    let via = after.all("via");
    let last = via.last().expect("Via");
    assert!(last.ends_with(VIA.as_bytes()) && last.starts_with(if head.is_http10 { b"1.0 " } else { b"1.1 " }));
    assert_eq!(
        after.all("x-forwarded-host").len(),
        before.all("x-forwarded-host").len().max(1).min(after_hosts(&before, trusted))
    );
    told_of_the_client(&before, &after, trusted, arrival);
    kept_in_order(&before, &after);

    // Where it fits into what we read ourselves, we would read it the same.
    let mut fields = Room::new();
    if after.fields.len() <= MOST_FIELDS {
        let Ok(Parsed::Complete(again, length)) = parse_request(&out, &mut fields) else {
            panic!("what we write, we refuse: {:?}", String::from_utf8_lossy(&out))
        };
        assert_eq!((length, again.framing, again.method), (out.len(), head.framing, head.method));
        assert_eq!(again.target.path_and_query, head.target.path_and_query);
        assert_eq!(again.websocket, head.websocket);
    }
}

/// A stranger's are replaced by one of ours.
fn after_hosts(before: &Plain<'_>, trusted: bool) -> usize {
    if trusted { before.all("x-forwarded-host").len().max(1) } else { 1 }
}

fn told_of_the_client(before: &Plain<'_>, after: &Plain<'_>, trusted: bool, arrival: Arrival) {
    let address = arrival.peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    // What came in one of the two families is told in the other, too.
    let families = ["x-forwarded-for", "forwarded"];
    let told = families.iter().any(|name| before.all(name).iter().any(|value| !value.is_empty()));
    for name in families {
        let values = after.all(name);
        let [list] = values.as_slice() else { panic!("{name} stands there {} times", values.len()) };
        let list = String::from_utf8_lossy(list);
        assert!(list.contains(&address), "{name} does not name the peer: {list}");
        assert!((trusted && told) || !list.contains(", "), "{name} believes a stranger: {list}");
    }
    let protos = after.all("x-forwarded-proto");
    assert!(!protos.is_empty() && (trusted || protos == [arrival.scheme().as_bytes()]));
    assert!(trusted || after.all("x-real-ip").is_empty() && after.all("x-forwarded-port").is_empty());
}

/// The fields that mean nothing to a proxy arrive all, in their order and case, with their values.
fn kept_in_order(before: &Plain<'_>, after: &Plain<'_>) {
    let named = before.listed("connection");
    let is_other = |name: &[u8]| Field::of(std::str::from_utf8(name).expect("a token")) == Field::Other;
    let ends = |name: &[u8]| named.contains(&name.to_ascii_lowercase()) && !is_end_to_end(name);
    let kept = before.fields.iter().filter(|(name, _)| is_other(name) && !ends(name));
    let arrived = after.fields.iter().filter(|(name, _)| is_other(name));
    assert!(kept.map(|(name, value)| (*name, stripped(value))).eq(arrived.copied()), "fields were lost or changed");
}

/// An answer's head, as it goes on to the client. The first byte says who the client is.
pub fn rewrite_response(data: &[u8]) {
    let (flags, data) = choice(data);
    let (to_head, to_http10, close) = (flags & 1 == 1, flags & 2 == 2, flags & 4 == 4);
    let mut fields = Room::new();
    let Ok(Parsed::Complete(head, length)) = parse_response(data, &mut fields, to_head) else { return };
    let delivery = delivery_of(head.framing, to_http10, close);
    let mut out = Vec::new();
    write_response(
        &mut out,
        &head,
        delivery,
        "Thu, 01 Jan 1970 00:00:00 GMT",
        &Via::new(VIA),
        Version::of_http1(head.is_http10),
    );

    let mut text = &data[..length];
    while let [b'\r', b'\n', rest @ ..] = text {
        text = rest;
    }
    let (before, after) = (Plain::read(text), Plain::read(&out));
    assert_eq!(after.first, format!("HTTP/1.1 {:03} {}", head.code, head.reason).as_bytes());
    let bodiless = head.code < 200 || head.code == 204;
    assert_eq!(only_length(&after), only_length(&before).filter(|_| !bodiless), "another length");
    assert_eq!(after.all("transfer-encoding").len(), usize::from(delivery.chunked));
    assert!(!(delivery.chunked && (to_http10 || bodiless)), "chunks that nobody may send");
    for name in ENDS_HERE.iter().filter(|name| **name != "x_forwarded_for") {
        assert!(after.all(name).is_empty(), "{name} was passed on");
    }
    assert!(head.code < 200 || !after.all("date").is_empty());
    assert!(after.all("connection").len() <= 1);
    let unknown = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
    if head.code >= 200 && (close || (unknown && to_http10)) {
        assert_eq!(after.listed("connection"), [b"close".to_vec()]);
    }
    assert_eq!(after.all("upgrade").len(), usize::from(head.code == 101));
    kept_in_order(&before, &after);

    let mut fields = Room::new();
    if after.fields.len() <= MOST_FIELDS {
        let Ok(Parsed::Complete(again, length)) = parse_response(&out, &mut fields, to_head) else {
            panic!("what we write, we refuse: {:?}", String::from_utf8_lossy(&out))
        };
        assert_eq!((length, again.code, again.reason), (out.len(), head.code, head.reason));
        let expected = if head.framing == Framing::UntilClose && !to_http10 { Framing::Chunked } else { head.framing };
        let to_close = expected == Framing::Chunked && to_http10;
        assert_eq!(again.framing, if to_close { Framing::UntilClose } else { expected });
    }
}
