use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::exchange::Exchange;
use crate::clock;
use crate::journal::journal;
use crate::traffic::Failure;

/// Which requests are logged. None of a line is a field's value or a query: either may hold a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLogRules {
    /// Every request.
    pub access: bool,
    /// Those that wait longer than this for the head of the app's answer; zero: none for that.
    pub slow: Duration,
    /// Those that fail by the app's fault, or because we are overloaded.
    pub failed: bool,
}

/// One worker's lines about requests.
#[derive(Debug)]
pub(super) struct RequestLog {
    rules: Cell<RequestLogRules>,
    /// The line in the making.
    line: RefCell<Vec<u8>>,
    /// The present second in words.
    second: RefCell<(u64, String)>,
    /// When lines were last begun to be counted, and how many there were since.
    counted: Cell<(Instant, u32)>,
    left_out: Cell<u64>,
}

/// Without the access log, so many lines a second are written by one worker: a storm of failures must not slow it down.
pub(super) const MOST_LINES_PER_SECOND: u32 = 10;

/// So many bytes of a path are in a line.
pub(super) const LONGEST_PATH: usize = 256;

const SECOND: Duration = Duration::from_secs(1);

/// The beginning of a path, as it was sent. Most need no memory of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct LoggedPath {
    bytes: SmallVec<[u8; 64]>,
    cut: bool,
}

impl LoggedPath {
    pub(super) fn of(path: &str) -> Self {
        let length = path.len().min(LONGEST_PATH);
        Self { bytes: SmallVec::from_slice(&path.as_bytes()[..length]), cut: length < path.len() }
    }
}

impl RequestLog {
    pub(super) fn new() -> Self {
        Self {
            rules: Cell::default(),
            line: RefCell::default(),
            second: RefCell::default(),
            counted: Cell::new((Instant::now(), 0)),
            left_out: Cell::new(0),
        }
    }

    pub(super) fn set_rules(&self, rules: RequestLogRules) {
        self.rules.set(rules);
    }

    /// A request has ended.
    pub(super) fn note(&self, exchange: &Exchange, duration: Duration) {
        let rules = self.rules.get();
        let waited = exchange.first_byte.get().unwrap_or(duration);
        let slow = !rules.slow.is_zero() && waited > rules.slow;
        let failed = exchange.end.failure.is_some_and(is_worth_a_line);
        if !(rules.access || slow || (failed && rules.failed)) {
            return;
        }
        if rules.access || (tracing::enabled!(tracing::Level::WARN) && self.may_write()) {
            self.write(exchange, duration, slow || failed, slow);
        }
    }

    /// To be called now and then: tells how many lines were left out, once the storm is over.
    pub(super) fn tell_left_out(&self) {
        if self.counted.get().0.elapsed() > SECOND && self.left_out.get() > 0 {
            let requests = self.left_out.take();
            tracing::warn!(requests, "slow or failed requests are not in the log: there were too many in a second");
        }
    }

    fn may_write(&self) -> bool {
        let (since, lines) = self.counted.get();
        if since.elapsed() > SECOND {
            self.tell_left_out();
            self.counted.set((Instant::now(), 1));
            return true;
        }
        self.counted.set((since, lines + 1));
        if lines < MOST_LINES_PER_SECOND {
            return true;
        }
        self.left_out.set(self.left_out.get() + 1);
        false
    }

    fn write(&self, exchange: &Exchange, duration: Duration, warns: bool, slow: bool) {
        let journal = journal();
        let mut line = Line { out: self.line.borrow_mut(), json: journal.is_json() };
        line.begin(&self.time(), warns);
        let (asked, end) = (&exchange.asked, &exchange.end);
        line.word("method", asked.method.label());
        if !asked.path.bytes.is_empty() {
            line.path("path", &asked.path);
        }
        line.word("protocol", asked.protocol);
        line.number("status", u64::from(end.code));
        line.millis("duration_ms", duration);
        if let Some(first_byte) = exchange.first_byte.get() {
            line.millis("ttfb_ms", first_byte);
        }
        if let Some(queued) = exchange.queued {
            line.millis("queue_ms", queued);
        }
        line.number("bytes_in", exchange.received.get());
        line.number("bytes_out", exchange.sent.get());
        if let Some(client) = asked.client {
            line.display("client", client);
        }
        if exchange.retries > 0 {
            line.number("retries", u64::from(exchange.retries));
        }
        if let Some(failure) = end.failure {
            line.word("failure", failure.label());
        }
        if let Some(rejection) = end.rejection {
            line.word("code", rejection.code());
        }
        if let Some(flaw) = exchange.flaw {
            line.word("reason", flaw);
        }
        if slow {
            line.literal("slow", "true");
        }
        if let Some(trace) = &asked.trace {
            line.word("trace_id", std::str::from_utf8(trace.as_bytes()).unwrap_or_default());
        }
        line.end();
        journal.add(&line.out);
    }

