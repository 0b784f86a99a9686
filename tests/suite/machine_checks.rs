//! Checks of what a machine holds and has left: manifests that the real sha256sum wrote, the machine's own figures.

use std::process::Command;

use serde_json::{Value, json};

use crate::local_checks::{await_status, await_told, quick, telling};
use crate::support::{Random, Sidecar, Upstream, home_with_login};

#[test]
fn files_are_as_sha256sum_says() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let scripts = home.path().join("scripts");
    std::fs::create_dir_all(scripts.join("sub")).expect("a directory");
    let names = ["asr.py", "with space.py", "back\\slash", "new\nline", "sub/ünï.py", "-dash", "large.bin"];
    for name in names {
        std::fs::write(scripts.join(name), name).expect("a file");
    }
    // Far larger than what may be in memory; most of it takes no room on the disk.
    let large = std::fs::File::options().write(true).open(scripts.join("large.bin")).expect("a file");
    large.set_len(256 << 20).expect("a length");
    for (mode, manifest) in [("--text", "text.sums"), ("--binary", "binary.sums")] {
        let output = Command::new("sha256sum").current_dir(&scripts).args([mode, "--"]).args(names).output();
        let output = output.expect("sha256sum");
        assert!(output.status.success(), "{output:?}");
        std::fs::write(home.path().join(manifest), &output.stdout).expect("a manifest");
    }
    let mut settings = telling(&upstream, &home.path().join("key"));
    for check in ["text", "binary"] {
        settings = quick(settings, check)
            .text(&format!("checks.{check}.integrity.directory"), &scripts.display().to_string())
            .text(
                &format!("checks.{check}.integrity.manifest"),
                &home.path().join(format!("{check}.sums")).display().to_string(),
            );
    }
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    for check in ["text", "binary"] {
        let told = await_status(&sidecar, check, "healthy");
        assert_eq!((&told["matched"], &told["total"], &told["ok"]), (&json!(7), &json!(7), &json!(true)));
    }
    let resident = sidecar.process.resident_kib();
    assert!(resident < 64 * 1024, "a file of 256 MiB is read in pieces: {resident} KiB");

    std::fs::write(scripts.join("asr.py"), "other").expect("a file");
    std::fs::remove_file(scripts.join("sub/ünï.py")).expect("gone");
    std::fs::remove_file(scripts.join("-dash")).expect("gone");
    std::os::unix::fs::symlink("/etc/passwd", scripts.join("-dash")).expect("a link");
    let told = await_told(&sidecar, "text", |told| told["matched"] == 4);
    assert_eq!((&told["status"], &told["ok"]), (&json!("unhealthy"), &json!(false)));
    let counts = ["total", "changed", "missing", "refused", "unreadable"].map(|name| told[name].as_u64());
    assert_eq!(counts, [Some(7), Some(1), Some(1), Some(1), Some(0)], "{told}");
    assert_eq!(told["files"], json!(["asr.py", "sub/ünï.py", "-dash"]));
    assert_eq!(told["error"], "text matches its manifest in 4 of 7 files");
    assert!(!sidecar.admin("/told").text().contains("asr.py"), "a stranger learns numbers");
    assert_eq!(sidecar.admin("/readyz").status, 200, "by default it degrades");

    std::fs::write(sidecar.home().join("text.sums"), "no manifest\n").expect("a manifest");
    let told = await_told(&sidecar, "text", |told| told["matched"] == Value::Null && told["error_detail"].is_string());
    assert_eq!(told["error"], "text has a manifest that cannot be understood");
    std::fs::remove_file(sidecar.home().join("binary.sums")).expect("gone");
    await_told(&sidecar, "binary", |told| told["error"] == "binary has no manifest");
}

#[test]
fn files_that_have_not_changed_are_not_read_again() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let scripts = home.path().join("scripts");
    std::fs::create_dir(&scripts).expect("a directory");
    let mut random = Random(7);
    for number in 0..300 {
        std::fs::write(scripts.join(number.to_string()), random.bytes(4096)).expect("a file");
    }
    let output = Command::new("sh").current_dir(&scripts).args(["-c", "sha256sum *"]).output().expect("sha256sum");
    let manifest = home.path().join("sums");
    std::fs::write(&manifest, &output.stdout).expect("a manifest");
    let settings = quick(telling(&upstream, &home.path().join("key")), "scripts")
        .text("checks.scripts.integrity.directory", &scripts.display().to_string())
        .text("checks.scripts.integrity.manifest", &manifest.display().to_string());
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    assert_eq!(await_status(&sidecar, "scripts", "healthy")["matched"], 300);
    // What a run reads, by the kernel's count of this process; the manifest itself is 20 kB.
    let read = || -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", sidecar.process.id())).expect("counts");
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("bytes read");
        line.parse().expect("a number")
    };
    let runs = || sidecar.metric("pulsegate_check_runs_total", &["check=\"scripts\"", "outcome=\"pass\""]);
    crate::support::eventually(crate::support::PATIENCE, "runs read the manifest alone", || {
        let (before, begun) = (read(), runs());
        crate::support::eventually(crate::support::PATIENCE, "it runs on", || runs() >= begun + 3.0);
        // Three or four runs of 1.2 MB each, if all were read.
        read() - before < 300 * 4096
    });
}

#[test]
fn the_machine_is_measured_and_judged() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = quick(telling(&upstream, &home.path().join("key")), "system")
        .text("checks.system.timeout", "1s")
        .text("checks.system.interval", "1s")
        .raw("checks.system.system.max_fd_percent", "100")
        .raw("checks.system.system.max_memory_used_percent", "100")
        .text("checks.full.system.min_disk_free", "1000000GiB")
        .raw("checks.full.failure_threshold", "1")
        .raw("checks.nowhere.system", "{ path = \"/nonexistent\", min_disk_free = \"1B\" }");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    let told = await_status(&sidecar, "system", "healthy");
    for name in ["cpu_used_percent", "memory_used_percent", "disk_used_percent", "fd_used_percent"] {
        assert!(told[name].as_f64().is_some_and(|percent| (0.0..=100.0).contains(&percent)), "{name}: {told}");
    }
    let mb = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{name}: {told}"));
    assert!(mb("memory_available_mb") > 0 && mb("memory_available_mb") <= mb("memory_total_mb"), "{told}");
    assert!(mb("disk_free_mb") > 0, "{told}");
    let full = await_status(&sidecar, "full", "unhealthy");
    assert_eq!(
        (&full["error"], &full["fd_used_percent"]),
        (&json!("full has too little left on its disk"), &Value::Null)
    );
    let nowhere = await_told(&sidecar, "nowhere", |told| told["error"].is_string() && told["last_check"].is_string());
    assert_eq!((&nowhere["status"], &nowhere["disk_free_mb"]), (&json!("unknown"), &Value::Null));
}
