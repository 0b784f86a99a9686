use crate::settings::{Node, Problems, Reader, Setting};

/// What is known of one CLI.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Preset {
    /// Its name in the configuration.
    pub(crate) name: &'static str,
    /// How sentences call it.
    pub(crate) label: &'static str,
    /// Its command.
    pub(crate) command: &'static str,
    /// Its npm package, whose `package.json` tells the version without running anything.
    pub(crate) package: &'static str,
    /// Where a Python SDK keeps a copy of it, below `site-packages`.
    pub(crate) bundled: Option<&'static str>,
    /// Switches off what a health check must not cause: telemetry, updates, other traffic.
    pub(crate) quiet: &'static [(&'static str, &'static str)],
}

/// The CLIs that are known.
pub(crate) const PRESETS: [&Preset; 2] = [&CLAUDE, &CODEX];

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
};

/// OpenAI's Codex.
pub(crate) const CODEX: Preset =
    Preset { name: "codex", label: "Codex CLI", command: "codex", package: "@openai/codex", bundled: None, quiet: &[] };

impl Setting for &'static Preset {
    const EXPECTS: &'static str = "\"claude\" or \"codex\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Words(&["claude", "codex"]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        Reader::word(node, path, problems, &PRESETS.map(|preset| (preset.name, preset)))
    }
}
