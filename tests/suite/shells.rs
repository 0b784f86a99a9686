//! What shells and manuals are given, as the real ones read it.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use pulsegate::commands::Arguments;

use crate::support::{PULSEGATE, SYSTEM_PATH, run, tool};

fn printed(arguments: &[&str]) -> String {
    let ended = run(Command::new(PULSEGATE).env_clear().args(arguments));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{arguments:?}");
    ended.stdout
}

/// The completions of a shell, in a file.
fn script(shell: &str, folder: &Path) -> PathBuf {
    let file = folder.join(shell);
    std::fs::write(&file, printed(&["completions", shell])).expect("the script");
    file
}

/// What a program says about a text that it reads, which must be to its liking.
#[track_caller]
fn asked(program: &Path, arguments: &[&str], home: &Path) -> String {
    let ended = run(Command::new(program).env_clear().env("HOME", home).env("PATH", SYSTEM_PATH).args(arguments));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{} {arguments:?}", program.display());
    ended.stdout
}

/// All commands that are shown, with their long flags.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut whole = Arguments::command();
    whole.build();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let flags = |command: &clap::Command| {
        let long = command.get_arguments().filter(|argument| !argument.is_hide_set()).filter_map(clap::Arg::get_long);
        long.map(|long| format!("--{long}")).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = shown.map(|command| (command.get_name().to_owned(), flags(command))).collect();
    assert!(all.len() > 12 && all.iter().all(|(_, flags)| flags.len() > 8), "{all:?}");
    all.push((String::new(), flags(&whole)));
    all
}

#[test]
fn every_shell_can_read_its_completions() {
    let home = tempfile::tempdir().expect("a folder");
    for (shell, program, check) in [
        ("bash", PathBuf::from("/bin/bash"), "-n"),
        ("zsh", tool("shells/bin/zsh"), "-fn"),
        ("fish", tool("shells/bin/fish"), "--no-execute"),
    ] {
        let script = script(shell, home.path());
        assert_eq!(asked(&program, &[check, &script.display().to_string()], home.path()), "", "{shell}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = printed(&["completions", shell]);
        for (command, flags) in commands() {
            assert!(text.contains(&command), "{command} for {shell}");
            for flag in flags {
                // fish has them without their dashes: -l config.
                let word = if shell == "fish" { flag.replace("--", "-l ") } else { flag };
                assert!(text.contains(&word), "{word} of {command} for {shell}");
            }
        }
        assert!(!text.contains("become"), "what is hidden stays hidden, for {shell}");
    }
    assert_eq!(run(Command::new(PULSEGATE).args(["completions", "tcsh"])).code, Some(2));
}

#[test]
fn bash_and_fish_complete_what_is_typed() {
    let home = tempfile::tempdir().expect("a folder");
    let bash = script("bash", home.path()).display().to_string();
    let fish = script("fish", home.path()).display().to_string();
    let in_bash = |words: &str| {
        let last = words.split(' ').count() - 1;
        let code = format!(
            "source {bash}; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _pulsegate pulsegate \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        asked(Path::new("/bin/bash"), &["--norc", "-c", &code], home.path())
    };
    assert_eq!(in_bash("pulsegate maint"), "maintenance\n");
    assert_eq!(in_bash("pulsegate probe --time"), "--timeout\n");
    assert_eq!(in_bash("pulsegate --admin"), "--admin-listen\n");
    assert_eq!(in_bash("pulsegate completions z"), "zsh\n");
    let in_fish = |line: &str| {
        let code = format!("source {fish}; complete -C '{line}'");
        let offered = asked(&tool("shells/bin/fish"), &["--no-config", "-c", &code], home.path());
        offered.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(in_fish("pulsegate maint"), ["maintenance"]);
    assert_eq!(in_fish("pulsegate probe --time"), ["--timeout"]);
}

#[test]
fn every_command_has_a_manual_page_with_all_its_flags() {
    let (home, mandoc) = (tempfile::tempdir().expect("a folder"), tool("shells/bin/mandoc"));
    let folder = home.path().join("share/man/man1");
    printed(&["man", "--directory", &folder.display().to_string()]);
    let pages = std::fs::read_dir(&folder).expect("the pages").count();
    assert_eq!(pages, commands().len());
    for (command, flags) in commands() {
        let name = if command.is_empty() { "pulsegate".to_owned() } else { format!("pulsegate-{command}") };
        let page = folder.join(format!("{name}.1")).display().to_string();
        let mut arguments = vec!["man"];
        arguments.extend((!command.is_empty()).then_some(&*command));
        assert_eq!(printed(&arguments), std::fs::read_to_string(&page).expect("the page"), "{name}");
        // It says what it finds on standard output.
        assert_eq!(asked(&mandoc, &["-T", "lint", "-W", "warning", &page], home.path()), "", "{name}");
        let text = asked(&mandoc, &["-T", "ascii", "-O", "width=200", &page], home.path());
        // Bold is a letter twice on one place.
        let text: String =
            text.split('\u{8}').map(|part| part.strip_suffix(|_| true).unwrap_or(part)).collect::<Vec<_>>().concat();
        assert!(text.contains(&format!("{name}(1)")), "{text}");
        for flag in flags {
            assert!(text.contains(&flag), "{flag} in {text}");
        }
    }
    let main = printed(&["man"]);
    for (command, _) in commands() {
        assert!(main.contains(&format!("pulsegate\\-{command}")) || command.is_empty(), "{command}");
    }
    let none = run(Command::new(PULSEGATE).args(["man", "nothing"]));
    assert_eq!((none.code, none.stdout.as_str()), (Some(2), ""));
    let nowhere = run(Command::new(PULSEGATE).args(["man", "--directory", "/proc/nowhere"]));
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
}
