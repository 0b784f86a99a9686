//! HTTP/2 to the app, on the `h2` crate.
//!
//! One connection carries many exchanges. Each of them is a virtual byte stream that speaks HTTP/1.1, so that the relay,
//! and with it every deadline, count and retry, exists once: what is written is read as a request and sent in frames, and
//! what comes in frames is read as an answer.

mod answer;
mod channel;
mod channels;
mod greeting;
mod request;
mod stream;

pub(super) use self::channel::Channel;
pub(super) use self::channels::Channels;
pub(super) use self::stream::Http2Stream;
