use super::event::{Counts, ErrorKind, Event, Usage};
use super::json::Json;
use super::lines::{Lines, Part};
use super::short::Short;

/// Reads one answer of a model. Needs [`Scanner::MEMORY`] bytes, whatever comes.
#[derive(Debug)]
pub struct Scanner {
    format: Format,
    lines: Lines,
    found: Found,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON text.
    Json,
    /// Server-sent events of JSON texts.
    Events,
}

/// What was found so far, and the text in which it is looked for.
#[derive(Debug)]
struct Found {
    json: Json,
    event: Event,
    /// The beginning of an event's data.
    data: Short<LONGEST_DONE>,
    model: Short<64>,
    counts: Counts,
    error: Option<ErrorKind>,
    has_token: bool,
    has_ended: bool,
}

/// What OpenAI's streams end with.
const DONE: &[u8] = b"[DONE]";

/// With a space or two behind it.
const LONGEST_DONE: usize = DONE.len() + 2;

impl Format {
    /// By the answer's media type; `None`: nothing that is known here.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Some(Self::Events)
        } else if kind.eq_ignore_ascii_case(b"application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }
}

impl Scanner {
    /// So much memory is enough for any answer.
    pub const MEMORY: usize = 1024;

    /// A scanner for one answer.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let found = Found {
            json: Json::new(),
            event: Event::default(),
            data: Short::default(),
            model: Short::default(),
            counts: Counts::default(),
            error: None,
            has_token: false,
            has_ended: false,
        };
        Self { format, lines: Lines::default(), found }
    }

    /// More of the answer.
    pub fn read(&mut self, bytes: &[u8]) {
        let Self { format, lines, found } = self;
        match format {
            Format::Json => found.read(bytes, Format::Json),
            Format::Events => lines.read(bytes, |part| match part {
                Part::Data(bytes) => {
                    bytes.iter().take(LONGEST_DONE + 1).for_each(|byte| found.data.push(*byte));
                    found.read(bytes, Format::Events);
                }
                Part::DataEnd => found.read(b"\n", Format::Events),
                Part::End => found.end_event(),
            }),
        }
    }

    /// The model's name, in letters that a label may have; `None`: none yet, or an impossible one.
    #[must_use]
    pub fn model(&self) -> Option<String> {
        let name = self.found.model.whole();
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:/@+".contains(byte);
        let clean = name.iter().map(|byte| if is_plain(byte) { char::from(*byte) } else { '_' });
        (!name.is_empty()).then(|| clean.collect())
    }

    /// The tokens, as far as the answer has told of them.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.found.counts.usage()
    }

    /// The first error that the answer tells of.
    #[must_use]
    pub fn error(&self) -> Option<ErrorKind> {
        self.found.error
    }

    /// Whether the model has begun to say something; only a stream tells.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.found.has_token
    }

    /// Whether the answer is there to its end, by what it says itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // After its last word a stream may end without an empty line.
        self.found.has_ended || self.found.is_done()
    }

    /// Whether this is not what the media type says.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.format == Format::Json && self.found.json.is_broken()
    }
}

impl Found {
    fn read(&mut self, bytes: &[u8], format: Format) {
        if self.json.is_done() {
            return;
        }
        self.json.read(bytes, &mut self.event);
        // At once, because the end of the event may come with the next one only.
        if self.json.is_done() {
            self.take_in_event(format);
        }
    }

    fn take_in_event(&mut self, format: Format) {
        let event = &self.event;
        if self.model.is_empty() {
            self.model = event.model;
        }
        self.counts.update(&event.usage);
        self.error = self.error.or(event.error());
        self.has_token |= format == Format::Events && event.says_something();
        self.has_ended |= format == Format::Json || event.is_last();
    }

    /// Whether the event says that it is the last.
    fn is_done(&self) -> bool {
        self.data.whole().trim_ascii_end() == DONE
    }

    fn end_event(&mut self) {
        self.has_ended |= self.is_done();
        self.data.clear();
        self.event = Event::default();
        self.json.restart();
    }
}
