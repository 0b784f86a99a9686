//! Which process the commands for operators reach, and that a probe reaches its own, whatever became of its files.

use std::path::Path;
use std::process::Command;

use crate::support::{
    AppCertificates, CLOSED_PORT, Ended, PATIENCE, PULSEGATE, SYSTEM_PATH, Settings, Sidecar, Upstream, Validity,
    eventually, free_port, home_with_login, run,
};

/// Runs a command in a home, with variables.
fn run_in(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = Command::new(PULSEGATE);
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home).current_dir(home);
    run(command.envs(variables.iter().copied()).args(arguments))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Settings with a management port that a file can name.
fn at_a_port(upstream: &Upstream) -> Settings {
    Sidecar::bare(upstream).text("admin.listen", &format!("127.0.0.1:{}", free_port()))
}

#[test]
fn who_names_a_file_or_a_port_reaches_that_process_and_no_other() {
    let upstream = Upstream::hello();
    for control in ["auto", "off"] {
        let sidecar = Sidecar::start(&at_a_port(&upstream).text("control.socket", control)).ready();
        let home = home_with_login();
        let admin = sidecar.admin.to_string();
        // Another configuration, with the same management port: somebody was careless, or has left it at its default.
        let other = home.path().join("other.toml");
        let settings = Sidecar::bare(&upstream).text("admin.listen", &admin);
        let settings = settings.text("proxy.listen", &format!("127.0.0.1:{CLOSED_PORT}"));
        std::fs::write(&other, settings.to_toml()).expect("a file");
        let (other, missing) = (shown(&other), shown(&home.path().join("missing.toml")));
        let same = [("PULSEGATE_ADMIN__LISTEN", admin.as_str())];
        let elsewhere = format!("127.0.0.1:{CLOSED_PORT}");
        let in_list = format!("proxy.listen=[\"{elsewhere}\"]");
        let typo = format!("admin.listn={admin}");
        for arguments in [
            &["drain", "--port", "1"][..],
            &["drain", "--listen", &elsewhere],
            &["maintenance", "on", "--listen", &elsewhere],
            &["drain", "--set", &in_list],
            &["drain", "--config", &other],
            &["drain", "--wait", "--config", &other],
            &["drain", "--config", &missing],
            &["drain", "--config", &missing, "--port", "1"],
            &["drain", "--admin-listen", &admin, "--port", "1"],
            &["drain", "--port", "99999"],
            &["drain", "--admin-listen", "nowhere"],
            &["drain", "--set", &typo],
        ] {
            let ended = run_in(home.path(), &same, arguments);
            assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{arguments:?}: {ended:?}");
            assert!(ended.stderr.starts_with("pulsegate: "), "{arguments:?}: {}", ended.stderr);
            assert_eq!(sidecar.admin("/readyz").status, 200, "{arguments:?} with control.socket {control}");
        }
        let ended = run_in(home.path(), &same, &["drain", "--port", "1"]);
        let said = "another process answers here than the one with this file or port: nothing was done";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        // Its own file, by whatever name leads there.
        let file = sidecar.home().join("pulsegate.toml");
        let around = sidecar.home().join(".claude/../pulsegate.toml");
        for file in [&file, &around] {
            let ended = run_in(home.path(), &[], &["drain", "--config", &shown(file)]);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            sidecar.await_code("/readyz", 503);
            let ended = run_in(home.path(), &[("PULSEGATE_CONFIG", &shown(file))], &["undrain"]);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            sidecar.await_code("/readyz", 200);
        }
    }
}

