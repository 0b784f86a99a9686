//! What a model's answer says about itself: the model, the tokens, the first of them, an error, the end. Pure.
//!
//! An answer is read as it passes, in whatever pieces it comes, with bounded memory and without holding up or changing a
//! byte. It is read as JSON is: a text in which a model writes about tokens is a text. Both wire formats are known, that
//! of Anthropic (`/v1/messages`) and those of OpenAI (`/v1/chat/completions`, `/v1/responses`), as one JSON text and as a
//! stream of server-sent events.

mod escape;
mod event;
mod json;
mod lines;
mod scanner;
mod short;

pub use self::event::{ErrorKind, Usage};
pub use self::scanner::{Format, Scanner};

#[cfg(test)]
mod tests;
