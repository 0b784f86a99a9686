//! The examples, as their readers run them: their own configuration files, the real programs, and what their documents ask.

mod blockchain_node;
mod claude_proxy;
mod media_pipeline;
mod platform_api;
mod voice_agent;

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Ended, PATIENCE, PULSEGATE, Process, SYSTEM_PATH, Sidecar, eventually, home_with_login, local, run,
};

/// An example that is about to be started in a home of the test's own.
struct Example {
    name: &'static str,
    home: TempDir,
    command: Command,
    flags: Vec<String>,
    /// What pulsegate is to start.
    app: Vec<String>,
}

/// A file of an example.
fn file(example: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example).join(name)
}

/// A body as the example's document prints it.
#[track_caller]
fn document(example: &str, name: &str) -> Value {
    let text = std::fs::read_to_string(file(example, name)).expect("a body of the document");
    serde_json::from_str(&text).expect("JSON")
}

impl Example {
    /// Nothing of the file is changed but where it listens and how it ends.
    fn of(name: &'static str) -> Self {
        Self::in_home(name, home_with_login())
    }

    fn in_home(name: &'static str, home: TempDir) -> Self {
        let mut command = Command::new(PULSEGATE);
        command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
        let example = Self { name, home, command, flags: Vec::new(), app: Vec::new() };
        example
            .set("proxy.listen", "127.0.0.1:0")
            .set("admin.listen", "127.0.0.1:0")
            .set("log.format", "json")
            .set("shutdown.lame_duck", "0")
    }

    /// Sets what a machine or a test has in another place, as operators do: by a variable.
    fn set(self, path: &str, value: &str) -> Self {
        let name = format!("PULSEGATE_{}", path.replace('.', "__").to_uppercase());
        self.variable(&name, value)
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the same by a flag, where a variable cannot have the name.
    fn flag(mut self, setting: &str) -> Self {
        self.flags.push(setting.to_owned());
        self
    }

    /// Asks a check so often that a test need not wait.
    fn often(self, check: &str) -> Self {
        let path = format!("checks.{check}");
        self.set(&format!("{path}.interval"), "300ms").set(&format!("{path}.fast_interval"), "100ms")
    }

    /// Starts it in another folder, for paths that are relative.
    fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// The app that pulsegate starts.
    fn app(mut self, command: &[&str]) -> Self {
        self.app = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    #[track_caller]
    fn start(mut self) -> Sidecar {
        self.command.arg("run").arg("--config").arg(file(self.name, "pulsegate.toml"));
        for flag in &self.flags {
            self.command.arg("--set").arg(flag);
        }
        if !self.app.is_empty() {
            self.command.arg("--").args(&self.app);
        }
        Sidecar::launch(self.home, self.command)
    }
}

/// A Python program, the example's own or another.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.env_clear().env("PATH", SYSTEM_PATH).stdout(Stdio::null());
    command
}

/// Starts a server of the example's and waits until it listens.
#[track_caller]
fn serve(command: &mut Command, port: u16) -> Process {
    let process = Process::start(command);
    eventually(PATIENCE, "the server listens", || TcpStream::connect(local(port)).is_ok());
    process
}

/// A file of the example in the sidecar's home, with the address of the sidecar in place of the document's.
#[track_caller]
fn addressed(sidecar: &Sidecar, example: &str, name: &str, address: &str) -> PathBuf {
    let text = std::fs::read_to_string(file(example, name)).expect("a file of the example");
    assert!(text.contains(address), "{name} does not ask {address}");
    let path = sidecar.home().join(Path::new(name).file_name().expect("a name"));
    let ours = format!("http://localhost:{}", sidecar.traffic.port());
    std::fs::write(&path, text.replace(address, &ours)).expect("a file");
    path
}

/// The first lines of the endless monitoring script, which is then ended with all that it started.
#[track_caller]
fn monitor(path: &Path, lines: usize) -> Vec<String> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("bash");
    command.arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("bash");
    let stdout = child.stdout.take().expect("a pipe");
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while said.len() < lines {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => said.push(line),
            Err(_) => break,
        }
    }
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process group");
    kill_process_group(group, Signal::KILL).expect("the script's processes");
    let _ = child.wait();
    drop(receiver);
    let _ = reader.join();
    said
}