    /// Now, in UTC, to the microsecond, without the `Z`. The words are made once a second.
    fn time(&self) -> String {
        let now = clock::unix();
        let mut second = self.second.borrow_mut();
        if second.0 != now.as_secs() || second.1.is_empty() {
            let text = clock::rfc3339(now.as_secs());
            *second = (now.as_secs(), text.trim_end_matches('Z').to_owned());
        }
        format!("{}.{:06}", second.1, now.subsec_micros())
    }
}

/// What an operator wants to hear of unasked: what the app, or its overload, does to clients. What clients do, and what
/// the model says about its own limits, is in the metrics.
fn is_worth_a_line(failure: Failure) -> bool {
    failure.blames_the_app() || failure == Failure::RejectedOverload
}

/// A line in one of two forms, like those of the log's other lines.
struct Line<'a> {
    out: std::cell::RefMut<'a, Vec<u8>>,
    json: bool,
}

impl Line<'_> {
    fn begin(&mut self, time: &str, warns: bool) {
        self.out.clear();
        let (level, padded) = if warns { ("WARN", " WARN") } else { ("INFO", " INFO") };
        let _ = if self.json {
            write!(self.out, "{{\"timestamp\":\"{time}Z\",\"level\":\"{level}\",\"message\":\"request\"")
        } else {
            write!(self.out, "{time}Z {padded} request")
        };
    }

    fn end(&mut self) {
        self.out.extend_from_slice(if self.json { b"}\n" } else { b"\n" });
    }

    fn key(&mut self, key: &str) {
        let (before, after): (&[u8], &[u8]) = if self.json { (b",\"", b"\":") } else { (b" ", b"=") };
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(after);
    }

    /// A value that needs no quotes in either form.
    fn literal(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A word of our own, in which nothing needs to be escaped.
    fn word(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quote();
        self.out.extend_from_slice(value.as_bytes());
        self.quote();
    }

    fn display(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        self.quote();
        let _ = write!(self.out, "{value}");
        self.quote();
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    fn millis(&mut self, key: &str, value: Duration) {
        self.key(key);
        let _ = write!(self.out, "{}.{:03}", value.as_millis(), value.subsec_micros() % 1000);
    }

    /// A path, escaped as paths are: what would end a string, a word or a line is `%` and its number.
    fn path(&mut self, key: &str, path: &LoggedPath) {
        self.key(key);
        self.quote();
        for byte in &path.bytes {
            match byte {
                b'"' | b'\\' | ..=b' ' | 0x7f.. => {
                    let _ = write!(self.out, "%{byte:02X}");
                }
                _ => self.out.push(*byte),
            }
        }
        if path.cut {
            self.out.extend_from_slice("…".as_bytes());
        }
        self.quote();
    }

    fn quote(&mut self) {
        if self.json {
            self.out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{LONGEST_PATH, Line, LoggedPath};

    fn logged(path: &str, json: bool) -> String {
        let out = RefCell::default();
        Line { out: out.borrow_mut(), json }.path("path", &LoggedPath::of(path));
        String::from_utf8_lossy(&out.take()).into_owned()
    }

    #[test]
    fn what_would_end_a_line_or_a_string_is_escaped() {
        let hostile = "/a\"b\\c\u{e9}\u{1b}[31m\n\0 %0a\u{7f}";
        let escaped = "/a%22b%5Cc%C3%A9%1B[31m%0A%00%20%0a%7F";
        assert_eq!(logged(hostile, true), format!(",\"path\":\"{escaped}\""));
        assert_eq!(logged(hostile, false), format!(" path={escaped}"));
    }

    #[test]
    fn a_long_path_is_cut() {
        let longest = "p".repeat(LONGEST_PATH);
        assert_eq!(logged(&longest, false), format!(" path={longest}"));
        assert_eq!(logged(&format!("{longest}q"), false), format!(" path={longest}…"));
        // In the middle of a character too.
        assert!(logged(&format!("x{}", "é".repeat(LONGEST_PATH)), true).ends_with("%C3…\""));
    }
}
