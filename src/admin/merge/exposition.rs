use std::collections::HashSet;

/// What could not stand beside ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Lines of families that have a name of ours.
    pub(super) clashes: u64,
    /// Lines that are not in the text format.
    pub(super) malformed: u64,
}

/// Adds another exposition to ours, line by line, so that the whole is one that Prometheus takes. `None`: not one line of
/// it is in the format, so it is something else. `reserved`: names of ours, those included that are absent just now.
///
/// Both are in the Prometheus text format 0.0.4. One line that is not would have Prometheus refuse all of it, and so
/// would a family that is there twice.
pub(super) fn join(ours: &mut String, theirs: &[u8], reserved: impl Iterator<Item = String>) -> Option<Dropped> {
    let mut names = names(ours);
    names.extend(reserved);
    let mut dropped = Dropped::default();
    let mut described: HashSet<(&[u8], bool)> = HashSet::new();
    let mut fits = false;
    for line in theirs.split(|byte| *byte == b'\n') {
        let line = trim(line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() {
            continue;
        }
        let (Some(parsed), Ok(text)) = (Line::parse(line), std::str::from_utf8(line)) else {
            dropped.malformed += 1;
            continue;
        };
        fits = true;
        match parsed {
            Line::Comment => {}
            Line::Type(name, _) | Line::Help(name) | Line::Sample(name) if clashes(&names, name) => {
                dropped.clashes += 1;
            }
            // A second description of a family is one too many.
            Line::Type(name, _) | Line::Help(name) if !described.insert((name, matches!(parsed, Line::Type(..)))) => {
                dropped.malformed += 1;
            }
            // Before the type stands one space, and nothing after it.
            Line::Type(name, kind) => {
                ours.extend(["# TYPE ", std::str::from_utf8(name).unwrap_or_default(), " ", kind, "\n"]);
            }
            Line::Help(_) | Line::Sample(_) => ours.extend([text, "\n"]),
        }
    }
    (fits || dropped.malformed == 0).then_some(dropped)
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
    /// The type of a family.
    Type(&'a [u8], &'static str),
    /// The help of a family.
    Help(&'a [u8]),
    /// A value.
    Sample(&'a [u8]),
}

/// The types that this format knows.
const TYPES: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let Some(comment) = line.strip_prefix(b"#") else { return sample(line) };
        let (word, rest) = split_at_blank(trim(comment));
        match word {
            b"TYPE" => {
                let (name, rest) = take_name(trim(rest))?;
                let kind = TYPES.into_iter().find(|kind| kind.as_bytes() == trim(rest))?;
                Some(Self::Type(name, kind))
            }
            b"HELP" => {
                let (name, rest) = take_name(trim(rest))?;
                rest.first().is_none_or(is_blank).then_some(Self::Help(name))
            }
            _ => Some(Self::Comment),
        }
    }
}

/// `name{label="value",…} 1.5 1700000000000`
fn sample(line: &[u8]) -> Option<Line<'_>> {
    let (name, rest) = take_name(line)?;
    let rest = trim(rest);
    let rest = match rest.strip_prefix(b"{") {
        Some(labels) => after_labels(labels)?,
        None => rest,
    };
    let (value, rest) = split_at_blank(trim(rest));
    let time = trim(rest);
    (is_value(value) && (time.is_empty() || is_time(time))).then_some(Line::Sample(name))
}

/// A number as Go reads it, which does not know a NaN with a sign, and refuses what is too large for it.
fn is_value(text: &[u8]) -> bool {
    let Some(value) = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()) else { return false };
    let is_signed = matches!(text.first(), Some(b'+' | b'-'));
    let is_word = text.last().is_some_and(u8::is_ascii_alphabetic);
    if value.is_nan() { !is_signed } else { value.is_finite() || is_word }
}

/// Milliseconds since 1970, without a sign.
fn is_time(text: &[u8]) -> bool {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    number.is_some() && text.iter().all(u8::is_ascii_digit)
}

/// White space within a line is only this.
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(0, |last| last + 1);
    trim_start(&text[..end])
}

fn split_at_blank(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(is_blank).unwrap_or(text.len()))
}

