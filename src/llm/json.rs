use super::escape::Escape;
use super::event::{Count, Event};
use super::short::Short;

/// Follows one JSON text through the pieces in which it comes, and takes note of what is asked for, at its place only.
#[derive(Debug)]
pub(super) struct Json {
    state: State,
    /// The places around the present one.
    places: [Place; DEEPEST],
    depth: usize,
    key: Short<32>,
    /// What the value that comes is.
    slot: Slot,
    value: Short<64>,
}

/// A number of tokens above this is none: no answer has a billion of them, and sums of such numbers would overflow.
const MOST_TOKENS: u64 = 1_000_000_000;

/// No place that is asked for lies deeper: `choices`, one of them, its `delta`.
const DEEPEST: usize = 4;

/// An object or array of which something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    /// `message` of Anthropic's first event, `response` of OpenAI's.
    Envelope,
    Usage,
    Details,
    Error,
    /// The one array among them.
    Choices,
    Choice,
    Delta,
}

/// What is asked of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Nothing,
    Inside(Place),
    Kind,
    Model,
    Number(Count),
    ErrorType,
    ErrorCode,
    /// Something that is no empty text.
    Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    /// A key, or the object's end.
    Key,
    InKey(Escape),
    Colon,
    InText(Escape),
    /// In a text that nothing is asked of.
    PassText {
        escaped: bool,
    },
    InWord,
    /// A comma, or an end.
    After,
    /// At the beginning of an object or array that is a token if it is not empty.
    IntoToken,
    /// Inside of something that nothing is asked of, so deep.
    Skip {
        depth: u32,
    },
    SkipText {
        depth: u32,
        escaped: bool,
    },
    Done,
    /// Not JSON, or no object.
    Broken,
}

impl Json {
    pub(super) fn new() -> Self {
        Self {
            state: State::Value,
            places: [Place::Root; DEEPEST],
            depth: 0,
            key: Short::default(),
            slot: Slot::Inside(Place::Root),
            value: Short::default(),
        }
    }

    /// Begins with another text.
    pub(super) fn restart(&mut self) {
        (self.state, self.depth, self.slot) = (State::Value, 0, Slot::Inside(Place::Root));
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// More of the text.
    pub(super) fn read(&mut self, bytes: &[u8], event: &mut Event) {
        let mut at = 0;
        while at < bytes.len() {
            // Nearly all bytes are those of texts: these are looked through many at a time.
            match self.state {
                State::Done | State::Broken => return,
                State::PassText { escaped: false } | State::SkipText { escaped: false, .. } => {
                    at += length_of_text(&bytes[at..]);
                }
                _ => {}
            }
            let Some(byte) = bytes.get(at) else { return };
            self.take(*byte, event);
            at += 1;
        }
    }

    fn take(&mut self, byte: u8, event: &mut Event) {
        match self.state {
            State::Value => self.begin_value(byte),
            State::Key => match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => {}
                b'"' => {
                    self.key.clear();
                    // An error that says nothing is none.
                    event.is_error |= self.place() == Place::Error;
                    self.state = State::InKey(Escape::None);
                }
                b'}' => self.leave(),
                _ => self.state = State::Broken,
            },
            State::InKey(escape) if byte == b'"' && escape != Escape::Begun => {
                self.slot = slot_of(self.place(), self.key.whole());
                self.state = State::Colon;
            }
            State::InKey(escape) => self.state = State::InKey(escape.take(byte, |byte| self.key.push(byte))),
            State::Colon => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b':' => self.state = State::Value,
                _ => self.state = State::Broken,
            },
            State::InText(escape) if byte == b'"' && escape != Escape::Begun => {
                self.end_text(event);
                self.state = State::After;
            }
            State::InText(escape) => self.state = State::InText(escape.take(byte, |byte| self.value.push(byte))),
            State::PassText { escaped } => {
                self.state = match byte {
                    b'"' if !escaped => State::After,
                    _ => State::PassText { escaped: byte == b'\\' && !escaped },
                };
            }
            State::InWord => match byte {
                b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' => {
                    self.end_word(event);
                    self.state = State::After;
                    self.after(byte);
                }
                _ => self.value.push(byte),
            },
            State::After => self.after(byte),
            State::IntoToken => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b']' | b'}' => self.state = State::After,
                _ => {
                    event.has_token = true;
                    self.state = State::Skip { depth: 1 };
                    self.take(byte, event);
                }
            },
            State::Skip { depth } => match (byte, depth) {
                (b'"', _) => self.state = State::SkipText { depth, escaped: false },
                (b'{' | b'[', _) => self.state = State::Skip { depth: depth.saturating_add(1) },
                (b'}' | b']', 0 | 1) => self.state = State::After,
                (b'}' | b']', _) => self.state = State::Skip { depth: depth - 1 },
                _ => {}
            },
            State::SkipText { depth, escaped } => {
                self.state = match byte {
                    b'"' if !escaped => State::Skip { depth },
                    _ => State::SkipText { depth, escaped: byte == b'\\' && !escaped },
                };
            }
            State::Done | State::Broken => {}
        }
    }

    fn begin_value(&mut self, byte: u8) {
        self.value.clear();
        match (byte, self.slot) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => {}
            // A byte order mark.
            (b'\xef' | b'\xbb' | b'\xbf', Slot::Inside(Place::Root)) if self.depth == 0 => {}
            // The end of an empty array.
            (b']', _) if self.place() == Place::Choices => self.leave(),
            (b'[', Slot::Inside(Place::Choices)) => self.enter(Place::Choices),
            (b'{', Slot::Inside(place)) if place != Place::Choices => self.enter(place),
            // A text of server-sent events may be anything, as `[DONE]` is.
            (_, Slot::Inside(Place::Root)) if self.depth == 0 => self.state = State::Broken,
            (b'{' | b'[', Slot::Token) => self.state = State::IntoToken,
            (b'{' | b'[', _) => self.state = State::Skip { depth: 1 },
            (b'"', Slot::Nothing) => self.state = State::PassText { escaped: false },
            (b'"', _) => self.state = State::InText(Escape::None),
            (b'}' | b',' | b':' | b']', _) => self.state = State::Broken,
            _ => {
                self.value.push(byte);
                self.state = State::InWord;
            }
        }
    }

    fn end_text(&mut self, event: &mut Event) {
        match self.slot {
            Slot::Kind => copy(&self.value, &mut event.kind),
            Slot::Model => copy(&self.value, &mut event.model),
            Slot::ErrorType => copy(&self.value, &mut event.error_type),
            Slot::ErrorCode => copy(&self.value, &mut event.error_code),
            Slot::Token => event.has_token |= !self.value.is_empty(),
            Slot::Inside(Place::Error) => event.is_error |= !self.value.is_empty(),
            Slot::Nothing | Slot::Inside(_) | Slot::Number(_) => {}
        }
    }

    fn end_word(&mut self, event: &mut Event) {
        let digits = self.value.whole();
        match self.slot {
            Slot::Number(count) => {
                if let Some(number) = tokens_of(digits) {
                    event.usage.set(count, number);
                }
            }
            Slot::ErrorCode => copy(&self.value, &mut event.error_code),
            _ => {}
        }
    }

    fn after(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b',' if self.place() == Place::Choices => {
                (self.slot, self.state) = (Slot::Inside(Place::Choice), State::Value);
            }
            b',' => self.state = State::Key,
            b'}' | b']' => self.leave(),
            _ => self.state = State::Broken,
        }
    }

    fn place(&self) -> Place {
        self.places[self.depth.saturating_sub(1).min(DEEPEST - 1)]
    }

    fn enter(&mut self, place: Place) {
        let Some(inner) = self.places.get_mut(self.depth) else {
            self.state = State::Broken;
            return;
        };
        *inner = place;
        self.depth += 1;
        (self.slot, self.state) = match place {
            Place::Choices => (Slot::Inside(Place::Choice), State::Value),
            _ => (Slot::Nothing, State::Key),
        };
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }
}

