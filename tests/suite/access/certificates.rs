//! TLS at the management port, and client certificates there.

use crate::support::{
    Authority, Client, PATIENCE, Response, Settings, Sidecar, Upstream, ask, eventually, get, home_with_login, run,
};

fn settings(upstream: &Upstream, authority: &Authority) -> Settings {
    let path = |name: &str| authority.path(name).display().to_string();
    Sidecar::bare(upstream)
        .text("admin.tls.cert", &path("tls.crt"))
        .text("admin.tls.key", &path("tls.key"))
        .text("admin.tls.client_ca", &path("ca.crt"))
        .raw("endpoints.\"/certified\"", "{ dialect = \"claude-proxy\", access = [\"mtls\"], ports = [\"admin\"] }")
        .raw("endpoints.\"/either\"", "{ dialect = \"claude-proxy\", access = [\"mtls\", \"api_key\"] }")
        .raw("admin.api_keys", "[{ env = \"AN_API_KEY\" }]")
}

fn start(settings: &Settings) -> Sidecar {
    let sidecar = Sidecar::start_in(home_with_login(), settings, |command| {
        command.env("AN_API_KEY", "an-invented-key-of-a-test");
    });
    eventually(PATIENCE, "it is ready", || get(sidecar.traffic, "/readyz").status == 200);
    sidecar
}

#[test]
fn a_client_certificate_admits_where_it_is_asked_for_and_none_is_needed_elsewhere() {
    let (upstream, authority, stranger) = (Upstream::hello(), Authority::new(), Authority::new());
    authority.serve(&authority.issue("a.example"));
    let sidecar = start(&settings(&upstream, &authority));
    let (known, unknown) = (authority.issue("client"), stranger.issue("client"));
    let asks = |own, method: &str, path: &str, fields: &[(&str, &str)]| -> Result<Response, String> {
        let wire = authority.client(sidecar.admin, &[], own).map_err(|error| error.to_string())?;
        Client::over(wire).ask(method, path, fields, b"").map_err(|error| error.to_string())
    };
    let code = |own, path: &str| asks(own, "GET", path, &[]).map(|answer| answer.status);
    // As a probe of Kubernetes with the scheme HTTPS comes.
    assert_eq!(code(None, "/readyz"), Ok(200));
    assert_eq!((code(Some(&known), "/certified"), code(Some(&known), "/either")), (Ok(200), Ok(200)));
    assert!(code(Some(&unknown), "/readyz").is_err(), "of another authority");
    let answer = asks(None, "GET", "/certified", &[]).expect("an answer");
    assert_eq!((answer.status, answer.field("www-authenticate")), (403, None));
    assert_eq!(answer.json()["error"]["code"], "certificate_required");
    assert_eq!(code(None, "/either"), Ok(401));
    let key = [("x-api-key", "an-invented-key-of-a-test")];
    assert_eq!(asks(None, "GET", "/either", &key).map(|answer| answer.status), Ok(200));
    assert_eq!(asks(None, "GET", "/certified", &key).map(|answer| answer.status), Ok(403));
    // On the traffic port there is no certificate to show, and no path of that name.
    assert_eq!(get(sidecar.traffic, "/certified").text(), "hello");
    assert_eq!(get(sidecar.traffic, "/either").status, 401);
    // Who operates: a certificate of ours, but no page in a browser that has one.
    let through = [("via", "1.1 a")];
    assert_eq!(asks(None, "POST", "/-/maintenance/off", &through).map(|answer| answer.status), Ok(403));
    let page = [("origin", "https://evil.example")];
    assert_eq!(asks(Some(&known), "POST", "/-/maintenance/off", &page).map(|answer| answer.status), Ok(403));
    assert_eq!(asks(Some(&known), "POST", "/-/maintenance/off", &[]).map(|answer| answer.status), Ok(200));
    let plain = Client::connect(sidecar.admin).ask("GET", "/readyz", &[], b"");
    assert!(plain.is_err(), "plain text is no longer spoken");
}

#[test]
fn certificates_of_the_management_port_are_taken_over_when_they_change() {
    let (upstream, authority) = (Upstream::hello(), Authority::new());
    let first = authority.issue("a.example");
    authority.serve(&first);
    let sidecar = start(&settings(&upstream, &authority));
    let shown = || authority.client(sidecar.admin, &[], None).ok().and_then(|wire| wire.shown());
    assert_eq!(shown(), Some(first.der()));
    let second = authority.issue("a.example");
    authority.serve(&second);
    eventually(PATIENCE, "the new certificate is shown", || shown() == Some(second.der()));
}

#[test]
fn without_tls_the_port_is_what_it_was_and_half_a_setting_is_refused() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream)).ready();
    assert_eq!(ask(sidecar.admin, "GET", "/readyz", &[], b"").status, 200);
    let home = home_with_login();
    for (path, value, says) in [
        ("proxy.tls.client_auth", "\"optional\"", "`proxy.tls`: `client_auth` has no effect without `client_ca`"),
        ("admin.tls.client_ca", "\"/nonexistent\"", "`admin.tls`: a certificate needs its key"),
        ("endpoints.\"/x\"", "{ dialect = \"ok\", access = [\"mtls\"] }", "and `admin.tls.client_ca` is not set"),
        ("endpoints.\"/x\"", "{ dialect = \"ok\", access = [\"session\"] }", "and `admin.session` is not set"),
        ("admin.session.cookie", "\"session\"", "`admin.session`: `cookie` holds a token: set `admin.jwt`"),
        ("admin.session", "{}", "`admin.session`: set exactly one of `cookie` and `url`"),
    ] {
        let ended = run(Sidecar::command(home.path(), &Sidecar::bare(&upstream).raw(path, value)).arg("validate"));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(says), "{says:?} in\n{}", ended.stderr);
    }
}