fn take_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let length = text.iter().position(|byte| !is_in_name(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    name.first().is_some_and(|byte| !byte.is_ascii_digit()).then_some((name, rest))
}

/// A line with more labels than this is left out: each is compared with those before it.
const MOST_LABELS: usize = 64;

/// What follows the closing brace.
fn after_labels(mut rest: &[u8]) -> Option<&[u8]> {
    let mut names: [&[u8]; MOST_LABELS] = [&[]; MOST_LABELS];
    let mut count = 0;
    loop {
        rest = trim_start(rest);
        if let Some(rest) = rest.strip_prefix(b"}") {
            return Some(rest);
        }
        let (name, after) = take_name(rest)?;
        // `__name__` is the metric's own name.
        if name.contains(&b':') || name == b"__name__" || names[..count].contains(&name) {
            return None;
        }
        *names.get_mut(count)? = name;
        count += 1;
        rest = trim_start(trim_start(after).strip_prefix(b"=")?).strip_prefix(b"\"")?;
        rest = trim_start(after_value(rest)?);
        match rest.first()? {
            b',' => rest = &rest[1..],
            b'}' => {}
            _ => return None,
        }
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len())..]
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

    use super::{Dropped, Line, MOST_LABELS, join};

    const OURS: &str = "# HELP up One.\n# TYPE up gauge\nup 1\n# TYPE took histogram\ntook_sum 1\ntook_count 2\n";

    fn names() -> impl Iterator<Item = String> {
        ["not_now".to_owned()].into_iter()
    }

    #[test]
    fn what_fits_is_added_and_what_clashes_is_not() {
        let theirs = "# HELP app_jobs Jobs.\n# TYPE app_jobs counter\napp_jobs{queue=\"a\\\"b\\\\\\n,}\",} 3 1700000000000\n\
                      up 0\n# TYPE up gauge\nnot_now 1\ntook_bucket{le=\"+Inf\"} 3\ntook_counts 4\r\n# EOF\n\n# whatever\nlast NaN";
        let mut ours = OURS.to_owned();
        assert_eq!(join(&mut ours, theirs.as_bytes(), names()), Some(Dropped { clashes: 4, malformed: 0 }));
        let added = "# HELP app_jobs Jobs.\n# TYPE app_jobs counter\n\
                     app_jobs{queue=\"a\\\"b\\\\\\n,}\",} 3 1700000000000\ntook_counts 4\nlast NaN\n";
        assert_eq!(ours.strip_prefix(OURS), Some(added));
    }

    #[test]
    fn what_prometheus_would_refuse_is_dropped() {
        let bad: [&[u8]; 36] = [
            b"name -nan",
            b"name +NaN",
            b"name 1e999",
            b"name -1e999",
            b"name 0x1p3",
            b"name 1_0",
            b"name 1 -5",
            b"name 1 +5",
            b"name 1 99999999999999999999",
            b"name{a=\"1\",a=\"2\"} 1",
            b"name{a=\"1\",b=\"2\",a=\"1\"} 1",
            b"name{__name__=\"up\"} 1",
            b"name 1\x0c5",
            b"name\r1",
            b"name \x0c1",
            b"# TYPE name\x0cgauge",
            b"# HELP name\x0cx",
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
            let beside_a_good_one = [b"a 1\n", line].concat();
            let dropped = join(&mut ours, &beside_a_good_one, names()).expect("one fits");
            assert_eq!(dropped.malformed, 1, "{}", String::from_utf8_lossy(line));
            assert_eq!(ours, format!("{OURS}a 1\n"));
        }
        let mut ours = OURS.to_owned();
        let twice = b"# TYPE a gauge\n# TYPE a counter\na 1\n";
        assert_eq!(join(&mut ours, twice, names()), Some(Dropped { clashes: 0, malformed: 1 }));
        let many = (0..=MOST_LABELS).map(|number| format!("l{number}=\"\",")).collect::<String>();
        assert_eq!(Line::parse(format!("a{{{many}}} 1").as_bytes()), None, "a line has so many labels");
    }

    #[test]
    fn white_space_is_written_anew_where_prometheus_minds_it() {
        let theirs = "# TYPE a  gauge \r\n#\tTYPE\tb\tcounter\n# HELP a\tx\n\ta { l = \"m\" , }\t-inf\t5\nb +Inf\nb{l=\"m\"}.5\n";
        let mut ours = OURS.to_owned();
        assert_eq!(join(&mut ours, theirs.as_bytes(), names()), Some(Dropped::default()));
        let added = "# TYPE a gauge\n# TYPE b counter\n# HELP a\tx\na { l = \"m\" , }\t-inf\t5\nb +Inf\nb{l=\"m\"}.5\n";
        assert_eq!(ours.strip_prefix(OURS), Some(added));
    }

    #[test]
    fn what_is_no_exposition_at_all_is_known_as_that() {
        for other in [&b"<html>\n<p>\n</html>\n"[..], b"\x1f\x8b\x08\x00\n\xff", b"{}"] {
            let mut ours = OURS.to_owned();
            assert_eq!((join(&mut ours, other, names()), &*ours), (None, OURS));
        }
        for little in [&b""[..], b"# nothing\n", b"up 1\n"] {
            assert!(join(&mut OURS.to_owned(), little, names()).is_some());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_added_can_be_read_again(theirs in proptest::collection::vec(
            prop_oneof![Just(b"name".to_vec()), Just(b"{a=\"".to_vec()), Just(b"\"}".to_vec()), Just(b" 1".to_vec()),
                Just(b"\n".to_vec()), Just(b"# TYPE ".to_vec()), Just(b"gauge".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..4)], 0..40)) {
            let mut ours = OURS.to_owned();
            join(&mut ours, &theirs.concat(), names());
            let added = ours.strip_prefix(OURS).expect("ours stays as it is");
            prop_assert!(added.lines().all(|line| Line::parse(line.as_bytes()).is_some()));
        }
    }
}
