//! What a browser asks before a page of another origin may read an endpoint (Fetch standard, section 3.3).

use crate::support::{Response, Sidecar, Upstream, ask};

#[test]
fn a_page_of_a_known_origin_may_ask_with_a_credential() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start_in(
        crate::support::home_with_login(),
        &Sidecar::bare(&upstream)
            .raw("admin.cors_origins", "[\"https://status.example\"]")
            .raw("admin.api_keys", "[{ env = \"AN_API_KEY\" }]")
            .raw("endpoints.\"/secret\"", "{ dialect = \"claude-proxy\", access = [\"api_key\"] }"),
        |command| {
            command.env("AN_API_KEY", "an-invented-key-of-a-test");
        },
    )
    .ready();
    for address in [sidecar.traffic, sidecar.admin] {
        let preflight = |origin: &str| {
            let fields = [
                ("origin", origin),
                ("access-control-request-method", "GET"),
                ("access-control-request-headers", "x-api-key"),
            ];
            ask(address, "OPTIONS", "/secret", &fields, b"")
        };
        let answer = preflight("https://status.example");
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://status.example"));
        assert_eq!(answer.field("access-control-allow-methods"), Some("GET, HEAD"));
        assert_eq!(
            answer.field("access-control-allow-headers"),
            Some("authorization, content-type, last-event-id, x-api-key")
        );
        assert_eq!(answer.field("access-control-allow-credentials"), None, "no cookie admits");
        assert_eq!(answer.field("vary"), Some("origin"));
        let answer = preflight("https://elsewhere.example");
        assert_eq!((answer.status, allowed(&answer)), (204, [None, None]));

        let with = |fields: &[(&str, &str)]| ask(address, "GET", "/secret", fields, b"");
        let origin = ("origin", "https://status.example");
        for (fields, status) in [(&[origin][..], 401), (&[origin, ("x-api-key", "an-invented-key-of-a-test")], 200)] {
            let answer = with(fields);
            assert_eq!((answer.status, answer.field("vary")), (status, Some("origin")));
            assert_eq!(answer.field("access-control-allow-origin"), Some("https://status.example"), "also a refusal");
        }
        let answer = with(&[("origin", "https://status.example.org"), ("x-api-key", "an-invented-key-of-a-test")]);
        assert_eq!((answer.status, allowed(&answer)), (200, [None, None]));
        assert_eq!(with(&[]).field("vary"), Some("origin"), "it would be another answer with one");
        // No preflight.
        assert_eq!(ask(address, "OPTIONS", "/secret", &[origin], b"").status, 405);
    }
    assert_eq!(upstream.seen().len(), 0);
}

fn allowed(answer: &Response) -> [Option<&str>; 2] {
    ["access-control-allow-origin", "access-control-allow-headers"].map(|name| answer.field(name))
}

#[test]
fn everybody_is_a_star_and_nobody_is_a_405() {
    let upstream = Upstream::hello();
    let everybody = Sidecar::start(&Sidecar::bare(&upstream).raw("admin.cors_origins", "[\"*\"]")).ready();
    let nobody = Sidecar::start(&Sidecar::bare(&upstream)).ready();
    let fields = [("origin", "https://any.example"), ("access-control-request-method", "GET")];
    let answer = ask(everybody.traffic, "OPTIONS", "/readyz", &fields, b"");
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (204, Some("*")));
    let answer = ask(everybody.traffic, "GET", "/readyz", &fields[..1], b"");
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (200, Some("*")));
    let answer = ask(nobody.traffic, "OPTIONS", "/readyz", &fields, b"");
    assert_eq!((answer.status, answer.field("vary")), (405, None));
}
