use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;

use super::sidecar::SYSTEM_PATH;
use super::{Client, Process, eventually_some, free_port, local, tool};

/// How long a Python server may take to start on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(120);

/// A real server beside the tests.
pub(crate) struct Peer {
    process: Mutex<Process>,
    port: u16,
    home: TempDir,
    start: fn(u16, &TempDir) -> Command,
    alive: &'static str,
}

/// The master key of the LiteLLM of the tests.
pub(crate) const LITELLM_KEY: &str = "sk-test-invented";

impl Peer {
    #[track_caller]
    fn new(start: fn(u16, &TempDir) -> Command, alive: &'static str) -> Self {
        let home = tempfile::tempdir().expect("a home");
        let port = free_port();
        let process = Mutex::new(launch(start(port, &home)));
        let peer = Self { process, port, home, start, alive };
        peer.wait();
        peer
    }

    /// A LiteLLM with a model that answers `hello from the mock`. It takes seconds and hundreds of megabytes to start, so
    /// tests that run at the same time and leave it alone share one.
    #[track_caller]
    pub(crate) fn shared_litellm() -> Arc<Self> {
        static SHARED: Mutex<Weak<Peer>> = Mutex::new(Weak::new());
        // A test that failed while it waited here says so itself.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = shared.upgrade() {
            return peer;
        }
        let peer = Arc::new(Self::litellm());
        *shared = Arc::downgrade(&peer);
        peer
    }

    /// A LiteLLM of one's own.
    #[track_caller]
    pub(crate) fn litellm() -> Self {
        Self::new(litellm, "/health/liveliness")
    }

    /// A ccproxy.
    #[track_caller]
    pub(crate) fn ccproxy() -> Self {
        Self::new(ccproxy, "/health")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        self.process.lock().expect("the process").kill();
    }

    /// Starts it again at the same port, without waiting.
    pub(crate) fn restart(&self) {
        *self.process.lock().expect("the process") = launch((self.start)(self.port, &self.home));
    }

    /// Waits until it answers.
    #[track_caller]
    pub(crate) fn wait(&self) {
        eventually_some(START, "the peer answers", || {
            let mut process = self.process.lock().expect("the process");
            if let Some(status) = process.status() {
                panic!("the peer ended with {status}:\n{}", process.said().join("\n"));
            }
            let answer = Client::try_connect(local(self.port)).ok()?.ask("GET", self.alive, &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
    }
}

fn launch(mut command: Command) -> Process {
    Process::start(command.stdout(Stdio::null()))
}

fn litellm(port: u16, home: &TempDir) -> Command {
    let config = home.path().join("litellm.yaml");
    let text = "model_list:\n- model_name: mock\n  litellm_params:\n    model: openai/mock\n    api_key: none\n    \
                mock_response: hello from the mock\n";
    std::fs::write(&config, text).expect("a configuration");
    let mut command = Command::new(tool("litellm/bin/litellm"));
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_MASTER_KEY", LITELLM_KEY);
    command.arg("--config").arg(config).args(["--host", "127.0.0.1", "--num_workers", "1", "--port"]);
    command.arg(port.to_string());
    command
}

fn ccproxy(port: u16, home: &TempDir) -> Command {
    let directory = home.path().join(".config/ccproxy");
    std::fs::create_dir_all(&directory).expect("a directory");
    let text = "enabled_plugins = [\"claude_sdk\", \"metrics\"]\n[binary]\npackage_manager_only = false\n\
                fallback_enabled = false\n[scheduler]\nversion_check_enabled = false\n";
    std::fs::write(directory.join("config.toml"), text).expect("a configuration");
    let mut command = Command::new(tool("ccproxy/bin/ccproxy"));
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
    command.args(["serve", "--host", "127.0.0.1", "--port"]).arg(port.to_string());
    command
}
