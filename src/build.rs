//! Tells the program which revision it was built from, and the linker in which order its functions go.

use std::process::Command;

fn main() {
    revision();
    layout();
    profile();
}

#[expect(clippy::disallowed_methods, reason = "a build script has no settings")]
fn revision() {
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

/// Has the functions that run put side by side: 3 MiB less of the program is in memory then.
/// `PULSEGATE_LAYOUT=none` leaves the order to the linker.
#[expect(clippy::disallowed_methods, reason = "a build script has no settings")]
fn layout() {
    /// Linkers that do not know linker scripts with `INSERT`, as they are named in flags.
    const WITHOUT_SCRIPTS: [&str; 3] = ["mold", "wild", "gold"];
    const SCRIPT: &str = "packaging/layout.ld";
    println!("cargo::rerun-if-env-changed=PULSEGATE_LAYOUT");
    println!("cargo::rerun-if-changed={SCRIPT}");
    let of = |name| std::env::var(name).unwrap_or_default();
    let linker = of("CARGO_ENCODED_RUSTFLAGS") + &of("RUSTC_LINKER");
    let wanted = of("CARGO_CFG_TARGET_OS") == "linux" && of("PROFILE") == "release" && of("PULSEGATE_LAYOUT") != "none";
    if wanted && !WITHOUT_SCRIPTS.iter().any(|name| linker.contains(name)) {
        println!("cargo::rustc-link-arg-bins=-T");
        println!("cargo::rustc-link-arg-bins={}/{SCRIPT}", of("CARGO_MANIFEST_DIR"));
    }
}

/// Has the library built anew when `packaging/rustc` tells the compiler something else, which cargo cannot know.
fn profile() {
    println!("cargo::rerun-if-env-changed=PULSEGATE_PROFILE");
    println!("cargo::rerun-if-changed=packaging/pulsegate.profdata");
}

fn from_git() -> Option<String> {
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
