//! TLS on the traffic port: ALPN, client certificates, damaged files, and what a cut looks like.

use std::io::{Read as _, Write as _};
use std::process::Command;

use rustix::process::Signal;

use crate::support::{
    Authority, Client, Next, PATIENCE, SYSTEM_PATH, Settings, Sidecar, Upstream, eventually, home_with_login, run,
};

fn secured(upstream: &Upstream, authority: &Authority) -> Settings {
    Sidecar::bare(upstream)
        .text("proxy.tls.cert", &authority.path("tls.crt").display().to_string())
        .text("proxy.tls.key", &authority.path("tls.key").display().to_string())
}

fn with_certificate() -> Authority {
    let authority = Authority::new();
    authority.serve(&authority.issue("a.example"));
    authority
}

#[test]
fn requests_pass_and_the_app_is_told_the_scheme() {
    let (upstream, authority) = (Upstream::hello(), with_certificate());
    let sidecar = Sidecar::start(&secured(&upstream, &authority));
    let mut client = Client::over(authority.client(sidecar.traffic, &["http/1.1"], None).expect("TLS"));
    for _ in 0..3 {
        let answer = client.ask("POST", "/x", &[], &vec![b'x'; 100_000]).expect("an answer");
        assert_eq!((answer.status, answer.text()), (200, "hello"));
    }
    assert_eq!(upstream.accepted(), 1);
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!((seen.field("x-forwarded-proto"), seen.body.len()), (Some("https"), 100_000));
    assert!(seen.field("forwarded").is_some_and(|value| value.ends_with(";proto=https")), "{seen:?}");
    assert_eq!(client.ask("GET", "/livez", &[], b"").expect("an endpoint").status, 200);
    assert!(sidecar.metric("pulsegate_certificate_expiry_timestamp_seconds", &[]) > 1e9);
    sidecar.assert_metric("pulsegate_handshake_failures_total", &[], 0.0);
}

#[test]
fn large_answers_pass_to_slow_readers() {
    let body: Vec<u8> = (0..8_000_000_u32).map(|at| (at >> 3) as u8).collect();
    let expected = body.clone();
    let upstream = Upstream::start(move |exchange| exchange.answer(200, &[], &body));
    let authority = with_certificate();
    let sidecar = Sidecar::start(&secured(&upstream, &authority));
    let mut client = Client::over(authority.client(sidecar.traffic, &[], None).expect("TLS"));
    client.write("GET", "/", &[], b"").expect("a request");
    let head = client.read_head().expect("a head");
    let mut pieces = client.pieces(&head).expect("a body");
    let mut body = Vec::new();
    while let Some(piece) = pieces.next().expect("a piece") {
        body.extend_from_slice(&piece);
    }
    assert!(body == expected, "{} bytes came", body.len());
}

#[test]
fn plain_text_and_silence_are_refused_and_counted() {
    let (upstream, authority) = (Upstream::hello(), with_certificate());
    let settings = secured(&upstream, &authority).text("proxy.timeouts.request_header", "300ms");
    let sidecar = Sidecar::start(&settings);
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("a request");
    let said = client.read_to_end().unwrap_or_default();
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    let mut silent = Client::connect(sidecar.traffic);
    assert!(silent.is_closed(), "a client that says nothing does not hold the connection");
    eventually(PATIENCE, "both are counted", || sidecar.metric("pulsegate_handshake_failures_total", &[]) == 2.0);
    eventually(PATIENCE, "both are gone", || sidecar.metric("pulsegate_connections", &[]) == 0.0);
    assert!(upstream.seen().is_empty());
}

#[test]
fn clients_need_a_certificate_of_the_authority() {
    let (upstream, authority, stranger) = (Upstream::hello(), with_certificate(), Authority::new());
    for mode in ["required", "optional"] {
        let settings = secured(&upstream, &authority)
            .text("proxy.tls.client_ca", &authority.path("ca.crt").display().to_string())
            .text("proxy.tls.client_auth", mode);
        let sidecar = Sidecar::start(&settings);
        let ask = |own| -> Result<u16, String> {
            let wire = authority.client(sidecar.traffic, &[], own).map_err(|error| error.to_string())?;
            let answer = Client::over(wire).ask("GET", "/", &[], b"");
            answer.map(|answer| answer.status).map_err(|error| error.to_string())
        };
        let (known, unknown) = (authority.issue("client"), stranger.issue("client"));
        assert_eq!(ask(Some(&known)), Ok(200), "{mode}");
        assert!(ask(Some(&unknown)).is_err(), "{mode}: of another authority");
        assert_eq!(ask(None).is_ok(), mode == "optional", "{mode}: without one");
    }
}

