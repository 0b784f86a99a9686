use std::collections::VecDeque;

use memchr::memmem::Finder;

use super::LoginSettings;
use super::reading::{Reading, Told};
use crate::clock;
use crate::traffic::Traffic;

/// At most so much of an answer is looked at: "not logged in" or "overloaded" is all that such an answer says.
const LOOKED_AT: usize = 4096;

/// What Anthropic's API calls a refused credential.
const AUTHENTICATION_ERROR: &str = "authentication_error";

/// What Anthropic's API calls it when it cannot take more.
const OVERLOADED_ERROR: &str = "overloaded_error";

/// How answers are read for what they say about the login and the load. One for all requests.
#[derive(Debug)]
pub(super) struct Witness {
    model_paths: Vec<String>,
    refusals: Vec<Finder<'static>>,
    unauthorized: [Finder<'static>; 1],
    overloaded: [Finder<'static>; 1],
}

impl Witness {
    pub(super) fn new(settings: &LoginSettings) -> Self {
        let mut refusals = Vec::new();
        for text in settings.refusals.iter().filter(|text| !text.is_empty()) {
            refusals.push(Finder::new(text).into_owned());
            // JSON may escape what is not ASCII.
            let escaped = escape(text);
            if escaped != *text {
                refusals.push(Finder::new(&escaped).into_owned());
            }
        }
        Self {
            model_paths: settings.model_paths.clone(),
            refusals,
            unauthorized: [Finder::new(AUTHENTICATION_ERROR).into_owned()],
            overloaded: [Finder::new(OVERLOADED_ERROR).into_owned()],
        }
    }

    /// Whether a model answers at this path.
    pub(super) fn is_model_path(&self, path: &str) -> bool {
        self.model_paths.iter().any(|end| path.ends_with(end))
    }

    /// What to look for in an answer, if it can say anything.
    pub(super) fn look(code: u16, asked_a_model: bool, encoded: bool) -> Option<Scan> {
        match code {
            _ if encoded => None,
            401 if asked_a_model => Some(Scan::new(Look::Unauthorized)),
            503 => Some(Scan::new(Look::Overloaded)),
            200..=299 if asked_a_model => Some(Scan::new(Look::Served)),
            _ => None,
        }
    }

    fn patterns(&self, scan: &Scan) -> &[Finder<'static>] {
        match scan.look {
            Look::Served => &self.refusals,
            Look::Unauthorized => &self.unauthorized,
            Look::Overloaded => &self.overloaded,
        }
    }
}

/// One answer being read, a few bytes behind the client, never changing or holding up a byte.
#[derive(Debug)]
pub(super) struct Scan {
    look: Look,
    looked_at: usize,
    /// The end of what was read, in which a text may have begun.
    tail: VecDeque<u8>,
    decided: bool,
    overloaded: bool,
}

/// What an answer is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A success, which may be a refusal in disguise.
    Served,
    /// A 401, which may be about the app's login or about the client's.
    Unauthorized,
    /// A 503, which may be the model's.
    Overloaded,
}

/// Reads more of an answer for all that it may say; tells whether a model says something for the first time.
pub(super) fn look_at(
    part: &[u8],
    scan: &mut Option<Scan>,
    reading: &mut Option<Box<Reading>>,
    witness: &Witness,
    traffic: &Traffic,
) -> bool {
    // What counts for the login is what the answer says in the bytes that are looked at for it, in whatever pieces they come.
    let (looked_at, rest) = part.split_at(scan.as_ref().map_or(0, |scan| scan.wants().min(part.len())));
    let mut begins = reading.as_mut().is_some_and(|reading| reading.read(looked_at));
    if let Some(scan) = scan {
        scan.read(looked_at, witness, reading.as_deref(), traffic);
    }
    begins |= reading.as_mut().is_some_and(|reading| reading.read(rest));
    begins
}

impl Scan {
    fn new(look: Look) -> Self {
        Self { look, looked_at: 0, tail: VecDeque::new(), decided: false, overloaded: false }
    }

    /// Whether the answer says that the model is overloaded.
    pub(super) fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// So many more bytes are looked at.
    fn wants(&self) -> usize {
        if self.decided { 0 } else { LOOKED_AT - self.looked_at }
    }

    /// More of the answer, no more than is wanted. `reading` has read it already.
    fn read(&mut self, part: &[u8], witness: &Witness, reading: Option<&Reading>, traffic: &Traffic) {
        if self.decided || part.is_empty() {
            return;
        }
        self.looked_at += part.len();
        self.tail.extend(part);
        let patterns = witness.patterns(self);
        let longest = patterns.iter().map(|pattern| pattern.needle().len()).max().unwrap_or(0);
        let window = self.tail.make_contiguous();
        if patterns.iter().any(|pattern| pattern.find(window).is_some()) {
            self.decided = true;
            match self.look {
                Look::Served | Look::Unauthorized => traffic.login.rejected(clock::unix()),
                Look::Overloaded => self.overloaded = true,
            }
        } else if self.looked_at == LOOKED_AT {
            self.end(reading, traffic);
        } else {
            let spent = self.tail.len().saturating_sub(longest);
            self.tail.drain(..spent);
        }
    }

