//! Every dialect in every state that a caller can meet, against `tests/golden/DIALECT/CASE.txt`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the files anew; read the difference before committing it.

#![expect(clippy::expect_used, reason = "a test that cannot read its files has failed")]

mod scenes;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use pulsegate::dialect::{Answer, DIALECTS, Dialect, Query, StatusCodes, View};
use pulsegate::health::{Audience, Group};
use scenes::{Case, cases, options, service, shapes, traffic};

/// The ways to ask: group, detail, audience, and what the query adds.
fn questions() -> Vec<(&'static str, Group, bool, Audience, Query<'static>)> {
    let plain = Query::default;
    let verbose = Query { verbose: true, exclude: vec!["claude_cli", "nobody\n"], ..plain() };
    let below = Query { other_group: true, ..plain() };
    let one = Query { check: Some("claude_cli"), ..plain() };
    vec![
        ("health", Group::Health, false, Audience::Public, plain()),
        ("health, detailed", Group::Health, true, Audience::Public, plain()),
        ("health, detailed, trusted", Group::Health, true, Audience::Trusted, plain()),
        ("readiness", Group::Readiness, false, Audience::Public, plain()),
        ("readiness, verbose, excluding", Group::Readiness, false, Audience::Public, verbose),
        ("readiness, detailed, below health", Group::Readiness, true, Audience::Public, below),
        ("readiness, one check", Group::Readiness, false, Audience::Public, one.clone()),
        ("readiness, one check, detailed, trusted", Group::Readiness, true, Audience::Trusted, one.clone()),
        ("liveness", Group::Liveness, false, Audience::Public, plain()),
        ("liveness, detailed", Group::Liveness, true, Audience::Public, plain()),
        ("startup", Group::Startup, false, Audience::Public, plain()),
    ]
}

/// One question to a dialect, and what it answers.
struct Asked {
    title: &'static str,
    detail: bool,
    audience: Audience,
    /// Whether one check alone was asked for.
    one: bool,
    answer: Answer,
    body: String,
}

/// Everything that a dialect answers in one case.
fn answers(dialect: &dyn Dialect, case: Case) -> Vec<Asked> {
    let (report, now) = case.report();
    let (totals, service, options) = (traffic().totals(), service(), options());
    let ask = |(title, group, detail, audience, query): (_, Group, _, _, Query<'static>)| {
        let one = query.check.is_some();
        let answer = dialect.render(&View {
            report: &report,
            totals: &totals,
            service: &service,
            group: &group,
            detail,
            audience,
            codes: StatusCodes::default(),
            options: &options,
            query,
            now,
        });
        let body = String::from_utf8(answer.body.to_vec()).expect("a body is UTF-8");
        Asked { title, detail, audience, one, answer, body }
    };
    questions().into_iter().map(ask).collect()
}

fn transcript(dialect: &dyn Dialect, case: Case) -> String {
    let answers = answers(dialect, case).into_iter();
    answers
        .map(|Asked { title, answer: Answer { code, media_type, .. }, body, .. }| {
            format!("== {title}\n{code} {media_type}\n{}\n", readable(&body))
        })
        .collect()
}

/// JSON with a line for each member, in its own order; other text as it is.
fn readable(body: &str) -> String {
    let json = serde_json::from_str::<serde_json::Value>(body).ok();
    json.and_then(|json| serde_json::to_string_pretty(&json).ok()).unwrap_or_else(|| body.to_owned())
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests; no part of the program")]
fn is_updating() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1")
}

#[test]
fn every_dialect_answers_as_its_golden_files_have_it() {
    let mut problems = Vec::new();
    for dialect in DIALECTS {
        let folder = folder().join(dialect.name());
        for case in cases() {
            let path = folder.join(format!("{}.txt", case.name));
            let is = transcript(*dialect, case);
            if is_updating() {
                fs::create_dir_all(&folder).expect("a folder");
                fs::write(&path, is).expect("a file");
                continue;
            }
            let was = fs::read_to_string(&path).unwrap_or_default();
            if was.is_empty() {
                problems.push(format!("{}: there is no golden file: UPDATE_GOLDEN=1", path.display()));
            } else if was != is {
                problems.push(format!("{}: differs. It is now:\n{}", path.display(), difference(&was, &is)));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

fn difference(was: &str, is: &str) -> String {
    let (was, is): (Vec<_>, Vec<_>) = (was.lines().collect(), is.lines().collect());
    let same = was.iter().zip(&is).take_while(|(was, is)| was == is).count();
    let show = |lines: &[&str], mark| {
        lines.iter().skip(same).take(8).map(|line| format!("{mark}{line}\n")).collect::<String>()
    };
    format!("from line {}\n{}{}", same + 1, show(&was, "- "), show(&is, "+ "))
}

#[test]
fn there_is_no_golden_file_without_its_dialect_and_case() {
    if is_updating() {
        return;
    }
    let names = |path: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let dialects: BTreeSet<String> = DIALECTS.iter().map(|dialect| dialect.name().to_owned()).collect();
    let files: BTreeSet<String> = cases().iter().map(|case| format!("{}.txt", case.name)).collect();
    assert_eq!(names(folder()), dialects);
    for dialect in dialects {
        assert_eq!(names(folder().join(&dialect)), files, "{dialect}");
    }
}

#[test]
fn a_public_caller_reads_nothing_private() {
    for dialect in DIALECTS {
        for case in cases() {
            let answers = answers(*dialect, case).into_iter().filter(|asked| asked.audience == Audience::Public);
            for Asked { title, body, .. } in answers {
                for private in ["jane", "127.0.0.1:8080"] {
                    assert!(!body.contains(private), "{}: {title}: {body}", dialect.name());
                }
            }
        }
    }
}

#[test]
fn every_body_keeps_the_rules_of_its_format() {
    for dialect in DIALECTS {
        for case in cases() {
            let name = case.name;
            for Asked { title, detail, one, answer, body, .. } in answers(*dialect, case) {
                let json = serde_json::from_str(&body).unwrap_or_default();
                let broken = shapes::broken(dialect.name(), answer.code, &json, detail, one);
                assert!(broken.is_empty(), "{}, {name}, {title}: {broken:#?}\n{}", dialect.name(), readable(&body));
                assert_eq!(answer.media_type, dialect.media_type(), "what Accept chooses by");
            }
        }
    }
}

#[test]
fn every_dialect_is_in_the_documentation() {
    let page =
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/dialects.md")).expect("the page");
    for dialect in DIALECTS {
        let (name, group) = (dialect.name(), dialect.group());
        let row = format!("| [{name}](#{name}) | `{}` | {group} | ", dialect.media_type());
        assert!(page.contains(&row), "{row}");
        let section = page.split(&format!("\n## {name}\n")).nth(1).and_then(|rest| rest.split("\n## ").next());
        let section = section.expect("a section for each");
        for path in dialect.paths() {
            assert!(section.contains(path.trim_start_matches('/')), "{name}: {path}");
        }
        for setting in dialect.settings() {
            assert!(section.contains(setting), "{name}: {setting}");
        }
        assert!(dialect.doc().ends_with('.'), "{name}");
    }
}