fn slot_of(place: Place, key: &[u8]) -> Slot {
    match (place, key) {
        (Place::Root, b"message" | b"response") => Slot::Inside(Place::Envelope),
        (Place::Root, b"type") => Slot::Kind,
        (Place::Root, b"choices") => Slot::Inside(Place::Choices),
        (Place::Root | Place::Envelope, b"model") => Slot::Model,
        (Place::Root | Place::Envelope, b"usage") => Slot::Inside(Place::Usage),
        (Place::Root | Place::Envelope, b"error") => Slot::Inside(Place::Error),
        (Place::Usage, b"input_tokens") => Slot::Number(Count::Input),
        (Place::Usage, b"output_tokens" | b"completion_tokens") => Slot::Number(Count::Output),
        (Place::Usage, b"prompt_tokens") => Slot::Number(Count::Prompt),
        (Place::Usage, b"cache_read_input_tokens") => Slot::Number(Count::CacheRead),
        (Place::Usage, b"cache_creation_input_tokens") => Slot::Number(Count::CacheCreation),
        (Place::Usage, b"input_tokens_details" | b"prompt_tokens_details") => Slot::Inside(Place::Details),
        (Place::Details, b"cached_tokens") => Slot::Number(Count::Cached),
        (Place::Error, b"type") => Slot::ErrorType,
        // The error events of OpenAI's responses have their code beside their type.
        (Place::Error | Place::Root, b"code") => Slot::ErrorCode,
        (Place::Choice, b"delta") => Slot::Inside(Place::Delta),
        (Place::Delta, b"content" | b"reasoning_content" | b"reasoning" | b"refusal") => Slot::Token,
        (Place::Delta, b"tool_calls" | b"function_call") => Slot::Token,
        _ => Slot::Nothing,
    }
}

/// A number of tokens as JSON may write it: `25`, `25.0` or `2.5e1`.
fn tokens_of(word: &[u8]) -> Option<u64> {
    if !word.first()?.is_ascii_digit() {
        return None;
    }
    let number = std::str::from_utf8(word).ok()?.parse::<f64>().ok()?;
    let is_count = number.fract() == 0.0 && number <= MOST_TOKENS as f64;
    is_count.then_some(number as u64)
}

/// How many bytes of a text come before what may end it.
fn length_of_text(bytes: &[u8]) -> usize {
    memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len())
}

fn copy<const N: usize>(from: &Short<64>, to: &mut Short<N>) {
    to.clear();
    from.whole().iter().for_each(|byte| to.push(*byte));
}