/// Whoever wants to renegotiate is told at once that we do not (RFC 5246 section 7.2.2); TLS 1.3 knows no such thing.
#[test]
fn a_renegotiation_is_refused_and_not_waited_for() {
    const CLIENT: &str = "
        const [, port] = process.argv, only = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' };
        const client = require('tls').connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...only }, () => {
            client.resume();
            client.renegotiate({}, () => {});
        });
        const end = (said) => { console.log(said); process.exit(); };
        client.on('error', (error) => end(error.code));
        client.on('close', () => end('closed'));
        setTimeout(() => end('nothing'), 20_000);";
    let (upstream, authority) = (Upstream::hello(), with_certificate());
    let sidecar = Sidecar::start(&secured(&upstream, &authority));
    let mut node = Command::new("node");
    node.env_clear().env("PATH", SYSTEM_PATH).args(["-e", CLIENT]).arg(sidecar.traffic.port().to_string());
    let ended = run(&mut node);
    assert_eq!(ended.stdout.trim_end(), "ERR_SSL_NO_RENEGOTIATION", "{}", ended.stderr);
}

#[test]
fn a_proper_end_and_a_cut_look_different() {
    // HTTP/1.0 knows the end of such a body by the end of the connection alone.
    for next in [Next::Close, Next::Reset] {
        let upstream = Upstream::start(move |exchange| {
            exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
            if next == Next::Close {
                exchange.write(b"0\r\n\r\n");
            }
            next
        });
        let authority = with_certificate();
        let sidecar = Sidecar::start(&secured(&upstream, &authority));
        let mut wire = authority.client(sidecar.traffic, &[], None).expect("TLS");
        wire.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
        let mut answer = Vec::new();
        let read = wire.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(read.is_ok(), next == Next::Close, "{next:?}: {read:?} {text:?}");
        assert!(next == Next::Reset || text.ends_with("hello"), "{text:?}");
    }
}

#[test]
fn an_idle_connection_ends_properly() {
    let (upstream, authority) = (Upstream::hello(), with_certificate());
    let mut sidecar = Sidecar::start(&secured(&upstream, &authority));
    let mut wire = authority.client(sidecar.traffic, &[], None).expect("TLS");
    wire.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("a request");
    let mut answer = vec![0; 4096];
    let length = wire.read(&mut answer).expect("an answer");
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    sidecar.terminate();
    let mut rest = Vec::new();
    wire.read_to_end(&mut rest).expect("the end is told, not just there");
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}

