use std::cell::RefCell;

use tokio::time::Instant;

use super::local::{Local, LocalRequest};

/// The last answers of our own as whole messages, to be sent again while they are what would be answered anyway.
#[derive(Debug, Default)]
pub(super) struct KeptAnswers(RefCell<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    path: String,
    stamp: u64,
    until: Instant,
    bytes: Vec<u8>,
}

/// At most so many paths; there are hardly more endpoints that anybody asks often.
const MOST_PATHS: usize = 8;

impl KeptAnswers {
    /// Writes the answer, if it is here and still true.
    pub(super) fn write(
        &self,
        request: &LocalRequest<'_>,
        local: &impl Local,
        now: Instant,
        out: impl FnOnce() -> Vec<u8>,
    ) -> Option<Vec<u8>> {
        let all = self.0.borrow();
        let kept = all.iter().find(|kept| kept.path == request.path && now < kept.until)?;
        if local.stamp(request) != Some(kept.stamp) {
            return None;
        }
        let mut out = out();
        out.extend_from_slice(&kept.bytes);
        Some(out)
    }

    /// Whether the path was answered before: others need not be asked for their stamp.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.0.borrow().iter().any(|kept| kept.path == path)
    }

    /// Keeps an answer for as long as its second lasts.
    pub(super) fn keep(&self, path: &str, stamp: u64, until: Instant, bytes: &[u8]) {
        let mut all = self.0.borrow_mut();
        let kept = Kept { path: path.to_owned(), stamp, until, bytes: bytes.to_vec() };
        if let Some(place) = all.iter_mut().find(|kept| kept.path == path) {
            *place = kept;
        } else if all.len() < MOST_PATHS {
            all.push(kept);
        }
    }
}
