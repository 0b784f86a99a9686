use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::tokens::{Filled, Tokens, millis};
use super::{Login, Preset};

/// opencode. Its own `auth list` counts expired logins, and calls a damaged file one that holds none.
pub(crate) const OPENCODE: Preset = Preset {
    name: "opencode",
    label: "opencode CLI",
    command: "opencode",
    package: "opencode-ai",
    bundled: None,
    quiet: &[("OPENCODE_DISABLE_AUTOUPDATE", "1"), ("OPENCODE_DISABLE_MODELS_FETCH", "1")],
    login: Login {
        directories: &[("XDG_DATA_HOME", "opencode"), ("HOME", ".local/share/opencode")],
        file: "auth.json",
        // Keys of the providers it talks to; its list of these is long, and comes from the network.
        ways: &[
            ("OPENCODE_AUTH_CONTENT", "auth_content"),
            ("OPENCODE_API_KEY", "api_key"),
            ("ANTHROPIC_API_KEY", "api_key"),
            ("OPENAI_API_KEY", "api_key"),
            ("GEMINI_API_KEY", "api_key"),
            ("OPENROUTER_API_KEY", "api_key"),
        ],
        read,
        witnessed: false,
    },
};

/// A login for each provider; what is none of a kind that is known is passed over, as it does itself.
fn read(text: &[u8]) -> serde_json::Result<Vec<Tokens>> {
    serde_json::from_slice::<Providers>(text).map(|providers| providers.0)
}

struct Providers(Vec<Tokens>);

/// It has a handful of providers.
const MOST_PROVIDERS: usize = 256;

impl<'de> Deserialize<'de> for Providers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Providers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of providers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Providers, A::Error> {
                let mut found = Vec::new();
                while map.next_key::<IgnoredAny>()?.is_some() {
                    let login = map.next_value::<Auth>()?.tokens();
                    found.extend(login.filter(|_| found.len() < MOST_PROVIDERS));
                }
                Ok(Providers(found))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[derive(Deserialize)]
struct Auth {
    #[serde(rename = "type", default)]
    kind: Kind,
    #[serde(default)]
    access: Filled,
    #[serde(default)]
    refresh: Filled,
    #[serde(default, deserialize_with = "millis")]
    expires: Option<Duration>,
    #[serde(default)]
    key: Filled,
    #[serde(default)]
    token: Filled,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Oauth,
    Api,
    WellKnown,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Auth {
    fn tokens(self) -> Option<Tokens> {
        // Some providers give a token that never ends, and write 0.
        let access_ends = self.expires.filter(|ends| !ends.is_zero());
        let oauth = Tokens { access_ends, refresh: self.refresh.0, refresh_ends: None };
        match self.kind {
            Kind::Oauth => (self.access.0 || self.refresh.0).then_some(oauth),
            Kind::Api => self.key.0.then(Tokens::default),
            Kind::WellKnown => self.token.0.then(Tokens::default),
            Kind::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Tokens, read};

    #[test]
    fn every_provider_has_a_login_of_its_own() {
        let text = br#"{
            "anthropic": {"type": "oauth", "refresh": "r", "access": "a", "expires": 1700000000000},
            "github-copilot": {"type": "oauth", "refresh": "r", "access": "", "expires": 0},
            "openai": {"type": "api", "key": "sk-invented", "metadata": {"any": "thing"}},
            "https://x.example": {"type": "wellknown", "key": "X", "token": "t"},
            "empty": {"type": "api", "key": ""}, "new": {"type": "what"}, "none": {}
        }"#;
        let oauth = |access_ends| Tokens { access_ends, refresh: true, refresh_ends: None };
        let ends = Some(Duration::from_secs(1_700_000_000));
        let expected = [oauth(ends), oauth(None), Tokens::default(), Tokens::default()];
        assert_eq!(read(text).expect("understood"), expected);
    }
}