/// An invented key on a curve that is not served.
const P521: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIBer7IbEr3pW43u5kH\n\
Ey5yckqqTapqRo5QKsiaQMb2m3vFrdP6o+NUDmME4F4Sl0gzgLbMdg9cYKNrDPCl\n\
Qp6XJw2hgYkDgYYABACS5BbeZaBQIZ/6lNQxKod080l8mgRJtFmHSK94sMISpb1/\n\
XJ99/jT5POnegModb2UOZWA0V4R+dZr7pw0aimYUGAGu6sLrqW/5zxM2x4H0DNYW\n\
rygDWOCf3n8HMpp3htWTbOCBp/1/XmSx7k1pKLvaYL0qBnPIXtgifr5phqTDbr6y\n\
sg==\n\
-----END PRIVATE KEY-----";

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let (authority, upstream) = (with_certificate(), Upstream::hello());
    let other = authority.issue("b.example");
    let good = || secured(&upstream, &authority);
    let path = |name: &str| authority.path(name).display().to_string();
    let empty = authority.file("empty.pem", "");
    let half = authority.file("half.pem", &other.pem()[..200]);
    // Whole PEM, behind a good certificate: whoever looks at the first alone sees nothing.
    let behind = |name: &str, content: &str| {
        let first = std::fs::read_to_string(authority.path("tls.crt")).expect("a certificate");
        authority.file(name, &format!("{first}-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n"))
    };
    let cut: String = other.pem().lines().skip(1).take(3).collect::<Vec<_>>().join("\n");
    for (settings, expected) in [
        (good().without("proxy.tls.key"), "a certificate needs its key".to_owned()),
        (good().text("proxy.tls.cert", &path("absent")), format!("{} cannot be read", path("absent"))),
        (good().text("proxy.tls.cert", &empty), format!("{empty} holds no certificate")),
        (good().text("proxy.tls.cert", &half), format!("{half} is damaged")),
        (
            good().text("proxy.tls.cert", &behind("chain.pem", "AAAA")),
            format!("certificate 2 in {} is damaged", path("chain.pem")),
        ),
        (
            good().text("proxy.tls.client_ca", &behind("authorities.pem", &cut)),
            format!("certificate 2 in {} is damaged", path("authorities.pem")),
        ),
        (
            good().text("proxy.tls.key", &authority.file("p521.key", P521)),
            format!("the key in {} is of no kind that is served: use ECDSA on P-256 or P-384, RSA", path("p521.key")),
        ),
        (good().text("proxy.tls.key", &path("tls.crt")), format!("{} holds no private key", path("tls.crt"))),
        (
            good().text("proxy.tls.cert", &authority.file("other.crt", &other.pem())),
            format!("the key in {} does not belong to the first certificate in {}", path("tls.key"), path("other.crt")),
        ),
        (good().text("proxy.tls.client_ca", &empty), format!("{empty} holds no certificate")),
    ] {
        let home = home_with_login();
        let ended = run(Sidecar::command(home.path(), &settings).arg("validate"));
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(2), "{said}");
        assert!(said.contains("`proxy.tls`: ") && said.contains(&expected), "{expected:?} in {said}");
        assert!(!said.contains("BEGIN") || said.contains("(BEGIN "), "nothing of a file is shown: {said}");
    }
}

#[test]
fn a_new_certificate_is_served_from_the_next_connection_on() {
    let (upstream, authority) = (Upstream::hello(), Authority::new());
    let (first, second, stray) = (authority.issue("first"), authority.issue("second"), authority.issue("stray"));
    authority.serve(&first);
    let sidecar = Sidecar::start(&secured(&upstream, &authority));
    let served = || authority.client(sidecar.traffic, &[], None).expect("TLS").shown();
    assert_eq!(served(), Some(first.der()));
    let mut kept = Client::over(authority.client(sidecar.traffic, &[], None).expect("TLS"));
    assert_eq!(kept.ask("GET", "/", &[], b"").expect("an answer").status, 200);

    // A certificate without its key changes nothing, and the log names the files.
    authority.file("tls.crt", &stray.pem());
    sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "the log says why", || sidecar.log().contains("does not belong to the first certificate"));
    assert_eq!(served(), Some(first.der()));

    authority.serve(&second);
    sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "the new one is served", || served() == Some(second.der()));
    assert_eq!(kept.ask("GET", "/", &[], b"").expect("an answer").status, 200, "the old connection goes on");
    assert_eq!(upstream.accepted(), 1, "so does the app's");
}

#[test]
fn an_authority_that_is_gone_lets_nobody_in_again() {
    let (upstream, authority, other) = (Upstream::hello(), with_certificate(), Authority::new());
    let ca = authority.file("clients.crt", &other.pem());
    let settings = secured(&upstream, &authority).text("proxy.tls.client_ca", &ca);
    let sidecar = Sidecar::start(&settings);
    let known = other.issue("client");
    let ask = || {
        let wire = authority.client(sidecar.traffic, &[], Some(&known)).ok()?;
        Client::over(wire).ask("GET", "/", &[], b"").ok().map(|answer| answer.status)
    };
    assert_eq!(ask(), Some(200));
    authority.file("clients.crt", &Authority::new().pem());
    sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "it is refused from now on", || ask().is_none());
}
