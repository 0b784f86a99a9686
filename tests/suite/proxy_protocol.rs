//! The PROXY protocol: whom a balancer speaks for, who must say so, and who cannot.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};

use crate::support::{Authority, Client, PATIENCE, Settings, Sidecar, Upstream, Wire, eventually};

fn introduced(upstream: &Upstream) -> Settings {
    Sidecar::bare(upstream).raw("proxy.proxy_protocol", "true")
}

/// A connection that begins with these bytes.
fn begun(address: SocketAddr, header: &[u8]) -> Client {
    let mut client = Client::connect(address);
    client.send(header).expect("a header");
    client
}

fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, content].concat()
}

#[test]
fn the_address_of_the_header_is_the_clients() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&introduced(&upstream));
    let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0, 1, 0, 2], &[4, 0, 1, 9]].concat();
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"[..], "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
        (&v2(0x21, 0x11, &[192, 0, 2, 8, 10, 0, 0, 1, 1, 2, 3, 4]), "192.0.2.8"),
        (&v2(0x21, 0x21, &six), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&v2(0x21, 0x00, &[]), "127.0.0.1"),
        (&v2(0x21, 0x31, &[0; 216]), "127.0.0.1"),
        (&v2(0x20, 0x00, &[]), "203.0.113.1, 127.0.0.1"),
    ] {
        let mut connection = begun(sidecar.traffic, header);
        for _ in 0..2 {
            let told = [("x-forwarded-for", "203.0.113.1")];
            assert_eq!(connection.ask("GET", "/", &told, b"").expect("an answer").status, 200);
            let seen = upstream.seen().pop().expect("a request");
            // A balancer that speaks for itself is believed; the clients that it speaks for are not, named or not.
            assert_eq!(seen.field("x-forwarded-for"), Some(client));
        }
    }
    sidecar.assert_metric("pulsegate_handshake_failures_total", &[], 0.0);
}

#[test]
fn a_header_may_come_in_pieces_and_with_the_request() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&introduced(&upstream));
    let all = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut client = Client::connect(sidecar.traffic);
    for byte in all {
        client.send(&[*byte]).expect("a byte");
    }
    assert_eq!(client.read().expect("an answer").status, 200);
    let mut client = begun(sidecar.traffic, all);
    assert_eq!(client.read().expect("an answer").status, 200);
    assert!(upstream.seen().iter().all(|seen| seen.field("x-forwarded-for") == Some("192.0.2.7")));
}

#[test]
fn who_must_say_it_and_does_not_is_refused() {
    let upstream = Upstream::hello();
    let settings = introduced(&upstream).text("proxy.timeouts.request_header", "500ms");
    let sidecar = Sidecar::start(&settings);
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    let refused = [
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 ",
        b"",
        &long,
        &v2(0x21, 0x12, &[0; 12]),
    ];
    for header in refused {
        let mut client = begun(sidecar.traffic, header);
        let said = client.read_to_end().unwrap_or_default();
        assert!(said.is_empty(), "{:?}", String::from_utf8_lossy(&said));
    }
    let client = begun(sidecar.traffic, b"PROXY TC");
    client.stream().shutdown(Shutdown::Both).expect("gone");
    let all = refused.len() as f64 + 1.0;
    eventually(PATIENCE, "all are counted", || sidecar.metric("pulsegate_handshake_failures_total", &[]) == all);
    eventually(PATIENCE, "all are gone", || sidecar.metric("pulsegate_connections", &[]) == 0.0);
    assert!(upstream.seen().is_empty());
}

#[test]
fn who_is_not_trusted_cannot_say_it() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&introduced(&upstream).raw("proxy.trusted_proxies", "[\"192.0.2.0/24\"]"));
    assert_eq!(sidecar.get("/").status, 200, "and is served as it is");
    for header in [&b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"[..], &v2(0x20, 0, &[])] {
        let mut client = begun(sidecar.traffic, header);
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("a request");
        assert_eq!(client.read().expect("an answer").status, 400);
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn by_default_nobody_can() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = begun(sidecar.traffic, b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n");
    assert_eq!(client.read().expect("an answer").status, 400);
    assert!(upstream.seen().is_empty());
}

#[test]
fn the_header_comes_before_tls() {
    let (upstream, authority) = (Upstream::hello(), Authority::new());
    authority.serve(&authority.issue("a.example"));
    let settings = introduced(&upstream)
        .text("proxy.tls.cert", &authority.path("tls.crt").display().to_string())
        .text("proxy.tls.key", &authority.path("tls.key").display().to_string());
    let sidecar = Sidecar::start(&settings);
    let mut stream = Wire::connect(sidecar.traffic).expect("a connection");
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n").expect("a header");
    let mut client = Client::over(authority.secure(stream, &[], None).expect("TLS"));
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    assert_eq!(upstream.only().field("x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(upstream.only().field("x-forwarded-proto"), Some("https"));
}
