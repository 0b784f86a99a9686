use crate::settings::{Node, Origin, Problems, Reader, Table, Value};

/// The presets by name.
pub(super) const PRESETS: [(&str, &str); 2] =
    [("claude-proxy", include_str!("presets/claude-proxy.toml")), ("none", include_str!("presets/none.toml"))];

/// The preset when nothing else is asked for.
const DEFAULT: &str = "claude-proxy";

/// The tree of the preset that the configuration names.
pub(super) fn table(chosen: Option<&Node>, problems: &Problems) -> Option<Table> {
    let default = Node { value: Value::Text(DEFAULT.into()), origin: Origin::Default };
    let words: Vec<(&str, (&str, &str))> = PRESETS.iter().map(|preset| (preset.0, *preset)).collect();
    let (name, text) = Reader::word(chosen.unwrap_or(&default), "preset", problems, &words)?;
    Some(super::file::parse(text, problems, |_| Origin::Preset(name.to_owned())))
}