    /// The answer is complete, or enough of it was read. A success says what is read in it: the refusal of a credential, or
    /// another error, may come with a 200.
    pub(super) fn end(&mut self, reading: Option<&Reading>, traffic: &Traffic) {
        if self.look == Look::Served && !self.decided && self.looked_at > 0 {
            match reading.map(Reading::told) {
                Some(Told::Served) => traffic.login.accepted(clock::unix()),
                Some(Told::Refused) => traffic.login.rejected(clock::unix()),
                Some(Told::Nothing) | None => {}
            }
        }
        self.decided = true;
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use httparse::Header;

    use super::{Reading, Witness, look_at};
    use crate::proxy::LoginSettings;
    use crate::traffic::Traffic;

    fn verdict(code: u16, chunks: &[&[u8]]) -> Option<bool> {
        verdict_of("application/json", code, chunks)
    }

    fn verdict_of(kind: &str, code: u16, chunks: &[&[u8]]) -> Option<bool> {
        let refusals = vec!["Not logged in · Please run /login".to_owned()];
        let settings = LoginSettings { model_paths: vec!["/v1/messages".into()], refusals };
        let (witness, traffic) = (Witness::new(&settings), Arc::new(Traffic::new(1)));
        assert!(witness.is_model_path("/claude/v1/messages") && !witness.is_model_path("/v1/models"));
        let mut scan = Witness::look(code, true, false);
        let fields = [Header { name: "Content-Type", value: kind.as_bytes() }];
        let mut reading = Some(Reading::begin(&fields, false, traffic.clone()));
        for chunk in chunks {
            look_at(chunk, &mut scan, &mut reading, &witness, &traffic);
        }
        scan?.end(reading.as_deref(), &traffic);
        traffic.login.verdict().map(|verdict| verdict.accepted)
    }

    #[test]
    fn answers_testify() {
        assert_eq!(verdict(200, &[b"{\"content\":\"hello\"}"]), Some(true));
        assert_eq!(verdict(200, &[]), None, "an empty answer proves nothing");
        assert_eq!(verdict(200, &["Not logged in · Please run /login".as_bytes()]), Some(false));
        assert_eq!(verdict(200, &[br"Not logged in \u00b7 Please run /login"]), Some(false));
        assert_eq!(verdict(401, &[b"{\"error\":{\"type\":\"authentication_error\"}}"]), Some(false));
        assert_eq!(verdict(401, &[b"{\"error\":\"no key\"}"]), None, "some other gate's 401");
        assert_eq!(verdict(429, &[b"authentication_error"]), None);
        let late = [&[b'x'; 5000][..], "Not logged in · Please run /login".as_bytes()];
        let late = [&b"{\"text\":\""[..], late[0], late[1]];
        assert_eq!(verdict(200, &late), Some(true), "a model may talk about logins");
    }

    #[test]
    fn a_success_says_what_is_in_it() {
        let events =
            |data: &str| verdict_of("text/event-stream", 200, &[format!("event: e\ndata: {data}\n\n").as_bytes()]);
        let error = |kind: &str| format!("{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\"}}}}");
        assert_eq!(events("{\"type\":\"message_start\"}"), Some(true));
        assert_eq!(events(&error("authentication_error")), Some(false));
        assert_eq!(verdict(200, &[error("authentication_error").as_bytes()]), Some(false));
        for other in ["overloaded_error", "rate_limit_error", "api_error", "invalid_request_error"] {
            assert_eq!(events(&error(other)), None, "{other} says nothing about the login");
        }
        assert_eq!(verdict_of("text/html", 200, &[b"<p>Back soon"]), None, "nor does a page");
        assert_eq!(verdict(200, &[b"<p>Back soon"]), None, "nor what cannot be read");
        let said = format!("{{\"type\":\"x.delta\",\"delta\":\"{}\"}}", "a".repeat(5000));
        let (served, late) = (format!("data: {said}\n\n"), format!("data: {}\n\n", error("authentication_error")));
        for pieces in [&[served.as_bytes(), late.as_bytes()][..], &[(served.clone() + &late).as_bytes()]] {
            assert_eq!(verdict_of("text/event-stream", 200, pieces), Some(true), "what was served for long was served");
        }
    }

    #[test]
    fn a_text_split_anywhere_is_found() {
        let text = "data: Not logged in · Please run /login\n".as_bytes();
        for split in 0..=text.len() {
            assert_eq!(verdict(200, &[&text[..split], &text[split..]]), Some(false), "split at {split}");
        }
    }
}