/// A line of the shell, as a document prints it, with variables of its own.
#[track_caller]
fn shell(line: &str, variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new("bash");
    command.env_clear().env("PATH", SYSTEM_PATH).args(["-c", line]).envs(variables.iter().copied());
    run(&mut command)
}

/// Compares an answer with the document, field by field. Fields named by `other` have another value of the same type (or of
/// a type that the document allows: null), such as times; everything else must be as printed, and nothing beside it.
#[track_caller]
fn assert_as_printed(document: &Value, ours: &Value, other: &[&str]) {
    let differences = differences(document, ours, other);
    assert!(differences.is_empty(), "{differences:#?}\nin {ours:#}");
}

fn differences(document: &Value, ours: &Value, other: &[&str]) -> Vec<String> {
    let mut differences = Vec::new();
    compare(document, ours, "", other, &mut differences);
    differences
}

fn compare(document: &Value, ours: &Value, path: &str, other: &[&str], differences: &mut Vec<String>) {
    match (document, ours) {
        _ if other.contains(&path) => {
            if std::mem::discriminant(document) != std::mem::discriminant(ours) {
                differences.push(format!("{path} is {ours}, of another type than {document}"));
            }
        }
        (Value::Object(printed), Value::Object(answered)) => {
            for (name, value) in printed {
                match answered.get(name) {
                    Some(answer) => compare(value, answer, &format!("{path}/{name}"), other, differences),
                    None => differences.push(format!("{path}/{name} is missing")),
                }
            }
            for name in answered.keys().filter(|name| !printed.contains_key(*name)) {
                let beside = format!("{path}/{name}");
                if !other.contains(&&*beside) {
                    differences.push(format!("{beside} is not in the document"));
                }
            }
        }
        (Value::Array(printed), Value::Array(answered)) if printed.len() == answered.len() => {
            for (index, (value, answer)) in printed.iter().zip(answered).enumerate() {
                compare(value, answer, &format!("{path}/{index}"), other, differences);
            }
        }
        _ if document == ours => {}
        _ => differences.push(format!("{path} is {ours}, not {document}")),
    }
}

#[test]
fn a_difference_is_told() {
    let printed = serde_json::json!({ "a": 1, "b": { "c": [true] }, "at": "then", "gone": 0 });
    let ours = serde_json::json!({ "a": 2, "b": { "c": [false] }, "at": 5, "more": 0 });
    assert_eq!(
        differences(&printed, &ours, &["/at"]),
        [
            "/a is 2, not 1",
            "/b/c/0 is false, not true",
            "/at is 5, of another type than \"then\"",
            "/gone is missing",
            "/more is not in the document",
        ]
    );
}

/// Secrets that the examples' files name, invented.
const SECRETS: [(&str, &str); 5] = [
    ("api_key", "an-invented-key-of-nobody"),
    ("api_key_next", "another-invented-key-of-nobody"),
    ("jwt", "an-invented-secret-of-thirty-two-bytes"),
    ("database_url", "postgres://nobody:invented@127.0.0.1:5432/postgres"),
    ("redis_url", "redis://:invented@127.0.0.1:6379/0"),
];

/// Every example, also one that nobody has written a test for yet.
#[test]
fn every_configuration_is_valid() {
    let home = home_with_login();
    std::fs::create_dir(home.path().join("secrets")).expect("a folder");
    for (name, secret) in SECRETS {
        std::fs::write(home.path().join("secrets").join(name), secret).expect("a secret");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(root).expect("the examples").map(|entry| entry.expect("one").path());
    let examples: Vec<PathBuf> = entries.collect();
    assert!(examples.len() >= 5, "{examples:?}");
    let contents = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    for directory in examples {
        let name = directory.file_name().expect("a name").to_string_lossy();
        let mut command = Command::new(PULSEGATE);
        command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
        let ended = run(command.arg("validate").arg("--config").arg(directory.join("pulsegate.toml")));
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        assert!(directory.join("README.md").exists(), "{name} says nothing about itself");
        assert!(contents.contains(&format!("(examples/{name})")), "README.md does not tell of {name}");
    }
}
