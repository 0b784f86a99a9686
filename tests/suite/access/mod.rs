//! Who may read an endpoint: keys and tokens, those of a library that is not ours, at both ports (contract, section 5).

mod certificates;
mod preflight;
mod session;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{
    PATIENCE, Response, SYSTEM_PATH, Settings, Sidecar, Upstream, ask, eventually, home_with_login, run, tool,
};

/// Keys as files, and tokens by algorithm and name.
struct Tokens {
    directory: tempfile::TempDir,
    made: Value,
}

impl Tokens {
    fn make() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/access/tokens.mjs");
        let mut command = Command::new("node");
        command.env_clear().env("PATH", SYSTEM_PATH).arg(script).arg(tool("jose")).arg(directory.path());
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        Self { made: serde_json::from_str(&ended.stdout).expect("tokens"), directory }
    }

    #[track_caller]
    fn token(&self, algorithm: &str, name: &str) -> &str {
        self.made[algorithm][name].as_str().unwrap_or_else(|| panic!("no token {algorithm} {name}"))
    }

    fn names(&self, algorithm: &str) -> Vec<&str> {
        self.made[algorithm].as_object().expect("tokens").keys().map(String::as_str).collect()
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// Two endpoints: `/secret` for tokens, `/either` for tokens and keys.
fn settings(upstream: &Upstream, algorithm: &str, key: &str, file: &str) -> Settings {
    let file = if key == "secret" { format!("{{ file = {file:?} }}") } else { format!("{file:?}") };
    Sidecar::bare(upstream)
        .raw("endpoints.\"/secret\"", "{ dialect = \"claude-proxy\", access = [\"jwt\"] }")
        .raw("endpoints.\"/either\"", "{ dialect = \"claude-proxy\", access = [\"api_key\", \"jwt\"] }")
        .raw("admin.api_keys", "[{ env = \"AN_API_KEY\" }]")
        .text("admin.jwt.algorithm", algorithm)
        .raw(&format!("admin.jwt.{key}"), &file)
        .text("admin.jwt.audience", "pulsegate")
        .text("admin.jwt.issuer", "https://issuer.example")
}

fn start(settings: &Settings) -> Sidecar {
    Sidecar::start_in(home_with_login(), settings, |command| {
        command.env("AN_API_KEY", "an-invented-key-of-a-test");
    })
    .ready()
}

fn bearer(address: SocketAddr, path: &str, token: &str) -> Response {
    ask(address, "GET", path, &[("authorization", &format!("Bearer {token}"))], b"")
}

#[test]
fn tokens_of_every_algorithm_admit_and_others_do_not() {
    let tokens = Tokens::make();
    let upstream = Upstream::hello();
    for (algorithm, key, file) in [
        ("RS256", "public_key_file", "RS256.pem"),
        ("ES256", "jwks_file", "ES256.1.jwks"),
        ("EdDSA", "public_key_file", "EdDSA.pem"),
        ("HS256", "secret", "HS256.secret"),
    ] {
        let sidecar = start(&settings(&upstream, algorithm, key, &tokens.file(file)));
        for address in [sidecar.traffic, sidecar.admin] {
            for name in tokens.names(algorithm) {
                let answer = bearer(address, "/secret", tokens.token(algorithm, name));
                let what = format!("{algorithm} {name}: {}", answer.text());
                if ["good", "large"].contains(&name) && tokens.token(algorithm, name).len() <= 8192 {
                    assert_eq!(answer.status, 200, "{what}");
                    continue;
                }
                assert_eq!(answer.status, 401, "{what}");
                let challenge = answer.field("www-authenticate").expect("a challenge");
                assert!(challenge.starts_with("Bearer realm=\"pulsegate\", error=\"invalid_token\", "), "{challenge}");
                assert_eq!(answer.json()["error"]["code"], "unauthorized", "{what}");
            }
            for other in ["RS256", "ES256", "EdDSA", "HS256"].iter().filter(|other| **other != algorithm) {
                assert_eq!(bearer(address, "/secret", tokens.token(other, "good")).status, 401, "{other}");
            }
        }
        let log = sidecar.log();
        assert!(!log.contains("eyJ") && !log.contains("canary"), "{log}");
    }
    assert_eq!(upstream.seen().len(), 0, "none of it is traffic");
}

#[test]
fn without_a_credential_401_with_a_good_one_for_elsewhere_403() {
    let tokens = Tokens::make();
    let upstream = Upstream::hello();
    let sidecar = start(&settings(&upstream, "ES256", "public_key_file", &tokens.file("ES256.pem")));
    for address in [sidecar.traffic, sidecar.admin] {
        for path in ["/secret", "/either"] {
            let answer = ask(address, "GET", path, &[], b"");
            assert_eq!((answer.status, answer.field("www-authenticate")), (401, Some("Bearer realm=\"pulsegate\"")));
            let body = answer.json();
            assert_eq!(body["error"]["code"], "unauthorized");
            let says_key = body["error"]["message"].as_str().expect("a sentence").contains("API key");
            assert_eq!(says_key, path == "/either", "{body}");
            let head = ask(address, "HEAD", path, &[], b"");
            assert_eq!((head.status, &*head.body), (401, &b""[..]));
        }
        let with_key = |path: &str| ask(address, "GET", path, &[("x-api-key", "an-invented-key-of-a-test")], b"");
        assert_eq!(with_key("/either").status, 200);
        let answer = with_key("/secret");
        assert_eq!((answer.status, answer.field("www-authenticate")), (403, None));
        assert_eq!(answer.json()["error"]["code"], "forbidden");
        assert_eq!(bearer(address, "/either", tokens.token("ES256", "good")).status, 200);
        assert_eq!(bearer(address, "/either", "an-invented-key-of-a-test").status, 200);
        // At a public endpoint a wrong token may be meant for the app.
        assert_eq!(bearer(address, "/readyz", tokens.token("ES256", "expired")).status, 200);
    }
    // A token is for reading: every user may have one.
    let fields = [("authorization", &*format!("Bearer {}", tokens.token("ES256", "good"))), ("via", "1.1 a")];
    assert_eq!(ask(sidecar.admin, "POST", "/-/drain", &fields, b"").status, 403);
    let fields = [("x-api-key", "an-invented-key-of-a-test"), ("via", "1.1 a")];
    assert_eq!(ask(sidecar.admin, "POST", "/-/maintenance/off", &fields, b"").status, 200);
}

#[test]
fn a_set_of_keys_that_is_replaced_is_taken_over_and_a_broken_one_is_not() {
    let tokens = Tokens::make();
    let upstream = Upstream::hello();
    let file = tokens.directory.path().join("keys.jwks");
    let replace = |with: &[u8]| {
        // As careful programs do it, so that nobody reads half of it.
        let new = file.with_extension("new");
        std::fs::write(&new, with).expect("written");
        std::fs::rename(new, &file).expect("replaced");
    };
    let set = |name: &str| std::fs::read(tokens.file(name)).expect("a set of keys");
    replace(&set("RS256.1.jwks"));
    let sidecar = start(&settings(&upstream, "RS256", "jwks_file", &file.display().to_string()));
    let code = |name: &str| bearer(sidecar.traffic, "/secret", tokens.token("RS256", name)).status;
    assert_eq!((code("good"), code("second")), (200, 401));
    replace(b"{\"keys\": []}");
    eventually(PATIENCE, "the broken set is refused", || sidecar.log().contains("has no key for the algorithm"));
    assert_eq!((code("good"), code("second")), (200, 401), "the last good one holds");
    replace(&set("RS256.2.jwks"));
    eventually(PATIENCE, "the new key admits", || code("second") == 200);
    assert_eq!(code("good"), 401);
}
