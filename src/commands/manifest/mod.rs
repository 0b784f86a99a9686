//! What a pod needs for the sidecar, as YAML for those who paste: the same that the Helm charts render.

use std::process::ExitCode;

use super::arguments::Manifest;
use super::{EXIT_USAGE, print, say};
use crate::app::VERSION;
use crate::config::Sources;

const OBJECTS: &str = include_str!("objects.yaml");
const SIDECAR: &str = include_str!("sidecar.yaml");

const NATIVE: &str = "\
# A native sidecar: it starts before the app, gates the pod's readiness, and is stopped after the app.
restartPolicy: Always";

/// The longest name that leaves room for what is appended.
const MOST_IN_A_NAME: usize = 50;

/// Prints the objects.
pub(super) fn manifest(arguments: &Manifest, sources: &Sources) -> ExitCode {
    if let Some(problem) = problem(arguments, sources) {
        say(&format!("pulsegate: {problem}\n"));
        return ExitCode::from(EXIT_USAGE);
    }
    print(&text(arguments));
    ExitCode::SUCCESS
}

fn text(arguments: &Manifest) -> String {
    let (native, init, beside) = if arguments.native {
        (NATIVE, format!("# >>>\ninitContainers:\n{}", indented(SIDECAR.trim_end(), 2)), String::new())
    } else {
        ("", String::new(), format!("# >>>\n{}", SIDECAR.trim_end()))
    };
    let about = if arguments.native {
        "An app with pulsegate as a native sidecar, for Kubernetes 1.29 or newer"
    } else {
        "An app with pulsegate as an ordinary container beside it"
    };
    let image = arguments.image.clone().unwrap_or_else(|| format!("pulsegate:{VERSION}"));
    let objects = place(&place(OBJECTS, "{init}", &init), "{beside}", &beside);
    place(&objects, "{native}", native)
        .replace("{about}", &format!("{about}; by pulsegate {VERSION}."))
        .replace("{name}", &arguments.name)
        .replace("{image}", &quoted(&image))
        .replace("{app_image}", &quoted(&arguments.app_image))
        .replace("{app_port}", &arguments.app_port.to_string())
        .replace("{traffic_port}", &arguments.traffic_port.to_string())
        .replace("{admin_port}", &arguments.admin_port.to_string())
}

/// Puts a block in place of the line that holds only the mark, as deep as the mark is; no line for an empty one.
fn place(text: &str, mark: &str, block: &str) -> String {
    let mut placed = String::new();
    for line in text.lines() {
        if line.trim_start() != mark {
            placed.push_str(line);
        } else if block.is_empty() {
            continue;
        } else {
            placed.push_str(&indented(block, line.len() - mark.len()));
        }
        placed.push('\n');
    }
    placed
}

fn indented(block: &str, depth: usize) -> String {
    let lines: Vec<String> = block.lines().map(|line| format!("{:depth$}{line}", "")).collect();
    lines.join("\n")
}

/// A text that YAML cannot take for anything else. JSON's notation is YAML's too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What Kubernetes, or the sidecar in there, would refuse.
fn problem(arguments: &Manifest, sources: &Sources) -> Option<String> {
    if let Some(flag) = sources.flags.first() {
        return Some(format!(
            "{} sets up a sidecar that runs here; manifest has flags of its own: see pulsegate manifest --help",
            flag.name
        ));
    }
    let Manifest { name, image, app_image, app_port, traffic_port, admin_port, .. } = arguments;
    let of_a_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || name.ends_with('-') || !name.bytes().all(of_a_name) || name.len() > MOST_IN_A_NAME {
        return Some(format!(
            "--name must be at most {MOST_IN_A_NAME} lower-case letters, digits and dashes, and begin with a letter"
        ));
    }
    for image in [Some(app_image), image.as_ref()].into_iter().flatten() {
        let of_an_image = |byte: u8| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte);
        if image.is_empty() || !image.bytes().all(of_an_image) {
            return Some("an image looks like registry.example.org/app:1.4.2".into());
        }
    }
    if app_port == traffic_port || app_port == admin_port || traffic_port == admin_port {
        return Some("--app-port, --traffic-port and --admin-port must differ: a pod's containers share them".into());
    }
    None
}
