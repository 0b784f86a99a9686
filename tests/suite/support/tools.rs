use std::path::{Path, PathBuf};

/// A real program that `tests/tools` has installed below `target/tools`. Without it the test fails: skipped in silence it
/// would prove nothing.
#[track_caller]
pub(crate) fn tool(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path);
    assert!(file.exists(), "{} is missing: run tests/run, which installs it", file.display());
    file
}

/// The real Claude CLI of a version.
#[track_caller]
pub(crate) fn claude(version: &str) -> PathBuf {
    tool(&format!("claude-{version}/node_modules/.bin/claude"))
}
