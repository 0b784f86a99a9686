use super::short::Short;

/// The tokens of one answer. No token is in two of these: OpenAI counts what came from its cache as input too, and it is
/// taken out of that here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the request, as far as no cache had them.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
    /// Of the request, from a cache.
    pub cache_read: u64,
    /// Of the request, written to a cache.
    pub cache_creation: u64,
}

/// What an error inside a successful answer would have been as a code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 429
    RateLimited,
    /// 529
    Overloaded,
    /// 401: the credential is refused.
    Unauthorized,
    /// Another 4xx.
    Client,
    /// Another 5xx, and whatever nobody knows.
    Server,
}

/// What one JSON text says: an event of a stream, or a whole answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event {
    pub(super) kind: Short<48>,
    pub(super) model: Short<64>,
    pub(super) usage: Counts,
    pub(super) is_error: bool,
    pub(super) error_type: Short<32>,
    pub(super) error_code: Short<32>,
    /// Something that the model says.
    pub(super) has_token: bool,
}

/// Numbers as the formats name them. Each is the sum so far, so the last one counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([Option<u64>; Count::ALL]);

/// A number in `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Anthropic's `input_tokens`, without what a cache has to do with; and that of OpenAI's responses, with it.
    Input,
    Output,
    /// OpenAI's `prompt_tokens`, with what a cache has to do with.
    Prompt,
    CacheRead,
    CacheCreation,
    /// OpenAI's, in the details: a part of the input.
    Cached,
}

impl Count {
    const ALL: usize = 6;
}

impl Counts {
    pub(super) fn set(&mut self, count: Count, value: u64) {
        self.0[count as usize] = Some(value);
    }

    pub(super) fn update(&mut self, newer: &Self) {
        for (known, newer) in self.0.iter_mut().zip(newer.0) {
            *known = newer.or(*known);
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let get = |count: Count| self.0[count as usize];
        let cached = get(Count::Cached);
        let cache_read = get(Count::CacheRead).or(cached).unwrap_or(0);
        let cache_creation = get(Count::CacheCreation).unwrap_or(0);
        let all = get(Count::Prompt).or(get(Count::Input).filter(|_| cached.is_some()));
        let input = match all {
            Some(all) => all.saturating_sub(cache_read).saturating_sub(cache_creation),
            None => get(Count::Input).unwrap_or(0),
        };
        Usage { input, output: get(Count::Output).unwrap_or(0), cache_read, cache_creation }
    }
}

impl Event {
    /// What kind of error this is, if it is one.
    pub(super) fn error(&self) -> Option<ErrorKind> {
        let is_error = self.is_error || self.kind.whole() == b"error";
        is_error
            .then(|| kind_of(self.error_type.whole()).or(kind_of(self.error_code.whole())).unwrap_or(ErrorKind::Server))
    }

    /// Whether the model says something here: Anthropic's deltas and those of OpenAI's responses say so in their type.
    pub(super) fn says_something(&self) -> bool {
        let kind = self.kind.whole();
        self.has_token || kind == b"content_block_delta" || kind.ends_with(b".delta")
    }

    /// Whether this is the last event of a stream.
    pub(super) fn is_last(&self) -> bool {
        let last: [&[u8]; 4] = [b"message_stop", b"response.completed", b"response.incomplete", b"response.failed"];
        last.contains(&self.kind.whole())
    }
}

/// The words that Anthropic and OpenAI have for errors, and codes as gateways put them there.
fn kind_of(word: &[u8]) -> Option<ErrorKind> {
    Some(match word {
        b"rate_limit_error" | b"rate_limit_exceeded" | b"insufficient_quota" | b"429" => ErrorKind::RateLimited,
        b"overloaded_error" | b"overloaded" | b"529" => ErrorKind::Overloaded,
        b"authentication_error" => ErrorKind::Unauthorized,
        b"invalid_request_error"
        | b"permission_error"
        | b"not_found_error"
        | b"request_too_large"
        | b"billing_error"
        | b"invalid_prompt"
        | b"context_length_exceeded" => ErrorKind::Client,
        b"api_error" | b"timeout_error" | b"server_error" | b"internal_error" => ErrorKind::Server,
        [b'4', _, _] => ErrorKind::Client,
        [b'5', _, _] => ErrorKind::Server,
        _ => return None,
    })
}
