//! Reading one table of settings: everything that is wrong at once, each with its place.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Address, Entry, Environment, Field, Line, Node, Origin, Problems, Ratio, Scheme, Secret, Section, Setting, Size,
    Table, Url, Value,
};

crate::settings! {
    /// Something inside.
    pub struct Inner {
        /// How much.
        share: Ratio = "0.5",
    }
}

crate::settings! {
    /// Something to set.
    pub struct Sample {
        /// Needed.
        upstream: Url,
        /// How long.
        timeout: Duration = "5s",
        /// How large.
        body: Size = "64KiB",
        /// Where.
        listen: Vec<Address> = "127.0.0.1:80",
        /// Perhaps.
        name: Option<String>,
        /// A key.
        key: Option<Secret>,
        /// More.
        inner: Inner,
    }
}

fn at(line: usize) -> Origin {
    Origin::File { path: "c.toml".into(), line, column: 3 }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// A table with an entry on each line.
fn table(entries: &[(&str, Value)]) -> Node {
    let entries = entries.iter().zip(1..).map(|((key, value), line)| Entry {
        key: (*key).into(),
        origin: at(line),
        node: Node { value: value.clone(), origin: at(line) },
    });
    Node { value: Value::Table(Table { entries: entries.collect() }), origin: at(0) }
}

fn read<T: Setting>(value: Value) -> Result<T, Vec<String>> {
    let problems = Problems::default();
    let read = T::read(&Node { value, origin: at(1) }, "a.b", &problems);
    match read {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems.into_vec().iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let node = table(&[
        ("timeot", text("1s")),
        ("timeout", text("soon")),
        ("body", Value::Boolean(true)),
        ("listen", Value::List(vec![Node { value: text("nowhere"), origin: at(4) }])),
        ("inner", table(&[("share", Value::Float(2.0)), ("zzzzzz", Value::Integer(1))]).value),
        ("key", text("hunter2")),
    ]);
    let problems = Problems::default();
    assert!(Sample::read(&node, "proxy", &problems).is_none());
    let problems: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
    let expected = [
        "c.toml:0:3: `proxy.upstream` is missing: a URL",
        "c.toml:1:3: `proxy.inner.share` must be a number from 0 to 1",
        "c.toml:1:3: unknown key `proxy.timeot`; did you mean `timeout`?",
        "c.toml:2:3: `proxy.timeout` must be a duration",
        "c.toml:2:3: unknown key `proxy.inner.zzzzzz`; known here: share",
        "c.toml:3:3: `proxy.body` must be a size",
        "c.toml:4:3: `proxy.listen[0]` must be an address",
        "c.toml:6:3: `proxy.key` must be { file",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn what_is_absent_has_its_default() {
    let problems = Problems::default();
    let node = table(&[("upstream", text("http://app"))]);
    let sample = Sample::read(&node, "", &problems).unwrap();
    assert_eq!((sample.timeout, sample.body, sample.inner.share), (Duration::from_secs(5), Size(65536), Ratio(0.5)));
    assert_eq!(sample.listen, [Address::parse("127.0.0.1:80").unwrap()]);
    assert_eq!((sample.upstream.to_string().as_str(), sample.name, sample.key), ("http://app/", None, None));
    let mut lines = Vec::new();
    <Sample as Setting>::dump(&node, "p", &mut lines);
    let lines: Vec<String> =
        lines.iter().map(|Line { path, value, origin }| format!("{path}={value} {origin}")).collect();
    assert_eq!(
        lines,
        [
            "p.upstream=\"http://app\" c.toml:1:3",
            "p.timeout=\"5s\" default",
            "p.body=\"64KiB\" default",
            "p.listen=\"127.0.0.1:80\" default",
            "p.inner.share=\"0.5\" default",
        ]
    );
}

#[test]
fn every_default_is_a_value_of_its_setting() {
    fn check(fields: &[Field]) {
        for field in fields {
            assert!(!field.doc.trim().is_empty() && !field.expects.is_empty(), "{}", field.name);
            check(field.nested);
        }
    }
    check(<Sample as Section>::FIELDS);
    let problems = Problems::default();
    let sample = Sample::read(&table(&[]), "", &problems);
    assert!(sample.is_none());
    assert_eq!(problems.into_vec().len(), 1, "only what has no default is missing");
}

#[test]
fn sizes() {
    for (written, bytes) in
        [("0", 0), ("12", 12), ("12B", 12), ("1KiB", 1024), ("3 MiB", 3 << 20), ("2GiB", 2 << 30), ("1kB", 1000)]
    {
        assert_eq!(read::<Size>(text(written)), Ok(Size(bytes)), "{written}");
    }
    assert_eq!(read::<Size>(Value::Integer(7)), Ok(Size(7)));
    for wrong in ["", "KiB", "-1", "1.5MiB", "1kib", "99999999999GiB", "1 KiB x"] {
        assert!(read::<Size>(text(wrong)).is_err(), "{wrong}");
    }
    assert!(read::<Size>(Value::Integer(-1)).is_err());
}

#[test]
fn durations() {
    for (written, millis) in
        [("0", 0), ("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1h 30m", 5_400_000), ("366d", 31_622_400_000)]
    {
        assert_eq!(read(text(written)), Ok(Duration::from_millis(millis)), "{written}");
    }
    assert_eq!(read(Value::Integer(0)), Ok(Duration::ZERO));
    for wrong in ["", "5", "-1s", "soon", "367d", "99999999999999999999s", "1e9s"] {
        assert!(read::<Duration>(text(wrong)).is_err(), "{wrong}");
    }
    assert!(read::<Duration>(Value::Integer(5)).is_err(), "five of what?");
}

#[test]
fn urls() {
    for (written, shown) in [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http://app:80/a?b=c", "http://app/a?b=c"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ] {
        assert_eq!(read::<Url>(text(written)).unwrap().to_string(), shown);
    }
    assert_eq!(
        Url::parse("https://[::1]/").map(|url| (url.scheme, url.host, url.port)),
        Some((Scheme::Https, "::1".into(), 443))
    );
    for wrong in [
        "",
        "app:80",
        "ftp://app",
        "http://",
        "http://a:0",
        "http://a:99999",
        "http://a:+1",
        "http://u:p@a",
        "http://a/#b",
        "unix:run",
        "unix:",
    ] {
        assert!(read::<Url>(text(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn addresses() {
    for (written, shown) in [
        ("0.0.0.0:8000", "0.0.0.0:8000"),
        ("[::]:0", "[::]:0"),
        (":80", "0.0.0.0:80"),
        ("*:80", "0.0.0.0:80"),
        ("localhost:1", "127.0.0.1:1"),
        ("unix:/a", "unix:/a"),
    ] {
        assert_eq!(read::<Address>(text(written)).unwrap().to_string(), shown);
    }
    for wrong in ["", "80", "host:80", "1.2.3.4", "1.2.3.4:65536", "unix:a", "::1:80:"] {
        assert!(read::<Address>(text(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn secrets_are_references_and_their_errors_name_nothing() {
    let environment: Environment =
        [("SET".to_owned(), "k".to_owned()), ("EMPTY".to_owned(), String::new())].into_iter().collect();
    assert_eq!(Secret::Variable("SET".into()).resolve(&environment).unwrap(), "k");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Secret::File(path)
    };
    assert_eq!(file("good", b"top \n").resolve(&environment).unwrap(), "top");
    let wrong = [
        file("marker1", b" \n"),
        file("marker2", b"\xff"),
        file("marker3", &vec![b'x'; 65 * 1024]),
        Secret::File(folder.path().join("marker4")),
        Secret::File(folder.path().into()),
        Secret::Variable("EMPTY_marker".into()),
        Secret::Variable("EMPTY".into()),
    ];
    for secret in wrong {
        let error = secret.resolve(&environment).expect_err("no secret").to_string();
        assert!(!error.contains("marker") && !error.contains("EMPTY"), "{error}");
    }
    for wrong in [table(&[]), table(&[("env", text("A")), ("file", text("/a"))])] {
        assert!(read::<Secret>(wrong.value).is_err());
    }
}

proptest! {
    #[test]
    fn any_text_reads_or_is_a_problem_that_does_not_quote_it(marker in "[A-Z]{9}", before in ".{0,8}", after in ".{0,8}") {
        fn check<T: Setting>(written: &str, marker: &str) -> Result<(), TestCaseError> {
            if let Err(problems) = read::<T>(text(written)) {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| !problem.contains(marker)), "{problems:?}");
            }
            Ok(())
        }
        let written = format!("{before}{marker}{after}");
        check::<Size>(&written, &marker)?;
        check::<Duration>(&written, &marker)?;
        check::<Url>(&written, &marker)?;
        check::<Address>(&written, &marker)?;
        check::<Ratio>(&written, &marker)?;
        check::<Secret>(&written, &marker)?;
        check::<u16>(&written, &marker)?;
        check::<regex_lite::Regex>(&written, &marker)?;
        check::<ipnet::IpNet>(&written, &marker)?;
    }
}
