use std::borrow::Cow;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::tokens::{Filled, Tokens};
use super::{Login, Preset};

/// OpenAI's Codex. Its own `login status` calls an expired login and a file that holds `{}` logged in, and prints the
/// ends of a key.
pub(crate) const CODEX: Preset = Preset {
    name: "codex",
    label: "Codex CLI",
    command: "codex",
    package: "@openai/codex",
    bundled: None,
    quiet: &[],
    login: Login {
        directories: &[("CODEX_HOME", ""), ("HOME", ".codex")],
        file: "auth.json",
        ways: &[("CODEX_ACCESS_TOKEN", "access_token"), ("CODEX_API_KEY", "api_key")],
        read,
        witnessed: false,
    },
};

fn read(text: &[u8]) -> serde_json::Result<Vec<Tokens>> {
    let auth: Auth<'_> = serde_json::from_slice(text)?;
    let login = auth.tokens.filter(|tokens| !tokens.access_token.trim().is_empty());
    let login = login.map(|tokens| Tokens {
        access_ends: end_of(&tokens.access_token),
        refresh: tokens.refresh_token.0,
        refresh_ends: None,
    });
    let key = auth.key.0.then(Tokens::default);
    Ok(key.into_iter().chain(login).collect())
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(rename = "OPENAI_API_KEY", default)]
    key: Filled,
    #[serde(borrow, default)]
    tokens: Option<Pair<'a>>,
}

#[derive(Deserialize)]
struct Pair<'a> {
    #[serde(borrow, default)]
    access_token: Cow<'a, str>,
    #[serde(default)]
    refresh_token: Filled,
}

/// The file has no date: the access token, a JWT, tells its own end (RFC 7519, section 4.1.4). Nothing is believed
/// because of it, so its signature does not matter.
fn end_of(token: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice::<Claims>(&claims).ok().map(|claims| Duration::from_secs(claims.exp))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Tokens, read};

    #[test]
    fn the_access_token_tells_its_own_end() {
        // {"alg":"none"}.{"exp":1700000000}
        let token = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDAwMDAwMDB9.c2ln";
        let text = |access: &str| format!(r#"{{"tokens":{{"access_token":"{access}","refresh_token":"r"}}}}"#);
        let login = |access: &str| read(text(access).as_bytes()).expect("understood");
        let ends = Some(Duration::from_secs(1_700_000_000));
        assert_eq!(login(token), [Tokens { access_ends: ends, refresh: true, refresh_ends: None }]);
        for opaque in ["at-invented", "a.b.c", "..", "a.\u{e4}.c"] {
            assert_eq!(login(opaque)[0].access_ends, None, "{opaque}");
        }
        assert!(login("").is_empty());
    }

    #[test]
    fn a_key_never_ends() {
        let found = read(br#"{"OPENAI_API_KEY":"sk-invented","tokens":null}"#).expect("understood");
        assert_eq!(found, [Tokens::default()]);
        assert!(read(br#"{"OPENAI_API_KEY":null}"#).expect("understood").is_empty());
    }
}
