use std::time::Duration;

use serde::Deserialize;

use super::tokens::{Filled, Tokens, millis};
use super::{Login, Preset};

/// Google's Gemini. Every run writes into its home, which a check gives it anew; without a second process of its own it
/// takes half the time.
pub(crate) const GEMINI: Preset = Preset {
    name: "gemini",
    label: "Gemini CLI",
    command: "gemini",
    package: "@google/gemini-cli",
    bundled: None,
    quiet: &[("GEMINI_TELEMETRY_ENABLED", "false"), ("GEMINI_CLI_NO_RELAUNCH", "true")],
    login: Login {
        directories: &[("GEMINI_CLI_HOME", ".gemini"), ("HOME", ".gemini")],
        file: "oauth_creds.json",
        ways: &[
            ("GOOGLE_GENAI_USE_VERTEXAI", "vertex"),
            ("GEMINI_API_KEY", "api_key"),
            ("GOOGLE_API_KEY", "api_key"),
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "access_token"),
            ("GEMINI_CLI_USE_COMPUTE_ADC", "compute"),
        ],
        read,
        witnessed: false,
    },
};

fn read(text: &[u8]) -> serde_json::Result<Vec<Tokens>> {
    let found: OAuth = serde_json::from_slice(text)?;
    let tokens = Tokens { access_ends: found.expiry_date, refresh: found.refresh_token.0, refresh_ends: None };
    // It gets itself an access token when it has none.
    Ok((found.access_token.0 || found.refresh_token.0).then_some(tokens).into_iter().collect())
}

#[derive(Deserialize)]
struct OAuth {
    #[serde(default)]
    access_token: Filled,
    #[serde(default)]
    refresh_token: Filled,
    #[serde(default, deserialize_with = "millis")]
    expiry_date: Option<Duration>,
}
