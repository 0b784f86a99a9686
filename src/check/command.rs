use std::ffi::OsString;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use regex_lite::Regex;

use super::subprocess::Subprocess;
use super::{Check, Defaults, Kind, Prepare, Resources, refused};
use crate::health::{Facts, Finding, Reason};
use crate::settings::Argv;

pub(super) const KIND: Kind = Kind::of::<Command>(
    "command",
    "Runs a program and judges its exit code and its output.",
    Defaults { interval: "30s", timeout: "10s", failure_threshold: "3", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `command` check.
    pub struct Command {
        /// The program and its arguments. Never a shell: write ["sh", "-c", "…"] if you mean one.
        argv: Argv,
        /// The exit code that is good.
        expect_exit: i64 = "0",
        /// A regular expression that the standard output must match.
        expect_output: Option<Regex>,
        /// Where it runs.
        directory: PathBuf = "/",
        /// Names of environment variables to pass on, beside PATH, LANG, TZ and TMPDIR.
        environment: Vec<String> = "[]",
    }
}

impl Prepare for Command {
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        if self.argv.first().is_none_or(String::is_empty) {
            return Err("`command.argv` must name a program".into());
        }
        if let Some(name) = self.environment.iter().find(|name| name.is_empty() || name.contains('=')) {
            // Not the whole of it: behind the `=` may stand a secret.
            let name = name.split('=').next().unwrap_or_default();
            return Err(format!(
                "`command.environment` takes names of variables of pulsegate's own, without a value: `{name}`"
            ));
        }
        Ok(Box::new(CommandCheck { settings: self.clone(), resources: resources.clone() }))
    }
}

struct CommandCheck {
    settings: Command,
    resources: Resources,
}

impl Check for CommandCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let (program, arguments) = self.settings.argv.split_at(1);
            let environment = &self.resources.environment;
            let mut process = Subprocess::new(PathBuf::from(&program[0]), self.settings.directory.clone(), environment);
            process.arguments = arguments.iter().map(OsString::from).collect();
            for name in &self.settings.environment {
                process.environment.extend(environment.get(name).map(|value| (name.clone(), value.to_owned())));
            }
            match self.resources.processes.run(Box::pin(process.run())).await {
                Ok(output) => self.judge(&output),
                Err(error) => {
                    let reason = Reason::new("spawn_failed", "cannot be started").with_private(error.to_string());
                    refused(&error, reason, Facts::default())
                }
            }
        })
    }
}

impl CommandCheck {
    fn judge(&self, output: &super::subprocess::Output) -> Finding {
        let mut facts = Facts::default();
        let code = output.status.code();
        facts.public("exit_code", code.map(f64::from));
        let reason = match code {
            None => Reason::new("killed", "was killed by a signal"),
            Some(code) if i64::from(code) != self.settings.expect_exit => {
                Reason::new("unexpected_exit", format!("exited with code {code}"))
            }
            Some(_) => match &self.settings.expect_output {
                Some(regex) if !regex.is_match(&String::from_utf8_lossy(&output.stdout)) => {
                    Reason::new("unexpected_output", "printed an unexpected output")
                }
                _ => return Finding::pass(facts),
            },
        };
        Finding::fail(reason, facts)
    }
}