#[test]
fn a_file_that_is_a_link_may_lead_elsewhere_by_now() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let named = home.path().join("pulsegate.toml");
    let settings = Sidecar::bare(&upstream);
    let command = Sidecar::command(home.path(), &settings);
    let folder = home.path().to_owned();
    // As Kubernetes mounts a ConfigMap, and changes it.
    let point_to = |version: &str| {
        let versioned = folder.join(version);
        std::fs::write(&versioned, settings.to_toml()).expect("a file");
        std::fs::remove_file(&named).expect("removed");
        std::os::unix::fs::symlink(&versioned, &named).expect("a link");
    };
    point_to("1");
    let sidecar = Sidecar::launch(home, command).ready();
    point_to("2");
    let ended = run_in(&folder, &[], &["drain", "--config", &shown(&named)]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    sidecar.await_code("/readyz", 503);
}

#[test]
fn a_probe_looks_at_the_process_and_not_at_its_file() {
    let upstream = Upstream::hello();
    let settings = at_a_port(&upstream);
    for control in ["auto", "off"] {
        let settings = settings.clone().text("control.socket", control);
        let mut sidecar = Sidecar::start(&settings).ready();
        let home = sidecar.home();
        let file = home.join("pulsegate.toml");
        let probe = || run_in(&home, &[], &["probe", "/livez", "--config", &shown(&file)]);
        assert_eq!(probe().code, Some(0));
        let write = |text: &str| std::fs::write(&file, text).expect("written");
        let good = settings.to_toml();
        for wrong in [
            good.clone() + "proxy.upsteam = \"x\"\n",
            good.clone() + "admin.api_keys = [{ file = \"/no/such/file\" }]\n",
            good.clone() + "proxy.timeouts.idle = \"soon\"\n",
            good.clone() + "= what is this\n",
        ] {
            write(&wrong);
            let probed = probe();
            assert_eq!((probed.code, &*probed.stderr), (Some(0), ""), "{wrong}");
        }
        // Where nothing can be known of it, it must be found.
        let found = if control == "auto" { Some(0) } else { Some(2) };
        write("preset = \"none\"\nadmin.listen = 5\n");
        assert_eq!(probe().code, found);
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(probe().code, found);
        // An address for the next start is not where it is.
        write(&settings.clone().text("admin.listen", "127.0.0.1:1").to_toml());
        assert_eq!(probe().code == Some(0), control == "auto");
        sidecar.insist(rustix::process::Signal::TERM);
        // With no process there is none that is well.
        assert!(matches!(probe().code, Some(1 | 2)));
    }
}

#[test]
fn a_probe_does_not_mind_a_certificate_that_is_not_served_yet() {
    let upstream = Upstream::hello();
    let authority = AppCertificates::new();
    let served = authority.issue("status.example", Validity::Now);
    let settings = at_a_port(&upstream)
        .text("admin.tls.cert", &shown(&served.cert))
        .text("admin.tls.key", &shown(&served.key))
        .raw("reload.watch", "false");
    let sidecar = Sidecar::start(&settings);
    let home = sidecar.home();
    let file = home.join("pulsegate.toml");
    let ask = |command: &[&str]| {
        let mut arguments = command.to_vec();
        let file = shown(&file);
        arguments.extend(["--config", &file]);
        run_in(&home, &[], &arguments)
    };
    let probe = || {
        let probed = ask(&["probe", "/livez"]);
        assert_eq!((probed.code, &*probed.stderr), (Some(0), ""));
    };
    probe();
    let next = authority.issue("status.example", Validity::Now);
    std::fs::copy(&next.cert, &served.cert).expect("a certificate");
    probe();
    std::fs::write(&served.cert, "-----BEGIN CERTIFICATE-----\nMIIB").expect("half a certificate");
    probe();
    std::fs::remove_file(&served.cert).expect("removed");
    probe();
    // It is not the port alone that must answer: what the process says counts.
    assert_eq!(ask(&["drain"]).code, Some(0));
    eventually(PATIENCE, "unready", || ask(&["probe"]).code == Some(1));
    // A management port that is named is the one that is meant, with the certificate that is named.
    std::fs::copy(&next.cert, &served.cert).expect("a certificate");
    let admin = sidecar.admin.to_string();
    assert_ne!(ask(&["probe", "/livez", "--admin-listen", &admin]).code, Some(0));
}
