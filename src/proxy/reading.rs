use std::sync::Arc;

use httparse::Header;

use crate::llm::{ErrorKind, Format, Scanner, Usage};
use crate::traffic::{Failure, ModelOutcome, Traffic};

/// An answer of a model that is read as it passes. Counted once, when this is dropped, however the answer ends.
#[derive(Debug)]
pub(super) struct Reading {
    /// `None`: the answer cannot be read.
    scanner: Option<Scanner>,
    has_token: bool,
    traffic: Arc<Traffic>,
}

/// What a successful answer says about the app's login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It works.
    Served,
    /// It is refused.
    Refused,
    /// Neither.
    Nothing,
}

impl Reading {
    /// Begins with an answer's head.
    pub(super) fn begin(fields: &[Header<'_>], is_encoded: bool, traffic: Arc<Traffic>) -> Box<Self> {
        let kind = fields.iter().find(|field| field.name.eq_ignore_ascii_case("content-type"));
        let format = kind.filter(|_| !is_encoded).and_then(|field| Format::of(field.value));
        Box::new(Self { scanner: format.map(Scanner::new), has_token: false, traffic })
    }

    /// Whether it looks at the answer's bytes.
    pub(super) fn looks(&self) -> bool {
        self.scanner.is_some()
    }

    /// More of the answer; tells whether the model says something for the first time.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        let Some(scanner) = &mut self.scanner else { return false };
        scanner.read(bytes);
        !std::mem::replace(&mut self.has_token, scanner.has_token()) && self.has_token
    }

    /// What the answer says about the login.
    pub(super) fn told(&self) -> Told {
        match &self.scanner {
            Some(scanner) if !scanner.is_lost() => match scanner.error() {
                None => Told::Served,
                Some(ErrorKind::Unauthorized) => Told::Refused,
                Some(_) => Told::Nothing,
            },
            _ => Told::Nothing,
        }
    }

    /// Whether the model has said its last word.
    pub(super) fn has_ended(&self) -> bool {
        self.scanner.as_ref().is_some_and(Scanner::has_ended)
    }

    /// What the answer counts as for an error inside of it: what it would have counted as with a code of its own.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.scanner.as_ref()?.error().map(|kind| match kind {
            ErrorKind::RateLimited => Failure::RateLimited,
            ErrorKind::Overloaded => Failure::Overloaded,
            ErrorKind::Unauthorized | ErrorKind::Client => Failure::Http4xx,
            ErrorKind::Server => Failure::Http5xx,
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let models = &self.traffic.models;
        let Some(scanner) = self.scanner.as_ref().filter(|scanner| !scanner.is_lost()) else {
            return models.count(None, Usage::default(), ModelOutcome::Unread);
        };
        let outcome = match (scanner.error(), scanner.has_ended()) {
            (Some(_), _) => ModelOutcome::Error,
            (None, true) => ModelOutcome::Complete,
            (None, false) => ModelOutcome::Truncated,
        };
        models.count(scanner.model().as_deref(), scanner.usage(), outcome);
    }
}
