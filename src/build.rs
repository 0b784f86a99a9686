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
    // The revision's time in place of the clock's, so that the same source makes the same program.
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let of_revision = || git(&["log", "-1", "--format=%ct"]);
    let built = std::env::var("SOURCE_DATE_EPOCH").ok().or_else(of_revision).unwrap_or_default();
    println!("cargo::rustc-env=PULSEGATE_BUILT={built}");
}

fn from_git() -> Option<String> {
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
