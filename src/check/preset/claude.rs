use std::time::Duration;

use serde::Deserialize;

use super::tokens::{Filled, Tokens, millis};
use super::{Login, Preset};

/// Claude Code.
pub(crate) const CLAUDE: Preset = Preset {
    name: "claude",
    label: "Claude CLI",
    command: "claude",
    package: "@anthropic-ai/claude-code",
    bundled: Some("claude_agent_sdk/_bundled/claude"),
    quiet: &[
        ("DISABLE_TELEMETRY", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ],
    login: Login {
        directories: &[("CLAUDE_CONFIG_DIR", ""), ("HOME", ".claude")],
        file: ".credentials.json",
        ways: &[
            ("CLAUDE_CODE_USE_BEDROCK", "bedrock"),
            ("CLAUDE_CODE_USE_VERTEX", "vertex"),
            ("ANTHROPIC_AUTH_TOKEN", "auth_token"),
            ("ANTHROPIC_API_KEY", "api_key"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "oauth_token"),
        ],
        read,
        witnessed: true,
    },
};

fn read(text: &[u8]) -> serde_json::Result<Vec<Tokens>> {
    let oauth = serde_json::from_slice::<Credentials>(text)?.oauth;
    let usable = oauth.filter(|oauth| oauth.access_token.0 && oauth.scopes.0);
    Ok(usable.into_iter().map(OAuth::tokens).collect())
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(rename = "claudeAiOauth", default)]
    oauth: Option<OAuth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OAuth {
    #[serde(default)]
    access_token: Filled,
    #[serde(default)]
    refresh_token: Filled,
    #[serde(default, deserialize_with = "millis")]
    expires_at: Option<Duration>,
    #[serde(default, deserialize_with = "millis")]
    refresh_token_expires_at: Option<Duration>,
    #[serde(default)]
    scopes: Filled,
}

impl OAuth {
    fn tokens(self) -> Tokens {
        Tokens {
            access_ends: self.expires_at,
            refresh: self.refresh_token.0,
            refresh_ends: self.refresh_token_expires_at,
        }
    }
}
