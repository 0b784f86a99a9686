//! Tells the program which revision it was built from.

use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "a build script has no settings")]
fn main() {
    println!("cargo::rerun-if-env-changed=PULSEGATE_REVISION");
    for path in [".git/HEAD", ".git/logs/HEAD"] {
        if std::path::Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=src/build.rs");
    let revision = std::env::var("PULSEGATE_REVISION").ok().or_else(from_git).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=PULSEGATE_REVISION={revision}");
}

fn from_git() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let revision = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !revision.is_empty()).then_some(revision)
}
