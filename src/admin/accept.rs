use hyper::header::{ACCEPT, HeaderMap};

/// At most so many ranges are looked at: browsers send half a dozen.
const MOST_RANGES: usize = 64;

/// Which of several media types a caller likes best; the first, where nothing fits or nothing is said.
///
/// RFC 9110 section 12.5.1: of the ranges that fit a media type the most specific one counts, with its `q`. Among equals
/// our order decides. A caller that accepts none of them is answered all the same, as the section allows: a health
/// endpoint that answers 406 helps nobody.
pub(super) fn choose<'a>(headers: &HeaderMap, media_types: impl Iterator<Item = &'a str>) -> usize {
    let lines: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut best = (0, 0);
    for (index, media_type) in media_types.enumerate() {
        let quality = quality(&lines, media_type);
        if quality > best.1 {
            best = (index, quality);
        }
    }
    best.0
}

/// How much a caller likes a media type, in thousandths; 0: not at all.
fn quality(lines: &[&str], media_type: &str) -> u32 {
    let mut found: Option<(usize, u32)> = None;
    for range in lines.iter().flat_map(|line| parts(line, ',')).take(MOST_RANGES) {
        let Some((precision, quality)) = fits(range, media_type) else { continue };
        if found.is_none_or(|(known, _)| precision > known) {
            found = Some((precision, quality));
        }
    }
    found.map_or(0, |(_, quality)| quality)
}

/// How precisely a range names a media type, if it does, and its `q`.
fn fits(range: &str, media_type: &str) -> Option<(usize, u32)> {
    let mut given = parts(range, ';');
    let (kind, subtype) = given.next()?.split_once('/')?;
    let mut ours = parts(media_type, ';');
    let (our_kind, our_subtype) = ours.next()?.split_once('/')?;
    let mut precision = match (kind, subtype) {
        ("*", "*") => 0,
        (_, "*") if kind.eq_ignore_ascii_case(our_kind) => 1,
        _ if kind.eq_ignore_ascii_case(our_kind) && subtype.eq_ignore_ascii_case(our_subtype) => 2,
        _ => return None,
    };
    let mut quality = 1000;
    for parameter in given {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case("q") {
            // What comes after belongs to the field, not to the media type.
            quality = thousandths(value)?;
            break;
        }
        let value = value.trim_matches('"');
        let same = |ours: &str| {
            ours.split_once('=')
                .is_some_and(|(known, ours)| known.eq_ignore_ascii_case(name) && ours.eq_ignore_ascii_case(value))
        };
        if !ours.clone().any(same) {
            return None;
        }
        precision += 1;
    }
    Some((precision, quality))
}

/// `0.8` as 800; at most three digits after the point (RFC 9110 section 12.4.2).
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: u32 = format!("{fraction:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// The parts of a list without the white space around them and without empty ones; a separator in quotes is none.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> + Clone {
    let (mut quoted, mut escaped) = (false, false);
    let split = move |c: char| {
        let ends = c == separator && !quoted;
        let quote = c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        quoted ^= quote;
        ends
    };
    text.split(split).map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use hyper::header::{ACCEPT, HeaderMap};

    use super::{MOST_RANGES, choose};

    const OURS: [&str; 3] = ["application/json", "application/health+json", "text/plain; charset=utf-8"];

    fn chosen(lines: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, line.parse().expect("a value"));
        }
        OURS[choose(&headers, OURS.into_iter())]
    }

    #[test]
    fn the_most_specific_range_counts_with_its_quality() {
        let [json, health, text] = OURS;
        for (accept, expected) in [
            ("application/health+json", health),
            ("APPLICATION/Health+JSON", health),
            ("*/*", json),
            ("application/*", json),
            ("text/*", text),
            ("text/plain", text),
            ("text/plain;charset=UTF-8", text),
            ("text/plain;charset=latin1", json),
            ("text/plain;charset=\"utf-8\"", text),
            ("application/json;q=0.5, application/health+json", health),
            ("application/json;q=0.5, application/health+json;q=0.5", json),
            ("application/json;q=0.5, application/health+json;q=0.501", health),
            ("application/health+json;q=0.1, */*;q=0.2", json),
            ("*/*, application/json;q=0", health),
            ("*/*, application/json;q=0, application/health+json;q=0.000", text),
            ("text/*;q=0.3, text/plain;q=0.7, */*;q=0.5", text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", json),
            // Nothing fits: the first.
            ("image/png", json),
            ("application/json;q=0, */*;q=0", json),
            ("", json),
            // Not to be understood: as if it were not there.
            ("application/health+json;q=2", json),
            ("application/health+json;q=0.1234", json),
            ("application/health+json;q=-1", json),
            ("application/health+json;q=", json),
            ("application/health+json;q", json),
            (",,;,/,*,text/plain", text),
            // A comma in quotes is part of a value.
            ("a/b;c=\"d, application/health+json\"", json),
            ("a/b;c=\"\\\", application/health+json\"", json),
            ("application/health+json;q=1;ext=1", health),
            ("application/health+json;v=1", json),
        ] {
            assert_eq!(chosen(&[accept]), expected, "{accept}");
        }
        assert_eq!(chosen(&[]), json);
        assert_eq!(chosen(&["image/png", "text/plain"]), text, "lines are one list");
        assert_eq!(chosen(&[&format!("{}text/plain", "a/b,".repeat(MOST_RANGES - 1))]), text);
        assert_eq!(chosen(&[&format!("{}text/plain", "a/b,".repeat(MOST_RANGES))]), json, "the list has a bound");
    }
}
