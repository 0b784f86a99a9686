use tokio::time::Instant;

use super::super::at_hand::Share;
use super::super::exchange::Exchange;
use super::super::http1::{BodyReader, Malformed};
use super::super::upstream::Needs;
use super::retry::Tries;

/// A request on its way to the app.
pub(in crate::proxy) struct Job {
    pub(in crate::proxy) exchange: Exchange,
    pub(in crate::proxy) to_head: bool,
    pub(in crate::proxy) is_http10: bool,
    pub(in crate::proxy) keep_alive: bool,
    pub(in crate::proxy) websocket: bool,
    pub(in crate::proxy) asks_a_model: bool,
    /// The client sends its body when the app has given it leave.
    pub(in crate::proxy) awaits_leave: bool,
    /// It asked whether to send its body, and the app has not said so.
    pub(in crate::proxy) unanswered: bool,
    /// May be sent twice (RFC 9110 section 9.2.2).
    pub(in crate::proxy) idempotent: bool,
    pub(super) tries: Tries,
    /// What is left of the body.
    pub(in crate::proxy) upload: BodyReader,
    /// The head, rewritten, and what of the body came with it.
    pub(in crate::proxy) out: Vec<u8>,
    /// For what of the body came later and is kept.
    pub(in crate::proxy) share: Option<Share>,
    /// Since when the client's side is known to have ended.
    pub(in crate::proxy) ended: Option<Instant>,
}

impl Job {
    /// What it needs of its connection to the app.
    pub(super) fn needs(&self) -> Needs {
        // A body that has yet to come may turn out too large to be kept.
        Needs { surely: !self.idempotent || !self.upload.is_done(), http1: self.websocket }
    }

    /// Takes in what came of the body; tells how many bytes belonged to it.
    pub(super) fn take_in(&mut self, bytes: &mut [u8]) -> Result<usize, Malformed> {
        let exchange = &self.exchange;
        let progress = self.upload.advance(bytes, |data| exchange.receive(data.len() as u64))?;
        self.out.extend_from_slice(&bytes[..progress.passed]);
        self.out.extend_from_slice(&progress.trailer);
        Ok(progress.consumed)
    }
}
