use std::fmt::Write as _;

/// A configuration file in the making: dotted paths and values in TOML's notation, later ones in place of earlier ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// Sets a value that is written as it is: `5`, `true`, `["a"]`.
    pub(crate) fn raw(mut self, path: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != path);
        self.0.push((path.to_owned(), value.to_owned()));
        self
    }

    /// Sets a text.
    pub(crate) fn text(self, path: &str, value: &str) -> Self {
        self.raw(path, &serde_json::Value::from(value).to_string())
    }

    /// Takes a setting back.
    pub(crate) fn without(mut self, path: &str) -> Self {
        self.0.retain(|(known, _)| known != path);
        self
    }

    /// Takes back every setting whose path begins so.
    pub(crate) fn without_all(mut self, path: &str) -> Self {
        self.0.retain(|(known, _)| !known.starts_with(path));
        self
    }

    /// The file.
    pub(crate) fn to_toml(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (path, value)| {
            let _ = writeln!(text, "{path} = {value}");
            text
        })
    }
}
