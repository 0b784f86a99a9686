use std::net::IpAddr;

use hyper::header::{
    CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields that concern one connection, whatever `Connection` names (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields with underscores that an app's gateway interface would take for ours: `X_Forwarded_For`.
const SHADOWS: [&str; 4] = ["x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "x_real_ip"];

/// What every request of one connection is told about its client.
#[derive(Clone, Debug)]
pub(super) struct Forwarded {
    /// The peer's address; `None` over a Unix socket.
    pub(super) peer: Option<IpAddr>,
    trusted: bool,
    address: HeaderValue,
    forwarded: HeaderValue,
}

impl Forwarded {
    pub(super) fn new(peer: Option<IpAddr>, trusted: &[IpNet]) -> Self {
        let text = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        let node = match peer {
            Some(IpAddr::V6(_)) => format!("for=\"[{text}]\";proto=http"),
            _ => format!("for={text};proto=http"),
        };
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"));
        // Who can open our Unix socket is on this machine, by our own file permissions.
        let trusted = peer.is_none_or(|peer| trusted.iter().any(|net| net.contains(&peer)));
        Self { peer, trusted, address: value(&text), forwarded: value(&node) }
    }

    /// The client itself: what the nearest trusted proxy says, else the peer.
    pub(super) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let told = headers.get_all(X_FORWARDED_FOR).iter().next_back().filter(|_| self.trusted);
        let last = told.and_then(|value| value.to_str().ok()).and_then(|list| list.rsplit(',').next());
        last.and_then(|address| address.trim().parse().ok()).or(self.peer)
    }

    /// Rewrites a request's fields for the app.
    pub(super) fn rewrite(&self, headers: &mut HeaderMap, via: &HeaderValue) {
        let wants_trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
        strip_hop_by_hop(headers);
        headers.remove(TE);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        for shadow in SHADOWS {
            headers.remove(shadow);
        }
        let host = headers.get(HOST).cloned();
        self.tell(headers, X_FORWARDED_FOR, self.address.clone());
        self.tell(headers, FORWARDED, self.forwarded.clone());
        // These say what the first proxy saw: a trusted one's word stands.
        for (name, value) in [(X_FORWARDED_PROTO, Some(HeaderValue::from_static("http"))), (X_FORWARDED_HOST, host)] {
            if let (Some(value), false) = (value, self.trusted && headers.contains_key(&name)) {
                headers.insert(name, value);
            }
        }
        headers.append(VIA, via.clone());
    }

    /// Appends to a trusted peer's list, replaces another's.
    fn tell(&self, headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
        let told = headers.get(&name).filter(|_| self.trusted);
        let Some(_) = told else {
            headers.insert(name, value);
            return;
        };
        let mut list = Vec::new();
        for part in headers.get_all(&name) {
            list.extend_from_slice(part.as_bytes());
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value.as_bytes());
        headers.insert(name, HeaderValue::from_bytes(&list).unwrap_or(value));
    }
}

/// Rewrites an answer's fields for the client.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            // A client may not have us drop what the app's routing or framing stands on.
            .filter(|name| *name != HOST && *name != hyper::header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether the request asks for a WebSocket (RFC 6455 section 4.1). No other upgrade is handled.
pub(super) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let named = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    named && has_token(headers, &CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{Forwarded, strip_hop_by_hop};

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"));
        }
        map
    }

    fn rewritten(peer: &str, fields: &[(&str, &str)]) -> HeaderMap {
        let trusted = ["127.0.0.0/8".parse().expect("a network")];
        let mut map = headers(fields);
        Forwarded::new(Some(peer.parse().expect("an address")), &trusted)
            .rewrite(&mut map, &HeaderValue::from_static("1.1 pulsegate"));
        map
    }

    #[test]
    fn a_trusted_peer_is_appended_to_and_another_is_replaced() {
        let fields = [
            ("host", "a.example"),
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=10.1.2.3"),
        ];
        let trusted = rewritten("127.0.0.1", &fields);
        assert_eq!(trusted["x-forwarded-for"], "10.1.2.3, 127.0.0.1");
        assert_eq!(trusted["x-forwarded-proto"], "https");
        assert_eq!(trusted["forwarded"], "for=10.1.2.3, for=127.0.0.1;proto=http");
        assert_eq!(trusted["x-forwarded-host"], "a.example");
        let stranger = rewritten("192.0.2.7", &fields);
        assert_eq!(stranger["x-forwarded-for"], "192.0.2.7");
        assert_eq!(stranger["x-forwarded-proto"], "http");
        assert_eq!(stranger["forwarded"], "for=192.0.2.7;proto=http");
        assert_eq!(rewritten("2001:db8::1", &[])["forwarded"], "for=\"[2001:db8::1]\";proto=http");
    }

    #[test]
    fn connection_fields_end_here() {
        let mut map = headers(&[
            ("connection", "close, X-Private , host"),
            ("x-private", "1"),
            ("host", "a.example"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("upgrade", "h2c"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-kept"]);
    }

    #[test]
    fn shadows_of_our_fields_are_dropped() {
        let map = rewritten("127.0.0.1", &[("x_forwarded_for", "6.6.6.6"), ("te", "trailers")]);
        assert!(!map.contains_key("x_forwarded_for"));
        assert_eq!(map["x-forwarded-for"], "127.0.0.1");
        assert_eq!(map["te"], "trailers");
    }
}
