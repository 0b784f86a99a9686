use std::collections::HashSet;

/// What could not stand beside ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Lines of families that have a name of ours.
    pub(super) clashes: u64,
    /// Lines that are not in the text format.
    pub(super) malformed: u64,
}

/// Adds another exposition to ours, line by line, so that the whole is one that Prometheus takes.
///
/// Both are in the Prometheus text format 0.0.4. One line that is not would have Prometheus refuse all of it, and so
/// would a family that is there twice.
pub(super) fn join(ours: &mut String, theirs: &[u8]) -> Dropped {
    let names = names(ours);
    let mut dropped = Dropped::default();
    let mut described: HashSet<(&[u8], bool)> = HashSet::new();
    let mut added = Vec::new();
    for line in theirs.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match Line::parse(line) {
            Some(Line::Comment) => {}
            Some(Line::Family(name, ..) | Line::Sample(name)) if clashes(&names, name) => dropped.clashes += 1,
            // A second description of a family is one too many.
            Some(Line::Family(name, is_type)) if !described.insert((name, is_type)) => dropped.malformed += 1,
            Some(_) => added.push(line),
            None => dropped.malformed += 1,
        }
    }
    for line in added {
        match std::str::from_utf8(line) {
            Ok(line) => {
                ours.push_str(line);
                ours.push('\n');
            }
            Err(_) => dropped.malformed += 1,
        }
    }
    dropped
}

/// What a histogram or a summary adds to its name.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The families of an exposition.
fn names(text: &str) -> HashSet<String> {
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    families.map(str::to_owned).collect()
}

/// Whether this is a name of ours, or of a part of one of our families.
fn clashes(names: &HashSet<String>, name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let family = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    names.contains(name) || family.is_some_and(|family| names.contains(family))
}

/// One line that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    /// Says nothing to Prometheus.
    Comment,
    /// The type (true) or the help of a family.
    Family(&'a [u8], bool),
    /// A value.
    Sample(&'a [u8]),
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let Some(comment) = line.strip_prefix(b"#") else { return sample(line) };
        let comment = comment.trim_ascii_start();
        if let Some(rest) = comment.strip_prefix(b"TYPE ") {
            let (name, rest) = take_name(rest.trim_ascii_start())?;
            let kinds: [&[u8]; 5] = [b"counter", b"gauge", b"histogram", b"summary", b"untyped"];
            return kinds.contains(&rest.trim_ascii()).then_some(Self::Family(name, true));
        }
        if let Some(rest) = comment.strip_prefix(b"HELP ") {
            let (name, rest) = take_name(rest.trim_ascii_start())?;
            return rest.first().is_none_or(|byte| *byte == b' ').then_some(Self::Family(name, false));
        }
        Some(Self::Comment)
    }
}

/// `name{label="value",…} 1.5 1700000000000`
fn sample(line: &[u8]) -> Option<Line<'_>> {
    let (name, rest) = take_name(line)?;
    let rest = rest.trim_ascii_start();
    let rest = match rest.strip_prefix(b"{") {
        Some(labels) => after_labels(labels)?,
        None => rest,
    };
    let mut words = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let is_value = words.next()?.parse::<f64>().is_ok();
    let is_time = words.next().is_none_or(|time| time.parse::<i64>().is_ok());
    (is_value && is_time && words.next().is_none()).then_some(Line::Sample(name))
}

fn take_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let length = text.iter().position(|byte| !is_in_name(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    name.first().is_some_and(|byte| !byte.is_ascii_digit()).then_some((name, rest))
}

/// What follows the closing brace.
fn after_labels(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = rest.trim_ascii_start();
        if let Some(rest) = rest.strip_prefix(b"}") {
            return Some(rest);
        }
        let (name, after) = take_name(rest)?;
        if name.contains(&b':') {
            return None;
        }
        rest = after.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start().strip_prefix(b"\"")?;
        rest = after_value(rest)?.trim_ascii_start();
        match rest.first()? {
            b',' => rest = &rest[1..],
            b'}' => {}
            _ => return None,
        }
    }
}

/// What follows the closing quote.
fn after_value(text: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return text.get(at + 1..),
            b'\\' if matches!(text.get(at + 1)?, b'\\' | b'"' | b'n') => at += 2,
            b'\\' => return None,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Dropped, Line, join};

    const OURS: &str = "# HELP up One.\n# TYPE up gauge\nup 1\n# TYPE took histogram\ntook_sum 1\ntook_count 2\n";

    #[test]
    fn what_fits_is_added_and_what_clashes_is_not() {
        let theirs = "# HELP app_jobs Jobs.\n# TYPE app_jobs counter\napp_jobs{queue=\"a\\\"b\\\\\\n,}\",} 3 1700000000000\n\
                      up 0\n# TYPE up gauge\ntook_bucket{le=\"+Inf\"} 3\ntook_counts 4\r\n# EOF\n\n# whatever\nlast NaN";
        let mut ours = OURS.to_owned();
        assert_eq!(join(&mut ours, theirs.as_bytes()), Dropped { clashes: 3, malformed: 0 });
        let added = "# HELP app_jobs Jobs.\n# TYPE app_jobs counter\n\
                     app_jobs{queue=\"a\\\"b\\\\\\n,}\",} 3 1700000000000\ntook_counts 4\nlast NaN\n";
        assert_eq!(ours.strip_prefix(OURS), Some(added));
    }

    #[test]
    fn what_prometheus_would_refuse_is_dropped() {
        let bad: [&[u8]; 19] = [
            b"<html>",
            b"name",
            b"name x",
            b"name 1 x",
            b"name 1 2 3",
            b"name{} 1 # {trace_id=\"a\"} 1",
            b"1name 1",
            b"na-me 1",
            b"name{a=\"b} 1",
            b"name{a=b} 1",
            b"name{a=\"\\x\"} 1",
            b"name{a:b=\"c\"} 1",
            b"name{a=\"b\" c=\"d\"} 1",
            b"name{a=\"b\"",
            b"{\"name\"} 1",
            b"name{a=\"\xff\"} 1",
            b"# TYPE name info",
            b"# TYPE 1 gauge",
            b"# HELP na-me x",
        ];
        for line in bad {
            let mut ours = OURS.to_owned();
            assert_eq!(join(&mut ours, line).malformed, 1, "{}", String::from_utf8_lossy(line));
            assert_eq!(ours, OURS);
        }
        let mut ours = OURS.to_owned();
        let twice = b"# TYPE a gauge\n# TYPE a counter\na 1\n";
        assert_eq!(join(&mut ours, twice).malformed, 1);
    }

    proptest! {
        #[test]
        fn whatever_is_added_can_be_read_again(theirs in proptest::collection::vec(
            prop_oneof![Just(b"name".to_vec()), Just(b"{a=\"".to_vec()), Just(b"\"}".to_vec()), Just(b" 1".to_vec()),
                Just(b"\n".to_vec()), Just(b"# TYPE ".to_vec()), Just(b"gauge".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..4)], 0..40)) {
            let mut ours = OURS.to_owned();
            join(&mut ours, &theirs.concat());
            let added = ours.strip_prefix(OURS).expect("ours stays as it is");
            prop_assert!(added.lines().all(|line| Line::parse(line.as_bytes()).is_some()));
        }
    }
}
