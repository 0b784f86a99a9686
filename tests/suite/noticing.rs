//! What is noticed of files that change in odd ways, and files that are none.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::{PATIENCE, Settings, Sidecar, Upstream, ask, eventually, home_with_login, run};

fn with_key(upstream: &Upstream, key: &Path) -> Settings {
    Sidecar::bare(upstream).raw("admin.api_keys", &format!("[{{ file = {:?} }}]", key.display().to_string()))
}

/// Whether a key admits who does not speak for itself.
fn admits(sidecar: &Sidecar, key: &str) -> bool {
    let fields = [("x-forwarded-for", "10.0.0.1"), ("x-api-key", key)];
    ask(sidecar.admin, "POST", "/-/maintenance/off", &fields, b"").status == 200
}

/// In the place of what is there, as a whole.
fn put(file: &Path, text: &str, mode: u32) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("a file");
    std::fs::set_permissions(&next, Permissions::from_mode(mode)).expect("a mode");
    std::fs::rename(&next, file).expect("in its place");
}

fn put_pipe(file: &Path) {
    let next = file.with_extension("pipe");
    assert!(run(Command::new("mkfifo").arg(&next)).code == Some(0));
    std::fs::rename(&next, file).expect("in its place");
}

#[test]
fn a_mode_that_is_put_right_is_noticed() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let key = home.path().join("key");
    put(&key, "first-invented-key", 0o644);
    let settings = with_key(&upstream, &key);
    let sidecar = Sidecar::start_in(home, &settings, |command| {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Root reads whatever its mode is.
        let home = command.get_current_dir().expect("a directory").to_owned();
        std::fs::set_permissions(home, Permissions::from_mode(0o755)).expect("a mode");
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        wrapped.arg(command.get_program()).args(command.get_args()).env_clear();
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped.current_dir(command.get_current_dir().expect("a directory"));
        *command = wrapped;
    })
    .ready();
    assert!(admits(&sidecar, "first-invented-key"));
    // As a renewal does it that moves first, and changes owner and mode then.
    put(&key, "second-invented-key", 0o000);
    eventually(PATIENCE, "it is refused", || sidecar.log().contains("not reloaded: everything stays as it was"));
    assert!(admits(&sidecar, "first-invented-key") && !admits(&sidecar, "second-invented-key"));
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("a mode");
    eventually(PATIENCE, "the new key is in effect", || admits(&sidecar, "second-invented-key"));
    assert!(!admits(&sidecar, "first-invented-key"));
}

#[test]
fn a_pipe_in_the_place_of_a_key_is_refused_and_waited_for_by_nobody() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let key = home.path().join("key");
    let settings = with_key(&upstream, &key);
    put_pipe(&key);
    for command in ["validate", "run"] {
        let ended = run(Sidecar::command(home.path(), &settings).arg(command));
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(2), "{said}");
        assert!(said.contains("it is no ordinary file, and pipes and devices are not read"), "{said}");
    }
    put(&key, "first-invented-key", 0o644);
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    put_pipe(&key);
    eventually(PATIENCE, "it is refused", || sidecar.log().contains("it is no ordinary file"));
    assert_eq!(ask(sidecar.admin, "POST", "/-/reload", &[], b"").status, 422);
    put(&key, "second-invented-key", 0o644);
    eventually(PATIENCE, "the new key is in effect", || admits(&sidecar, "second-invented-key"));

    // Its own file: whoever has it reload waits for it, for itself nobody does.
    let file = sidecar.home().join("pulsegate.toml");
    put_pipe(&file);
    eventually(PATIENCE, "it is refused", || sidecar.log().contains("the configuration's file is a pipe"));
    put(&file, &settings.text("service.version", "2").to_toml(), 0o644);
    eventually(PATIENCE, "the file is read", || sidecar.log().contains("\"changed\":\"service.version\""));
}

#[test]
fn what_changes_while_no_descriptor_is_free_is_read_when_one_is() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let key = home.path().join("key");
    put(&key, "first-invented-key", 0o644);
    let settings = with_key(&upstream, &key);
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    assert!(admits(&sidecar, "first-invented-key"));
    let process = i32::try_from(sidecar.process.id()).ok().and_then(Pid::from_raw);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |most| prlimit(process, Resource::Nofile, Rlimit { current: Some(most), maximum }).expect("a limit");
    // Not one more than there are.
    limit(3);
    put(&key, "second-invented-key", 0o644);
    let told = "files that are watched cannot be read: they are looked at again";
    eventually(PATIENCE, "it is told", || sidecar.log().contains(told));
    limit(1024);
    // Nothing happens any more, and it is looked at.
    eventually(PATIENCE, "the new key is in effect", || admits(&sidecar, "second-invented-key"));
    assert_eq!(sidecar.log().matches(told).count(), 1);
    assert!(!sidecar.log().contains("not reloaded"), "{}", sidecar.log());
}
